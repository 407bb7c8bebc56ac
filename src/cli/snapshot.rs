//! `migrate snapshot`.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use serde_json::json;
use similar::TextDiff;

use super::exit;
use super::failure::Failure;
use super::output::out;
use super::product::Context;
use super::text::{Text, text};
use super::words::count;
use crate::db::{Hint, is_printable, quoted};
use crate::engine;

/// Arguments of `migrate snapshot`.
#[derive(Debug, Args)]
pub(super) struct Snapshot {
    /// Where to write it, or what to compare with. Standard output unless given.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// Compare the database with FILE, write nothing, and exit with 4 if they differ.
    #[arg(long, requires = "file")]
    check: bool,
}

/// The command line of `migrate snapshot`.
pub(super) fn command() -> Command {
    let snapshot = Snapshot::augment_args(Command::new("snapshot"));
    snapshot.about("Write the schema of the database as sorted text, or compare it with a file").long_about(
        "Write the schema of the database as sorted text, or compare it with a file\n\n\
         The text holds no data, and is the same on every server that has the same schema: keep it beside the migrations, \
         and let CI compare. Owners, grants, and the history tables of migration tools are left out.",
    )
}

impl Snapshot {
    /// Whether nothing is written but the output.
    pub fn only_shows(&self) -> bool {
        self.check || self.file.is_none()
    }

    pub async fn run(&self, cx: &Context<'_>) -> Result<u8, Failure> {
        // A wrong path is found before the database is asked.
        let expected = match &self.file {
            Some(file) if self.check => Some((file, read(file)?)),
            _ => None,
        };
        let connection = cx.connector.clone().read_only().connect("migrate: snapshot").await?;
        let snapshot = engine::Snapshot::take(&connection).await?;
        connection.close().await;
        match (&self.file, expected) {
            (_, Some((file, expected))) => Ok(compared(file, &expected, &snapshot.to_string(), cx)),
            (Some(file), None) => {
                write(file, &snapshot.to_string())?;
                cx.screen.aside(text!(
                    "the schema, {}, is in {}",
                    count(snapshot.objects.len(), "object"),
                    file.display()
                ));
                let written = json!({ "objects": snapshot.objects.len(), "file": file.to_string_lossy() });
                cx.screen.json("snapshot", &written);
                Ok(exit::OK)
            }
            (None, None) => {
                show(&snapshot, cx);
                Ok(exit::OK)
            }
        }
    }
}

fn show(snapshot: &engine::Snapshot, cx: &Context<'_>) {
    cx.screen.show(
        || {
            let text = snapshot.to_string();
            text.lines().for_each(|text| out(line(text)));
        },
        |to| {
            for object in &snapshot.objects {
                to.named("object", object);
            }
            to.named("snapshot", &json!({ "objects": snapshot.objects.len() }));
        },
    );
}

fn compared(file: &Path, expected: &str, found: &str, cx: &Context<'_>) -> u8 {
    let differs = expected != found;
    let diff = if differs {
        let lines = TextDiff::from_lines(expected, found);
        let (old, new) = (file.display().to_string(), cx.connector.database().to_string());
        lines.unified_diff().context_radius(3).header(&old, &new).to_string()
    } else {
        String::new()
    };
    cx.screen.show(
        || diff.lines().for_each(|text| out(line(text))),
        |to| to.named("snapshot_checked", &json!({ "differs": differs, "file": file.to_string_lossy(), "diff": diff })),
    );
    if differs {
        cx.screen.aside(text!("the schema differs from {}", file.display()));
        if let Some(next) = written_by(file, "if the database is as it should be").text(cx.screen.program()) {
            cx.screen.aside(text!("next: {next}"));
        }
        exit::DRIFT
    } else {
        cx.screen.aside(text!("the schema is as in {}", file.display()));
        exit::OK
    }
}

/// A line of a snapshot. It has tabs only in code, where they stay; a file that is compared may hold anything.
pub(super) fn line(text: &str) -> Text {
    if text.chars().all(|c| c == '\t' || is_printable(c)) { Text::ours(text.to_owned()) } else { Text::from(text) }
}

/// How the file is written.
fn written_by(file: &Path, when: &'static str) -> Hint {
    let file = quoted(&file.to_string_lossy());
    Hint::if_any(move |program| Some(format!("{when}: {}", program.command(&format!("snapshot {file}"))?)))
}

/// The text of a file, whichever line breaks it has been checked out with.
fn read(file: &Path) -> Result<String, Failure> {
    let failed = |why: String| Failure::new(exit::FAILED, format!("could not read {}: {why}", file.display()));
    match fs::read(file) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(text.replace("\r\n", "\n")),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                Err(failed(format!("it is not UTF-8 from byte {} on", at + 1)).hint(written_by(file, "write it anew")))
            }
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(failed(error.to_string()).hint(written_by(file, "write it first")))
        }
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Writes a file beside its place, and renames it: whatever interrupts this leaves the old one.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        let failure =
            Failure::new(exit::FAILED, format!("could not write the snapshot to {}: {error}", file.display()));
        match error.kind() {
            ErrorKind::NotFound => failure.hint("create the folder first, or correct the path"),
            _ => failure,
        }
    };
    // Through a symbolic link, what it leads to is replaced.
    let place = match fs::canonicalize(file) {
        Ok(place) => place,
        Err(error) if error.kind() == ErrorKind::NotFound => file.to_owned(),
        Err(error) => return Err(failed(error)),
    };
    let old = fs::metadata(&place).ok();
    if old.as_ref().is_some_and(|old| !old.is_file()) {
        // A pipe or a terminal; nothing can be put in its place. A folder is refused by the system.
        return fs::OpenOptions::new()
            .write(true)
            .open(&place)
            .and_then(|mut to| to.write_all(text.as_bytes()))
            .map_err(failed);
    }
    let mut name = place.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let aside = place.with_file_name(name);
    let replaced = fs::File::create(&aside).and_then(|mut to| {
        to.write_all(text.as_bytes())?;
        if let Some(old) = &old {
            to.set_permissions(old.permissions())?;
        }
        to.sync_all()?;
        fs::rename(&aside, &place)
    });
    replaced.map_err(|error| {
        let _ = fs::remove_file(&aside);
        failed(error)
    })
}
