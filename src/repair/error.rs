//! What can go wrong with a repair.

use super::runs::Unfinished;
use crate::db::{self, Hint, Holder, LockTimeout};
use crate::engine::HookError;

/// Why a repair failed. Committed batches stay, and the same command continues after them. Its `Debug` is for people.
#[derive(thiserror::Error)]
pub enum RepairError {
    /// The connection or a statement.
    #[error(transparent)]
    Database(#[from] db::Error),
    /// It could not acquire a lock.
    #[error(transparent)]
    Lock(#[from] LockTimeout),
    /// The arguments or this database are not suitable. Nothing was written.
    #[error("{message}")]
    Refused {
        /// What is not suitable.
        message: String,
        /// What to do about it.
        hint: Option<Hint>,
    },
    /// The rows are not those that the operator authorised. Nothing was written.
    #[error("the rows to repair have changed: their digest is {found}, not {expected}")]
    Changed {
        /// The digest that was given.
        expected: String,
        /// The digest of the rows now.
        found: String,
    },
    /// Another repair is running in this database.
    #[error("{}", busy(run.as_deref(), holder.as_deref()))]
    Busy {
        /// Which one.
        run: Option<Box<Unfinished>>,
        /// Its session.
        holder: Option<Box<Holder>>,
    },
    /// A trigger changed what was written.
    #[error("a trigger changed the value written to {table}, so an undo could not restore the row")]
    Overruled {
        /// The table.
        table: &'static str,
    },
    /// Another run of this repair is unfinished. Nothing was written.
    #[error("run {} of {} is unfinished, with {} of {} rows done: it would leave the rows that a second run changes, as \
             rows changed by another session", run.id, run.repair, db::grouped(run.done), db::grouped(run.total))]
    Unfinished {
        /// That run.
        run: Box<Unfinished>,
    },
    /// The clock of the database shows a time before the start of the run: rows that it changed now could count as
    /// unrepaired.
    #[error("the clock of the database was set back: it shows {now}, and run {run} began at {began}")]
    ClockSetBack {
        /// The run.
        run: i64,
        /// The time of the clock, as text of the server.
        now: String,
        /// When the run began, by the clock at that time.
        began: String,
    },
    /// There is no run with that number.
    #[error("there is no repair run {run} in this database")]
    NoSuchRun {
        /// The number given.
        run: i64,
    },
    /// Another failure.
    #[error("{message}")]
    Failed {
        /// What happened.
        message: String,
        /// What to do about it.
        hint: Option<Hint>,
    },
    /// The run stopped before its end; the journal records where.
    #[error("run {run} has repaired {done} of {total} rows: {source}")]
    Stopped {
        /// The run.
        run: i64,
        /// Rows it has repaired.
        done: u64,
        /// Rows it was to repair.
        total: u64,
        /// What stopped it.
        source: Box<RepairError>,
    },
}

impl RepairError {
    /// A refusal: the arguments or this database are not suitable.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Refused { message: message.into(), hint: None }
    }

    /// A refusal with a hint.
    pub fn refused_with_hint(message: impl Into<String>, hint: impl Into<Hint>) -> Self {
        Self::Refused { message: message.into(), hint: Some(hint.into()) }
    }
}

impl From<HookError> for RepairError {
    fn from(error: HookError) -> Self {
        match error {
            HookError::Database(error) => Self::Database(error),
            HookError::Lock(error) => Self::Lock(error),
            HookError::Refused { message, hint } => Self::Refused { message, hint },
            HookError::Failed { message, hint } => Self::Failed { message, hint },
        }
    }
}

fn busy(run: Option<&Unfinished>, holder: Option<&Holder>) -> String {
    let run = run.map(|run| format!(": run {}, {}", run.id, run.repair)).unwrap_or_default();
    let holder = holder.map(|holder| format!(", {holder}")).unwrap_or_default();
    format!("another repair is running in this database{run}{holder}")
}
