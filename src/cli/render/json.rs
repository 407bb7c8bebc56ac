//! One JSON object per line on standard output.

use std::io::Write;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::super::failure::Failure;
use crate::db::Database;
use crate::engine::{Event, Mode, Preview, PreviewStep, StatusEntry, Verified};
use crate::usage::{Comparison, Difference, Standing, Tick, Way};

pub(super) fn line(value: &impl Serialize) {
    if let Ok(text) = serde_json::to_string(value) {
        // The reader may have gone.
        let _ = writeln!(std::io::stdout(), "{text}");
    }
}

pub(super) fn preview(preview: &Preview, with_sql: bool) {
    let (mut adopted, mut migrations, mut hooks) = (0, 0, 0);
    for step in &preview.steps {
        match step {
            PreviewStep::Hook { hook, before, forecast } => {
                hooks += usize::from(forecast.is_some());
                line(&Event::WouldRunHook {
                    hook: hook.clone(),
                    before: *before,
                    skipped: forecast.is_none(),
                    forecast: forecast.clone(),
                });
            }
            PreviewStep::Adopt { ledger, versions } => {
                adopted += versions.len();
                line(&Event::WouldAdopt { ledger: ledger.clone(), versions: versions.clone() });
            }
            PreviewStep::Apply { migration, again } => {
                migrations += 1;
                line(&Event::WouldApply {
                    version: migration.version(),
                    name: migration.name().to_owned(),
                    transaction: *migration.mode() == Mode::Transaction,
                    again: *again,
                    sql: with_sql.then(|| migration.sql().to_owned()),
                });
            }
        }
    }
    line(&Event::Planned { current: preview.current, target: preview.target, adopted, migrations, hooks });
}

pub(super) fn status(entries: &[StatusEntry]) {
    for entry in entries {
        let hooks: Vec<_> =
            entry.hooks.iter().map(|(name, last_run)| json!({ "hook": name, "last_run": last_run })).collect();
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
    let pending = entries.iter().filter(|entry| entry.status.is_pending()).count();
    line(&json!({ "event": "status", "versions": entries.len(), "pending": pending }));
}

pub(super) fn tick(tick: &Tick) {
    named("tick", tick);
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
