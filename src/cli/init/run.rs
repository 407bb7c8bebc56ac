//! The command.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Args, Command};
use serde_json::{Value, json};

use super::super::choice::MAIN;
use super::super::exit;
use super::super::failure::Failure;
use super::super::manifest::FILE;
use super::super::output;
use super::super::screen::Screen;
use super::super::words::count;
use super::look::{self, Looked};
use super::text::{self, Facts};
use crate::db::Database;
use crate::engine::ToolTable;
use crate::layout::Layout;

/// Arguments of `migrate init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The folder of the migrations. Default: the first of migrations, db/migrations, migrate, sql, supabase/migrations,
    /// prisma/migrations and drizzle that is there; if none is, migrations is made.
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,

    /// The tool that the folder was written for, if its files do not tell.
    #[arg(long, value_name = "LAYOUT", value_parser = PossibleValuesParser::new(Layout::ALL.map(Layout::key)))]
    layout: Option<String>,
}

/// What the global flags say.
pub(crate) struct Asked<'a> {
    /// The name of the set.
    pub set: Option<&'a str>,
    /// The folder, where it is not an argument.
    pub dir: Option<PathBuf>,
    /// The manifest to write.
    pub config: Option<&'a Path>,
    /// The database to look at.
    pub database: Option<Database>,
    /// The sets that the program has.
    pub built_in: Vec<String>,
}

/// The command line of `migrate init`.
pub(crate) fn command() -> Command {
    let init = Init::augment_args(Command::new("init")).long_about(None::<&str>);
    init.about("Write migrate.toml, after a look at the folder and, where a URL is given, at the database")
}

impl Init {
    pub fn run(&self, asked: Asked<'_>, screen: &Screen) -> Result<u8, Failure> {
        let here = std::env::current_dir()
            .map_err(|error| Failure::usage(format!("the current folder cannot be read: {error}")))?;
        let file = asked.config.map_or_else(|| PathBuf::from(FILE), Path::to_owned);
        let path = here.join(&file);
        if path.exists() {
            return Err(exists(&file));
        }
        let name = asked.set.unwrap_or(MAIN);
        let (folder, is_new) = self.folder(&here, asked.dir)?;
        let dir = relative(&folder, &here, &path);
        let (connected, tables) = tables(asked.database, screen);
        let told = self.layout.as_deref().and_then(Layout::from_key);
        let looked = if is_new {
            Looked { layout: told.unwrap_or(Layout::Migrate), versions: 0, repeatables: 0, mistake: None }
        } else {
            look::folder(&folder, &dir, told, &tables)?
        };
        let history = tables.iter().find(|table| table.tool.key() == looked.layout.key());
        let is_over = asked.built_in.iter().any(|own| own == name);
        let text = text::manifest(&Facts { name, dir: &dir, layout: looked.layout, is_over, history });
        if is_new {
            std::fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, &error))?;
        }
        write(&path, &file, &text)?;
        let next = next(&looked, connected, screen);
        let found = Found { file: &file, dir: &dir, name, looked: &looked, is_new, tables: &tables, history, next };
        screen.show(|| found.tell(), |to| to.named("init", &found.json()));
        if let Some(mistake) = &looked.mistake {
            screen.aside(format!("warning: {mistake}"));
        }
        Ok(exit::OK)
    }

    /// The folder to look at, and whether it has to be made.
    fn folder(&self, here: &Path, dir: Option<PathBuf>) -> Result<(PathBuf, bool), Failure> {
        let Some(dir) = self.folder.clone().or(dir) else {
            return Ok(match look::usual(here) {
                Some(folder) => (folder, false),
                None => (here.join(look::USUAL[0]), true),
            });
        };
        let folder = here.join(&dir);
        if folder.is_dir() {
            return Ok((folder, false));
        }
        let what = if folder.exists() { "is not a folder" } else { "does not exist" };
        Err(Failure::usage(format!("{} {what}", dir.display()))
            .hint("make it first, or leave it out to have migrations made"))
    }
}

/// The histories of other tools, and whether a database could be asked for them.
fn tables(database: Option<Database>, screen: &Screen) -> (bool, Vec<ToolTable>) {
    let Some(database) = database else { return (false, Vec::new()) };
    match look::tables(database) {
        Ok(tables) => (true, tables),
        Err(failure) => {
            screen.aside(format!("note: the database was not looked at: {}", failure.message));
            (true, Vec::new())
        }
    }
}

/// What was found and written.
struct Found<'a> {
    file: &'a Path,
    dir: &'a str,
    name: &'a str,
    looked: &'a Looked,
    is_new: bool,
    tables: &'a [ToolTable],
    history: Option<&'a ToolTable>,
    next: String,
}

impl Found<'_> {
    fn tell(&self) {
        let Self { file, dir, name, looked, .. } = self;
        let what = match (self.is_new, looked.versions, looked.repeatables) {
            (true, ..) => "new".to_owned(),
            (_, versions, 0) => count(versions, "version"),
            (_, versions, more) => format!("{}, {}", count(versions, "version"), count(more, "repeatable")),
        };
        let layout = looked.layout;
        output::out(format!("wrote {}: set {name}, folder {dir} ({what}), layout {layout}", file.display()));
        for table in self.tables {
            let what = if self.history == Some(table) { "taken over" } else { "left alone" };
            output::out(format!("found {}, the history of {}: {what}", table.qualified, table.tool));
        }
        output::out(format!("next: {}", self.next));
    }

    fn json(&self) -> Value {
        let history = |table: &ToolTable| json!({ "tool": table.tool.key(), "table": table.qualified });
        json!({
            "file": self.file.display().to_string(),
            "dir": self.dir,
            "layout": self.looked.layout,
            "versions": self.looked.versions,
            "repeatables": self.looked.repeatables,
            "histories": self.tables.iter().map(history).collect::<Vec<_>>(),
            "next": &self.next,
        })
    }
}

/// What comes next.
fn next(looked: &Looked, connected: bool, screen: &Screen) -> String {
    let dry_run = screen.command("up --dry-run");
    match (looked.versions, connected) {
        (0, _) if looked.mistake.is_none() => format!("{}, which makes the first file", screen.command("new NAME")),
        (_, true) => dry_run,
        (_, false) => format!("set DATABASE_URL, then {dry_run}"),
    }
}

/// The folder as the manifest names it.
fn relative(folder: &Path, here: &Path, manifest: &Path) -> String {
    let beside = manifest.parent().unwrap_or(here);
    let path = folder.strip_prefix(beside).unwrap_or(folder);
    if path.as_os_str().is_empty() { ".".to_owned() } else { path.display().to_string() }
}

fn exists(file: &Path) -> Failure {
    Failure::usage(format!("{} is there already", file.display())).hint("edit it, or remove it first")
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(exit::FAILED, format!("{} cannot be written: {error}", path.display()))
}

/// Writes the manifest unless somebody else has done so meanwhile.
fn write(path: &Path, file: &Path, text: &str) -> Result<(), Failure> {
    let written = OpenOptions::new().write(true).create_new(true).open(path);
    written.and_then(|mut to| to.write_all(text.as_bytes())).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => exists(file),
        _ => unwritable(file, &error),
    })
}
