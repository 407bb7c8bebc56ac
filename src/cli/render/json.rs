//! One JSON object per line on standard output.

use std::io::Write;

use serde::Serialize;
use serde_json::json;

use super::super::failure::Failure;
use crate::engine::{Event, Mode, Preview, PreviewStep, Status, StatusEntry};

pub(super) fn line(value: &impl Serialize) {
    if let Ok(text) = serde_json::to_string(value) {
        // The reader may have gone.
        let _ = writeln!(std::io::stdout(), "{text}");
    }
}

pub(super) fn preview(preview: &Preview, with_sql: bool) {
    let (mut migrations, mut hooks) = (0, 0);
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
            PreviewStep::Apply(migration) => {
                migrations += 1;
                line(&Event::WouldApply {
                    version: migration.version(),
                    name: migration.name().to_owned(),
                    transaction: *migration.mode() == Mode::Transaction,
                    sql: with_sql.then(|| migration.sql().to_owned()),
                });
            }
        }
    }
    line(&Event::Planned { current: preview.current, target: preview.target, migrations, hooks });
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
    let pending = entries.iter().filter(|entry| matches!(entry.status, Status::Pending)).count();
    line(&json!({ "event": "status", "versions": entries.len(), "pending": pending }));
}

pub(super) fn failure(failure: &Failure) {
    if let Ok(serde_json::Value::Object(mut object)) = serde_json::to_value(failure) {
        object.insert("event".to_owned(), json!("error"));
        line(&object);
    }
}
