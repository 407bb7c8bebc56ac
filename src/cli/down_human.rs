//! What `migrate down` shows: the plan of the dry run.

use serde_json::Value;

use super::json::Json;
use super::lines::step;
use super::output::out;
use super::text::{DIM, RESET, YELLOW, text};
use crate::db::Program;
use crate::engine::{DownPlan, DownStep};

/// The plan as lines. `command`: what does it, unless it is refused.
pub(super) fn plan(plan: &DownPlan, verbose: bool, program: &Program, command: Option<&str>) {
    if plan.steps.is_empty() {
        out(text!("nothing to take back: the database is at version {}", plan.current));
        return;
    }
    out(text!("would go back from version {} to {}:", plan.current, plan.target));
    for planned in &plan.steps {
        let DownStep { version, name, file, transaction, recorded_in, losses, hooks, sql, .. } = planned;
        let how = if *transaction { "" } else { ", outside a transaction" };
        step(&version.label(), name, None, &format!("{file}{how}"));
        for loss in losses {
            out(text!("        {YELLOW}line {} {}{RESET}", loss.line, loss.what.to_string()));
        }
        for hook in hooks {
            out(text!("        {}", not_undone(hook, &version.label())));
        }
        if let Some(table) = recorded_in {
            out(text!("        {DIM}{table} records it, and then no longer does{RESET}"));
        }
        if verbose {
            for line in sql.lines() {
                out(text!("        {DIM}{line}{RESET}"));
            }
        }
    }
    if let Some(command) = command.and_then(|command| program.command(command)) {
        out(text!("nothing was written; run {command} to do it"));
    }
}

/// A hook that has run before a version that is taken back.
pub(super) fn not_undone(hook: &str, version: &str) -> String {
    format!("hook {hook} has run before {version}, and what it has done stays")
}

pub(super) fn json(plan: &DownPlan, with_sql: bool, to: &Json) {
    for step in &plan.steps {
        let Ok(Value::Object(mut step)) = serde_json::to_value(step) else { continue };
        step.retain(|field, _| with_sql || field != "sql");
        to.line(&step);
    }
    to.line(&plan.event());
}
