//! `migrate verify`: the engine's own checks, and those of the set.

use async_trait::async_trait;
use clap::{ArgMatches, Command};
use serde_json::{Value, json};

use super::evidence;
use super::exit;
use super::failure::Failure;
use super::json::Json;
use super::product::{Check, Context};
use super::verify_human;
use crate::db::Program;
use crate::engine::Verified;

/// The subcommands of `migrate verify`; all of them if none is given.
pub(super) struct Verify {
    only: Option<(String, ArgMatches)>,
}

/// The history.
struct History;

/// The objects.
struct Schema;

#[async_trait]
impl Check for History {
    fn command(&self) -> Command {
        Command::new("history")
            .about("Compare the recorded versions with this program's files, and with an older migrator's ledger")
    }

    async fn run(&self, _: Option<&ArgMatches>, cx: &Context<'_>) -> Result<u8, Failure> {
        Ok(verified(&cx.migrator.verify_history().await?, cx))
    }
}

#[async_trait]
impl Check for Schema {
    fn command(&self) -> Command {
        Command::new("schema")
            .about("Compare the objects of the database with those that the recorded versions create")
            .long_about(
                "Compare the objects of the database with those that the recorded versions create\n\n\
                 Invalid indexes and disabled triggers count as wrong. Objects of this program's versions must match their \
                 definitions; objects of an older migrator's versions must have what other programs rely on. -v shows both \
                 definitions.",
            )
    }

    async fn run(&self, _: Option<&ArgMatches>, cx: &Context<'_>) -> Result<u8, Failure> {
        Ok(verified(&cx.migrator.verify_schema().await?, cx))
    }
}

/// History and schema first, then the set's own checks.
fn all(own: impl IntoIterator<Item = Box<dyn Check>>) -> Vec<Box<dyn Check>> {
    let mut all: Vec<Box<dyn Check>> = vec![Box::new(History), Box::new(Schema)];
    all.extend(own);
    all
}

/// Adds a subcommand for each check.
pub(super) fn augment(command: Command, own: impl Iterator<Item = Box<dyn Check>>) -> Command {
    let command = command.subcommand(evidence::verify_command());
    all(own).iter().fold(command, |command, check| command.subcommand(check.command()))
}

impl Verify {
    pub fn new(matches: &ArgMatches) -> Self {
        Self { only: matches.subcommand().map(|(name, matches)| (name.to_owned(), matches.clone())) }
    }

    pub async fn run(&self, own: Vec<Box<dyn Check>>, cx: &Context<'_>) -> Result<u8, Failure> {
        let mut worst = exit::OK;
        let mut known = false;
        for check in all(own) {
            let matches = match &self.only {
                Some((name, _)) if name != check.command().get_name() => continue,
                Some((_, matches)) => Some(matches),
                None => None,
            };
            known = true;
            worst = worst.max(check.run(matches, cx).await?);
        }
        match &self.only {
            Some((name, _)) if !known => {
                Err(Failure::usage(format!("set {} has no check {name}", cx.migrator.set().name())))
            }
            _ => Ok(worst),
        }
    }
}

fn verified(found: &Verified, cx: &Context<'_>) -> u8 {
    let program = cx.screen.program();
    cx.screen.show(|| verify_human::verified(found, cx.screen.is_verbose(), program), |to| json(found, program, to));
    if found.problems.is_empty() { exit::OK } else { exit::DRIFT }
}

fn json(found: &Verified, program: &Program, to: &Json) {
    for problem in &found.problems {
        if let Ok(Value::Object(mut object)) = serde_json::to_value(problem) {
            object.insert("check".to_owned(), json!(found.check));
            if let Some(remedy) = &problem.remedy {
                object.insert("remedy".to_owned(), json!(remedy.text(program)));
            }
            to.named("problem", &object);
        }
    }
    if let Ok(Value::Object(mut object)) = serde_json::to_value(found) {
        object.insert("problems".to_owned(), json!(found.problems.len()));
        to.named("verified", &object);
    }
}
