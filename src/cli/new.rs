//! `migrate new`: the next file of a folder, in the folder's own layout. No database is asked.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use serde_json::json;
use time::OffsetDateTime;
use time::macros::format_description;

use super::choice::Choice;
use super::failure::Failure;
use super::recognise::recognise;
use super::screen::Screen;
use super::{exit, output};
use crate::layout::{self, Layout, LayoutError, Sources};
use crate::manifest::SetConfig;

/// Arguments of `migrate new`.
#[derive(Debug, Args)]
pub(super) struct New {
    /// What the migration does, in a few words: they become the name of its file.
    #[arg(required = true, value_name = "NAME")]
    name: Vec<String>,

    /// Make the way back, too.
    #[arg(long)]
    down: bool,

    /// For a file that must run outside a transaction, such as one with CREATE INDEX CONCURRENTLY.
    #[arg(long)]
    no_transaction: bool,
}

/// The command line of `migrate new`.
pub(super) fn command() -> Command {
    let new = New::augment_args(Command::new("new")).long_about(None::<&str>);
    new.about("Make the file of the next migration, in the layout of the folder")
}

impl New {
    pub fn run(&self, choice: &Choice, screen: &Screen) -> Result<u8, Failure> {
        let config = match choice {
            Choice::Folder(config) => config,
            Choice::BuiltIn(name) => {
                let hint = format!("name the folder with --dir, or run {}", screen.command("init"));
                return Err(Failure::usage(format!("set {name} is built in, and new files go to a folder")).hint(hint));
            }
        };
        let (layout, files) = self.files(config)?;
        let paths = create(&config.dir, &files)?;
        screen.show(
            || paths.iter().for_each(|path| output::out(path.as_str())),
            |to| to.named("new", &json!({ "files": paths, "layout": layout })),
        );
        if layout == Layout::Atlas {
            screen.aside("when it is written, run atlas migrate hash: until then it does not agree with atlas.sum");
        }
        Ok(exit::OK)
    }

    /// The files to make, with their paths in the folder.
    fn files(&self, config: &SetConfig) -> Result<(Layout, Vec<(String, String)>), Failure> {
        let mistake = |error: LayoutError| Failure::usage(error.to_string());
        let mut sources = Sources::read(&config.dir).map_err(mistake)?;
        sources.folder = shown(&config.dir, &std::env::current_dir().unwrap_or_default());
        let layout = match config.layout {
            Some(layout) => layout,
            None => recognise(&sources, &[], |keys| format!("write layout = \"...\" into migrate.toml: {keys}"))?,
        };
        let second = format_description!("[year][month][day][hour][minute][second]");
        let now =
            OffsetDateTime::now_utc().format(second).map_err(|error| Failure::new(exit::FAILED, error.to_string()))?;
        let name = self.name.join(" ");
        let new = layout::New { name: &name, down: self.down, no_transaction: self.no_transaction, now: &now };
        Ok((layout, layout::new_files(&sources, layout, &new).map_err(mistake)?))
    }
}

/// Makes all of the files or none, and gives their paths.
fn create(dir: &Path, files: &[(String, String)]) -> Result<Vec<String>, Failure> {
    let here = std::env::current_dir().unwrap_or_default();
    let mut made: Vec<PathBuf> = Vec::new();
    for (name, text) in files {
        let path = dir.join(name);
        if let Err(error) = write(&path, text) {
            for path in &made {
                // They hold nothing yet that anybody wrote.
                let _ = fs::remove_file(path);
            }
            let shown = shown(&path, &here);
            return Err(match error.kind() {
                ErrorKind::AlreadyExists => {
                    Failure::usage(format!("{shown} is there already")).hint("choose another name")
                }
                _ => Failure::new(exit::FAILED, format!("{shown} cannot be written: {error}")),
            });
        }
        made.push(path);
    }
    Ok(made.iter().map(|path| shown(path, &here)).collect())
}

/// Writes a file that is not there yet.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}

/// A path as somebody in this folder would write it.
fn shown(path: &Path, here: &Path) -> String {
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
