//! One JSON object per line on standard output.

use std::io;
use std::time::Duration;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use serde_json::{Value, json};

use super::super::failure::Failure;
use super::super::repair::Subject;
use super::output;
use super::text::is_printable;
use crate::db::Database;
use crate::engine::{Event, Forecast, HookRun, Outcome, Plan, StatusReport, Verified};
use crate::repairs::{Finding, Line, Repaired, Repairer, Repairs, Rollup, Run, Totals, totals_to_json};
use crate::usage::{Comparison, Difference, Pipeline, Standing, Tick, Way};

pub(super) fn line(value: &impl Serialize) {
    let mut text = Vec::new();
    let written = value.serialize(&mut Serializer::with_formatter(&mut text, Printable));
    if let (Ok(()), Ok(text)) = (written, String::from_utf8(text)) {
        output::json(text);
    }
}

/// Writes what a terminal would obey, or not show, as `\u1234`: it may be a terminal that reads. To a parser the text is
/// exactly the same.
struct Printable;

impl Formatter for Printable {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut shown = 0;
        for (at, c) in fragment.char_indices().filter(|(_, c)| !is_printable(*c)) {
            writer.write_all(&fragment.as_bytes()[shown..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            shown = at + c.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[shown..])
    }
}

pub(super) fn preview(plan: &Plan, with_sql: bool) {
    if let Some(note) = &plan.note {
        line(&Event::BuildsAlone { note: note.clone() });
    }
    for left_alone in &plan.left_alone {
        line(&Event::LeftAlone(left_alone.clone()));
    }
    for step in &plan.steps {
        let Ok(Value::Object(mut step)) = serde_json::to_value(step) else { continue };
        step.retain(|field, _| with_sql || field != "sql");
        line(&step);
    }
    line(&Event::Planned {
        current: plan.current,
        target: plan.target,
        adopted: plan.adopted(),
        migrations: plan.migrations(),
        repeatables: plan.repeatables(),
        hooks: plan.hooks(),
    });
}

pub(super) fn status(report: &StatusReport) {
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
        line(&object);
    }
    for entry in &report.repeatables {
        if let Ok(Value::Object(mut object)) = serde_json::to_value(entry) {
            object.insert("hooks".to_owned(), json!(last_runs(&entry.hooks)));
            named("repeatable", &object);
        }
    }
    let pending = entries.iter().filter(|entry| entry.status.is_pending()).count()
        + report.repeatables.iter().filter(|entry| entry.is_pending()).count();
    let mut status = json!({ "event": "status", "versions": entries.len(), "pending": pending });
    if let Some(found) = &report.out_of_step {
        status["out_of_step"] = json!(found.to_string());
    }
    line(&status);
}

pub(super) fn tick(tick: &Tick) {
    named("tick", tick);
}

pub(super) fn wrong_hands(pipeline: &Pipeline) {
    named("rollup_in_force", pipeline);
}

pub(super) fn watching(database: &Database, every: Duration) {
    line(&json!({ "event": "watching", "database": database.to_string(), "every": every.as_secs_f64() }));
}

pub(super) fn watch_failed(failure: &Failure, again_in: Duration) {
    if let Ok(serde_json::Value::Object(mut object)) = serde_json::to_value(failure) {
        object.remove("exit_code");
        object.insert("again_in".to_owned(), json!(again_in.as_secs_f64()));
        named("tick_failed", &object);
    }
}

pub(super) fn comparing(done: u64, total: u64, buckets: u64) {
    line(&json!({ "event": "comparing", "unit": "days", "done": done, "total": total, "buckets": buckets }));
}

pub(super) fn watch_ended() {
    line(&json!({ "event": "watch_ended" }));
}

pub(super) fn standing(standing: &Standing) {
    named("rollup", standing);
}

pub(super) fn nobody_schedules(ways: &[Way]) {
    line(&json!({ "event": "nobody_schedules_rollup", "ways": ways }));
}

pub(super) fn difference(difference: &Difference) {
    named("bucket", difference);
}

pub(super) fn compared(found: &Comparison) {
    named("rollup_compared", found);
}

pub(super) fn verified(found: &Verified) {
    for problem in &found.problems {
        if let Ok(serde_json::Value::Object(mut object)) = serde_json::to_value(problem) {
            object.insert("check".to_owned(), json!(found.check));
            named("problem", &object);
        }
    }
    if let Ok(serde_json::Value::Object(mut object)) = serde_json::to_value(found) {
        object.insert("problems".to_owned(), json!(found.problems.len()));
        named("verified", &object);
    }
}

pub(super) fn no_rollup() {
    line(&json!({ "event": "no_rollup" }));
}

pub(super) fn repairs(repairs: &Repairs) {
    for (name, about, sort) in repairs.list() {
        line(&json!({ "event": "repair", "repair": name, "about": about, "sort": sort }));
    }
}

pub(super) fn repair_run(run: &Run) {
    named("repair_run", run);
}

pub(super) fn repair_closed(run: &Run, can_be_undone: bool) {
    line(&json!({ "event": "repair_closed", "run": run.id, "repair": run.repair, "rows_done": run.rows_done,
                  "rows_found": run.rows_found, "can_be_undone": can_be_undone }));
}

/// Totals under the names that the repair gives them, and whatever else there is to say.
fn with_totals(event: &str, subject: &Subject, totals: &Totals, more: Value) {
    let mut object = json!({ "event": event, "repair": subject.name });
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
    line(&object);
}

pub(super) fn finding_line(day: &Line, subject: &Subject) {
    let at = subject.rows.at;
    let mut more = serde_json::Map::new();
    if let Some(owner) = &subject.rows.owner {
        more.insert(owner.name.to_owned(), json!(day.owner));
    }
    more.insert("day".to_owned(), json!(day.day));
    more.insert(format!("first_{at}"), json!(day.first));
    more.insert(format!("last_{at}"), json!(day.last));
    with_totals("repair_day", subject, &day.totals, Value::Object(more));
}

pub(super) fn finding(finding: &Finding, subject: &Subject) {
    let more = json!({
        "arguments": subject.arguments,
        "digest": finding.digest,
        "table": subject.rows.table,
        "changed_since": finding.changed_since,
        "gone_since": finding.gone_since,
        "estimated_seconds": Repairer::estimate(finding, subject.pacing).as_secs_f64(),
        "unfinished": finding.unfinished,
        "unfinished_beside": finding.beside,
        "straggler": finding.straggler,
        "written": false,
    });
    with_totals("repair_found", subject, &finding.totals, more);
}

pub(super) fn nothing_to_repair(finding: &Finding, subject: &Subject) {
    let more = json!({
        "run": null,
        "state": "done",
        "changed_since_found": finding.changed_since,
        "gone_since_found": finding.gone_since,
        "not_reached": 0,
        "left_over": 0,
        "straggler": finding.straggler,
    });
    with_totals("repair_finished", subject, &Totals::default(), more);
}

pub(super) fn repaired(repaired: &Repaired, subject: &Subject) {
    let mut more = repaired.to_json(subject.rows);
    if let Some(more) = more.as_object_mut() {
        more.insert("run".to_owned(), json!(repaired.run));
        more.insert("state".to_owned(), json!(repaired.state));
        more.insert("duration".to_owned(), json!(repaired.duration.as_secs_f64()));
        more.insert("holder".to_owned(), json!(repaired.holder));
        more.insert("straggler".to_owned(), json!(repaired.straggler));
        let (rollup, buckets) = match repaired.rollup {
            Rollup::Rebuilt(buckets) => ("rebuilt", Some(buckets)),
            Rollup::LeftToTicks => ("left_to_ticks", None),
            Rollup::None => ("none", None),
            Rollup::NotConcerned => ("not_concerned", None),
        };
        more.insert("rollup".to_owned(), json!(rollup));
        more.insert("buckets".to_owned(), json!(buckets));
    }
    with_totals("repair_finished", subject, &repaired.totals, more);
}

pub(super) fn rebuild_forecast(name: &str, forecast: &Forecast) {
    line(&json!({ "event": "rebuild_found", "repair": name, "work": forecast.work, "summary": forecast.summary }));
}

pub(super) fn rebuilt(name: &str, run: i64, outcome: &Outcome) {
    let mut object = json!({ "event": "rebuild_finished", "repair": name, "run": run, "summary": outcome.summary });
    if let Some(object) = object.as_object_mut() {
        object.extend(outcome.details.clone());
    }
    line(&object);
}

pub(super) fn failure(failure: &Failure) {
    named("error", failure);
}

/// An object under the name of its event.
fn named(event: &str, value: &impl Serialize) {
    if let Ok(serde_json::Value::Object(mut object)) = serde_json::to_value(value) {
        object.insert("event".to_owned(), json!(event));
        line(&object);
    }
}
