//! What can go wrong with a repair.

use super::runs::Unfinished;
use crate::db::{self, Holder, LockTimeout};
use crate::engine::HookError;

/// Why a repair did not do what it was asked to. What had been committed stays, and the same command goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The connection or a statement.
    #[error(transparent)]
    Database(#[from] db::Error),
    /// It could not acquire a lock.
    #[error(transparent)]
    Lock(#[from] LockTimeout),
    /// The arguments, or this database, do not fit. Nothing was written.
    #[error("{message}")]
    Refused {
        /// What does not fit.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// There are other rows than those that the operator has agreed to. Nothing was written.
    #[error("what there is to repair has changed: its digest is {found}, not {expected}")]
    Changed {
        /// The digest that was given.
        expected: String,
        /// The digest of what there is now.
        found: String,
    },
    /// Another repair is at work in this database.
    #[error("{}", said_of_busy(run.as_deref(), holder.as_deref()))]
    Busy {
        /// Which one.
        run: Option<Box<Unfinished>>,
        /// Its session.
        holder: Option<Box<Holder>>,
    },
    /// A trigger changed what was written.
    #[error("a trigger changed the value written to {table}, so that the row could not be undone")]
    Overruled {
        /// The table.
        table: &'static str,
    },
    /// Another run has begun on rows of this repair, and has not come to its end. Nothing was written.
    #[error("run {} of {} is unfinished, with {} of {} rows done: it would take what a second run changes for changed by \
             somebody else", run.id, run.repair, db::grouped(run.done), db::grouped(run.total))]
    Unfinished {
        /// That run.
        run: Box<Unfinished>,
    },
    /// The clock of the database shows a time before the run's beginning: what it changed now could be taken for unrepaired.
    #[error("the clock of the database was set back: it shows {now}, and run {run} began at {began}")]
    ClockSetBack {
        /// The run.
        run: i64,
        /// What the clock shows, as the server writes it.
        now: String,
        /// When the run began, by the clock of then.
        began: String,
    },
    /// There is no run of that number.
    #[error("there is no repair run {run} in this database")]
    NoSuchRun {
        /// The number given.
        run: i64,
    },
    /// Something else is not as it should be.
    #[error("{message}")]
    Failed {
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// It stopped in the middle; the journal says where.
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
    /// The arguments, or this database, do not fit.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Refused { message: message.into(), hint: None }
    }

    /// The same, with what to do about it.
    pub fn refused_with_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
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

fn said_of_busy(run: Option<&Unfinished>, holder: Option<&Holder>) -> String {
    let run = run.map(|run| format!(": run {}, {}", run.id, run.repair)).unwrap_or_default();
    let holder = holder.map(|holder| format!(", {holder}")).unwrap_or_default();
    format!("another repair is at work in this database{run}{holder}")
}
