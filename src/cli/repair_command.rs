//! The command that repeats, executes or continues a repair.

use serde_json::Value;

use crate::db::Database;
use crate::repair::{Pacing, Rows, UNDO, Unfinished};

/// The subject of a finding, for the renderers.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    /// The repair, or `undo`.
    pub name: &'a str,
    pub arguments: &'a Value,
    pub rows: &'a Rows,
    pub database: &'a Database,
    pub pacing: &'a Pacing,
    /// The run to be undone.
    pub undoes: Option<i64>,
}

impl<'a> Subject<'a> {
    pub fn of_undo(rows: &'a Rows, database: &'a Database, pacing: &'a Pacing, run: i64) -> Self {
        Self { name: UNDO, arguments: &Value::Null, rows, database, pacing, undoes: Some(run) }
    }

    /// The command that selects these rows and has this pacing.
    pub fn command(&self) -> String {
        let mut command = command(self.name, self.arguments);
        if let Some(run) = self.undoes {
            command = format!("{command} {run}");
        }
        let Pacing { batch_size, sleep_between_batches, max_runtime, max_lag, refresh, .. } = self.pacing;
        let usual = Pacing::default();
        if *batch_size != usual.batch_size {
            command.extend([" --batch-size ", &batch_size.to_string()]);
        }
        let pause = (!sleep_between_batches.is_zero()).then_some(*sleep_between_batches);
        for (flag, duration) in
            [(" --sleep-between-batches ", pause), (" --max-runtime ", *max_runtime), (" --max-lag ", *max_lag)]
        {
            if let Some(duration) = duration {
                // The value must be one word.
                let duration = humantime::format_duration(duration).to_string().replace(' ', "");
                command.extend([flag, &duration]);
            }
        }
        if let Some(derived) = self.rows.derived.filter(|_| *refresh != usual.refresh) {
            command.extend([" --", derived.words().flag, " false"]);
        }
        command
    }
}

/// The command that continues a run.
pub(super) fn command_of(run: &Unfinished) -> String {
    match run.arguments.get("run") {
        Some(undone) if run.repair == UNDO => format!("migrate repair undo {undone} --execute"),
        _ => format!("{} --execute", command(&run.repair, &run.arguments)),
    }
}

/// The command for a repair with these arguments.
pub(super) fn command(name: &str, arguments: &Value) -> String {
    let mut command = format!("migrate repair {name}");
    for (name, value) in arguments.as_object().into_iter().flatten() {
        let flag = format!(" --{}", name.replace('_', "-"));
        match value {
            Value::Null | Value::Bool(false) => {}
            Value::Bool(true) => command += &flag,
            Value::String(text) => command.extend([&flag, " ", text]),
            other => command.extend([&flag, " ", &other.to_string()]),
        }
    }
    command
}
