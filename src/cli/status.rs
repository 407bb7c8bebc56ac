//! `migrate status`.

use clap::{Args, Command};
use serde_json::{Value, json};

use super::exit;
use super::failure::Failure;
use super::json::Json;
use super::product::Context;
use super::status_human;
use crate::engine::{HookRun, Refusal, Status as Standing, StatusReport};

/// Arguments of `migrate status`.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// Exit with 3 when something is pending, with 4 when the history differs from what this program has.
    #[arg(long)]
    check: bool,
}

/// The command line of `migrate status`.
pub(super) fn command() -> Command {
    let status = Status::augment_args(Command::new("status")).long_about(None::<&str>);
    status.about("Show every version and the hooks at its boundary")
}

impl Status {
    pub async fn run(&self, cx: &Context<'_>) -> Result<u8, Failure> {
        let report = cx.migrator.status().await?;
        let is_empty = report.versions.iter().all(|entry| matches!(entry.status, Standing::Pending { .. }));
        cx.unchosen.point_out(is_empty, &cx.screen);
        cx.screen.show(|| status_human::status(&report, cx.screen.program()), |to| json(&report, to));
        Ok(if !self.check {
            exit::OK
        } else if report.is_drift() {
            exit::DRIFT
        } else if report.is_pending() {
            exit::PENDING
        } else {
            exit::OK
        })
    }
}

fn json(report: &StatusReport, to: &Json) {
    let last_runs = |hooks: &[(String, Option<HookRun>)]| -> Vec<Value> {
        hooks.iter().map(|(name, last_run)| json!({ "hook": name, "last_run": last_run })).collect()
    };
    let entries = &report.versions;
    for entry in entries {
        let hooks = last_runs(&entry.hooks);
        let mut object = match serde_json::to_value(&entry.status) {
            Ok(serde_json::Value::Object(object)) => object,
            _ => serde_json::Map::new(),
        };
        object.insert("event".to_owned(), json!("version"));
        object.insert("version".to_owned(), json!(entry.version));
        object.insert("name".to_owned(), json!(entry.name));
        object.insert("hooks".to_owned(), json!(hooks));
        to.line(&object);
    }
    for entry in &report.repeatables {
        if let Ok(Value::Object(mut object)) = serde_json::to_value(entry) {
            object.insert("hooks".to_owned(), json!(last_runs(&entry.hooks)));
            to.named("repeatable", &object);
        }
    }
    let pending = entries.iter().filter(|entry| entry.status.is_pending()).count()
        + report.repeatables.iter().filter(|entry| entry.is_pending()).count();
    let mut status = json!({ "event": "status", "versions": entries.len(), "pending": pending });
    if let Some(found) = &report.out_of_step {
        status["out_of_step"] = json!(found.to_string());
    }
    if let Some(Refusal(error)) = &report.refused {
        status["refused"] = json!(error.to_string());
    }
    to.line(&status);
}
