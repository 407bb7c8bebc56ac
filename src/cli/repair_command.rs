//! The command that repeats or executes a repair.

use serde_json::Value;

use crate::db::{Database, Program};
use crate::repair::{Pacing, Rows, UNDO, command};

/// The subject of a finding, for the renderers.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    /// The repair, or `undo`.
    pub name: &'a str,
    pub arguments: &'a Value,
    /// The program that the command is of.
    pub program: &'a Program,
    pub rows: &'a Rows,
    pub database: &'a Database,
    pub pacing: &'a Pacing,
    /// The run to be undone.
    pub undoes: Option<i64>,
}

impl<'a> Subject<'a> {
    pub fn of_undo(program: &'a Program, rows: &'a Rows, database: &'a Database, pacing: &'a Pacing, run: i64) -> Self {
        Self { name: UNDO, arguments: &Value::Null, program, rows, database, pacing, undoes: Some(run) }
    }

    /// The command that selects these rows and has this pacing.
    pub fn command(&self) -> String {
        let mut command = command(self.program, self.name, self.arguments).unwrap_or_default();
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
