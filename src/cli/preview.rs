//! What `migrate up --dry-run` shows: the plan, with the forecast of each hook.

use serde_json::Value;

use super::json::Json;
use super::lines::{adopted, baselined, left_alone_text, step};
use super::output::{self, out};
use super::text::{DIM, RESET, Text, YELLOW, text};
use super::words::count;
use crate::db::Program;
use crate::engine::{Event, Mode, Plan, Step};

pub(super) fn human(preview: &Plan, verbose: bool, program: &Program) {
    if let Some(note) = &preview.note {
        aside(note.as_str());
    }
    for left_alone in &preview.left_alone {
        aside(left_alone_text(left_alone));
    }
    if preview.steps.is_empty() {
        out(text!("nothing to do: the database is at version {}", preview.current));
        return;
    }
    if preview.current == preview.target {
        out(text!("would stay at version {}:", preview.current));
    } else {
        out(text!("would go from version {} to {}:", preview.current, preview.target));
    }
    for planned in &preview.steps {
        match planned {
            Step::Hook { hook, forecast: None, .. } => {
                step("skip", hook.name(), None, "skipped by --skip-hook");
            }
            Step::Hook { hook, forecast: Some(forecast), .. } => {
                let text = if forecast.work {
                    format!("would {}", forecast.summary)
                } else {
                    format!("nothing to do: {}", forecast.summary)
                };
                step("hook", hook.name(), None, &text);
            }
            Step::Baseline { versions } => baselined(versions),
            Step::Adopt { ledger, checked, versions } => adopted(ledger, *checked, versions, verbose),
            Step::Repeat { repeatable, why } => {
                step("R", repeatable.name(), None, &why.to_string());
                sql(repeatable.shown(), verbose);
            }
            Step::Apply { migration, again } => {
                let note = match (again, migration.mode()) {
                    (Some(reason), _) => format!("again: {reason}"),
                    (None, Mode::Transaction | Mode::OwnTransaction { record_at: Some(_) }) => String::new(),
                    (None, Mode::NoTransaction { statements }) if statements.len() > 1 => {
                        format!(
                            "{} outside a transaction: a kill leaves those that have run",
                            count(statements.len(), "statement")
                        )
                    }
                    (None, Mode::NoTransaction { .. }) => "outside a transaction".to_owned(),
                    (None, Mode::OwnTransaction { record_at: None }) => {
                        "with transactions of its own: a kill leaves what they have committed".to_owned()
                    }
                };
                step(&migration.version().label(), migration.name(), None, &note);
                sql(migration.shown(), verbose);
            }
        }
    }
    out(text!("nothing was written; {} to do it", program.run_up()));
}

/// The text of a file, with `-v`.
fn sql(text: &str, verbose: bool) {
    if verbose {
        for line in text.lines() {
            out(text!("        {DIM}{line}{RESET}"));
        }
    }
}

fn aside(line: impl Into<Text>) {
    output::aside(text!("{YELLOW}{}{RESET}", line.into()));
}

pub(super) fn json(plan: &Plan, with_sql: bool, to: &Json) {
    if let Some(note) = &plan.note {
        to.line(&Event::BuildsAlone { note: note.clone() });
    }
    for left_alone in &plan.left_alone {
        to.line(&Event::LeftAlone(left_alone.clone()));
    }
    for step in &plan.steps {
        let Ok(Value::Object(mut step)) = serde_json::to_value(step) else { continue };
        step.retain(|field, _| with_sql || field != "sql");
        to.line(&step);
    }
    to.line(&plan.event());
}
