//! Repairs as JSON.

use serde_json::{Value, json};

use super::{Screen, Subject};
use crate::Json;
use crate::engine::{Forecast, Outcome};
use crate::repair::{Derived, Finding, Line, Refresh, Repaired, Repairer, Repairs, Run, Totals, totals_to_json};

pub(super) fn repairs(repairs: &Repairs, to: &Json) {
    for listed in repairs.list() {
        to.named("repair", &listed);
    }
}

pub(super) fn closed(run: &Run, can_be_undone: bool, to: &Json) {
    to.line(&json!({ "event": "repair_closed", "run": run.id, "repair": run.repair, "rows_done": run.rows_done,
                  "rows_found": run.rows_found, "can_be_undone": can_be_undone }));
}

/// Totals under the names that the repair gives them, and the fields of `more`.
fn with_totals(subject: &Subject, totals: &Totals, more: Value) -> Value {
    let mut object = json!({ "repair": subject.name });
    if let Some(object) = object.as_object_mut() {
        if let Some(run) = subject.undoes {
            object.insert("undoes".to_owned(), json!(run));
        }
        for part in [more, totals_to_json(totals, subject.rows)] {
            if let Value::Object(part) = part {
                object.extend(part);
            }
        }
    }
    object
}

/// A line of a finding. JSON output has all of them, human output those that the finding keeps.
pub(super) fn line(day: &Line, subject: &Subject, screen: &Screen) {
    if !screen.is_json() {
        return;
    }
    let at = subject.rows.at;
    let mut more = serde_json::Map::new();
    if let Some(owner) = &subject.rows.owner {
        more.insert(owner.name.to_owned(), json!(day.owner));
    }
    more.insert("day".to_owned(), json!(day.day));
    more.insert(format!("first_{at}"), json!(day.first));
    more.insert(format!("last_{at}"), json!(day.last));
    screen.json("repair_day", &with_totals(subject, &day.totals, Value::Object(more)));
}

pub(super) fn finding(finding: &Finding, subject: &Subject, to: &Json) {
    let more = json!({
        "arguments": subject.arguments,
        "digest": finding.digest,
        "table": subject.rows.table,
        "changed_since": finding.changed_since,
        "gone_since": finding.gone_since,
        "estimated_seconds": Repairer::estimate(finding, subject.pacing).as_secs_f64(),
        "unfinished": finding.unfinished,
        "unfinished_beside": finding.beside,
        "straggler": finding.long_transaction,
        "written": false,
    });
    to.named("repair_found", &with_totals(subject, &finding.totals, more));
}

pub(super) fn nothing_to_repair(finding: &Finding, subject: &Subject, to: &Json) {
    let more = json!({
        "run": null,
        "state": "done",
        "changed_since_found": finding.changed_since,
        "gone_since_found": finding.gone_since,
        "not_reached": 0,
        "left_over": 0,
        "straggler": finding.long_transaction,
    });
    to.named("repair_finished", &with_totals(subject, &Totals::default(), more));
}

pub(super) fn repaired(repaired: &Repaired, subject: &Subject, to: &Json) {
    let mut more = repaired.to_json(subject.rows);
    if let Some(more) = more.as_object_mut() {
        more.insert("run".to_owned(), json!(repaired.run));
        more.insert("state".to_owned(), json!(repaired.state));
        more.insert("duration".to_owned(), json!(repaired.duration.as_secs_f64()));
        more.insert("holder".to_owned(), json!(repaired.holder));
        more.insert("straggler".to_owned(), json!(repaired.long_transaction));
        if let Some(words) = subject.rows.derived.map(Derived::words) {
            let state = match repaired.refresh {
                Refresh::Now => "rebuilt",
                Refresh::Left { .. } => words.left_field,
                Refresh::Absent => "none",
                Refresh::NotConcerned => "not_concerned",
            };
            more.insert(words.field.to_owned(), json!(state));
            let refreshed = (repaired.refresh == Refresh::Now).then_some(repaired.refreshed);
            more.insert(format!("{}s", words.unit), json!(refreshed));
        }
    }
    to.named("repair_finished", &with_totals(subject, &repaired.totals, more));
}

pub(super) fn rebuild_forecast(name: &str, forecast: &Forecast, to: &Json) {
    to.line(&json!({ "event": "rebuild_found", "repair": name, "work": forecast.work, "summary": forecast.summary }));
}

pub(super) fn rebuilt(name: &str, run: i64, outcome: &Outcome, to: &Json) {
    let mut object = json!({ "event": "rebuild_finished", "repair": name, "run": run, "summary": outcome.summary });
    if let Some(object) = object.as_object_mut() {
        object.extend(outcome.details.clone());
    }
    to.line(&object);
}
