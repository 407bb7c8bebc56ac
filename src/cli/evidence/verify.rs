//! `migrate verify evidence DIR`: whether a folder is whole, and whether the database is still as it says.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::changes;
use super::folder::{self, FILES, SUMS, UNFINISHED};
use crate::db::{Connector, Database};
use crate::engine::Snapshot;
use crate::exit;
use crate::failure::Failure;
use crate::layout::sha256;
use crate::output::out;
use crate::screen::Screen;
use crate::text::{RED, RESET, text};
use crate::words::count;

/// The subcommand of `verify`.
const NAME: &str = "evidence";

/// Files that are there only if the schema after the run could be read.
const OF_SCHEMA_AFTER: [&str; 2] = ["schema-after.txt", "schema.diff"];

#[derive(Debug, Args)]
struct Flags {
    /// The folder that a run with --evidence has written.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// What the command needs of the program.
pub(in super::super) fn command() -> Command {
    let about =
        "Check a folder that --evidence has written: its sums, that nothing is missing, and the database's schema";
    Flags::augment_args(Command::new(NAME)).about(about).long_about(format!(
        "{about}\n\nWithout a database URL, only the files are checked. Exits with 4 if something differs."
    ))
}

/// The arguments of this command, if it is the one that was given.
pub(in super::super) fn of_verify(matches: &clap::ArgMatches) -> Option<&clap::ArgMatches> {
    match matches.subcommand()? {
        ("verify", verify) => verify.subcommand_matches(NAME),
        _ => None,
    }
}

/// Checks the folder, and the database if one is given.
pub(in super::super) async fn run(
    matches: &clap::ArgMatches,
    database: Option<Database>,
    cancel: CancellationToken,
    screen: &Screen,
) -> Result<u8, Failure> {
    let folder = matches.get_one::<PathBuf>("folder").cloned().unwrap_or_default();
    let problems = files(&folder).map_err(|error| unreadable(&folder, &error))?;
    // What the files say counts only if they are what was written.
    let schema = match (problems.is_empty(), database) {
        (true, Some(database)) => compared(&folder, database, cancel, screen).await?,
        _ => Schema::NotCompared,
    };
    let failed =
        if problems.is_empty() { failure(&folder).map_err(|error| unreadable(&folder, &error))? } else { None };
    show(&folder, (&problems, failed.as_deref()), &schema, screen);
    let is_right = problems.is_empty() && failed.is_none() && matches!(schema, Schema::Same | Schema::NotCompared);
    Ok(if is_right { exit::OK } else { exit::DRIFT })
}

/// What is wrong with the files.
fn files(folder: &Path) -> io::Result<Vec<String>> {
    let there = folder::names(folder)?;
    if there.iter().any(|name| name == UNFINISHED) {
        return Ok(vec![format!("it is unfinished: {UNFINISHED} is there, so the run is still at work or was ended")]);
    }
    if !there.iter().any(|name| name == SUMS) {
        return Ok(vec![format!("{SUMS} is missing: this is no evidence, or not all of it")]);
    }
    let mut problems = Vec::new();
    let sums = fs::read_to_string(folder.join(SUMS))?;
    let mut listed: BTreeMap<&str, &str> = BTreeMap::new();
    for (at, line) in sums.lines().enumerate() {
        match line.split_once("  ") {
            // A name that leads out of the folder is none of ours.
            Some((sum, name)) if !name.contains('/') => drop(listed.insert(name, sum)),
            _ => problems.push(format!("line {} of {SUMS} is not a sum and a name", at + 1)),
        }
    }
    for (name, sum) in &listed {
        if !there.iter().any(|there| there == name) {
            problems.push(format!("{name} is missing"));
        } else if sha256(&fs::read(folder.join(name))?) != *sum {
            problems.push(format!("{name} is not as it was written: its sum differs"));
        }
    }
    let extra = there.iter().filter(|name| *name != SUMS && !listed.contains_key(name.as_str()));
    problems.extend(extra.map(|name| format!("{name} is not of the evidence: {SUMS} does not have it")));
    let was_read = !listed.contains_key("verdict.json") || schema_was_read(folder)?;
    let wanted = FILES.into_iter().filter(|name| was_read || !OF_SCHEMA_AFTER.contains(name));
    problems
        .extend(wanted.filter(|name| !listed.contains_key(name)).map(|name| format!("{SUMS} does not have {name}")));
    Ok(problems)
}

/// Whether the run could read the schema that it left.
fn schema_was_read(folder: &Path) -> io::Result<bool> {
    Ok(verdict(folder)?["schema_after"].as_str().is_none_or(|said| !said.starts_with("not read")))
}

/// Why the run failed, if it did. Such a folder is whole, but no evidence of a change that was done.
fn failure(folder: &Path) -> io::Result<Option<String>> {
    let verdict = verdict(folder)?;
    let failed = verdict["verdict"] == "failed";
    Ok(failed.then(|| {
        let why = verdict["error"]["message"].as_str().unwrap_or("for a reason that it does not tell");
        format!("its run failed, with exit code {}: {why}", verdict["exit_code"])
    }))
}

/// What `verdict.json` says; nothing if it is missing, which is told elsewhere.
fn verdict(folder: &Path) -> io::Result<Value> {
    match fs::read(folder.join("verdict.json")) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Value::Null),
        Err(error) => Err(error),
    }
}

/// The schema of a database beside that of the folder.
enum Schema {
    NotCompared,
    /// The run itself could not read it.
    Unknown,
    Same,
    Differs(String),
}

async fn compared(
    folder: &Path,
    database: Database,
    cancel: CancellationToken,
    screen: &Screen,
) -> Result<Schema, Failure> {
    let read =
        |name: &str| fs::read_to_string(folder.join(name)).map_err(|error| unreadable(&folder.join(name), &error));
    if !schema_was_read(folder).map_err(|error| unreadable(folder, &error))? {
        return Ok(Schema::Unknown);
    }
    let expected = read("schema-after.txt")?;
    let environment: Value = serde_json::from_str(&read("environment.json")?).unwrap_or_default();
    let shown = database.to_string();
    if let Some(then) = environment["connected_to"].as_str().filter(|then| *then != shown) {
        screen.aside(text!("the evidence is of {then}, and it is compared with {shown}"));
    }
    let connector = Connector::new(database, cancel);
    let connection = connector.read_only().connect("migrate: verify").await?;
    let found = Snapshot::take(&connection).await?.to_string();
    connection.close().await;
    if expected == found {
        return Ok(Schema::Same);
    }
    Ok(Schema::Differs(changes::unified(&expected, &found, ["schema-after.txt", &shown])))
}

fn show(folder: &Path, (problems, failed): (&[String], Option<&str>), schema: &Schema, screen: &Screen) {
    let said = match schema {
        Schema::NotCompared if problems.is_empty() => "the database was not compared: no URL is given",
        Schema::NotCompared => "the database was not compared: the files are not what was written",
        Schema::Unknown => "the database was not compared: the run could not read the schema that it left",
        Schema::Same => "the schema of the database is as the run left it",
        Schema::Differs(_) => "the schema of the database is no longer as the run left it",
    };
    let diff = if let Schema::Differs(diff) = schema { diff.as_str() } else { "" };
    screen.show(
        || {
            for problem in problems.iter().map(String::as_str).chain(failed) {
                out(text!("{RED}evidence:{RESET} {problem}"));
            }
            // Code has tabs, and they stay.
            diff.lines().for_each(|line| out(crate::snapshot::line(line)));
            let files = match problems.len() {
                0 => "complete, and every file as it was written".to_owned(),
                problems => count(problems, "problem"),
            };
            out(text!("evidence {}: {files}; {said}", folder.display()));
        },
        |to| {
            for problem in problems {
                to.named("evidence_problem", &json!({ "problem": problem }));
            }
            let schema = match schema {
                Schema::NotCompared | Schema::Unknown => "not compared",
                Schema::Same => "same",
                Schema::Differs(_) => "differs",
            };
            let all = json!({ "folder": folder.to_string_lossy(), "problems": problems.len(), "failed": failed, "schema": schema, "diff": diff });
            to.named("evidence_verified", &all);
        },
    );
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let exit = if error.kind() == ErrorKind::NotFound { exit::USAGE } else { exit::FAILED };
    Failure::new(exit, format!("could not read {}: {error}", path.display()))
}
