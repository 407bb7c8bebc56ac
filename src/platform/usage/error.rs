//! What can go wrong with the hourly rollup.

use crate::db::{self, Hint, LockTimeout, Program};
use crate::engine::HookError;

/// Why a tick, a walk or a comparison failed. What a walk or a rebuild has committed stays, and the next one continues there.
#[derive(Debug, thiserror::Error)]
pub enum RollupError {
    /// The connection or a statement.
    #[error(transparent)]
    Database(#[from] db::Error),
    /// Could not acquire the rollup's lock in time.
    #[error(transparent)]
    Lock(LockTimeout),
    /// There is no rollup.
    #[error("there is no hourly rollup in this database")]
    NoPipeline,
    /// The state row is missing: someone has deleted it.
    #[error("task_usage_hourly_rollup_state has no row, so the watermark of the hourly rollup is unknown")]
    NoState,
    /// The time of a usage row is in no calendar. There may be more such rows.
    #[error("usage row {id} has {column} = {value}, which is not between the years 1 and 9998")]
    UsageWithoutHour {
        /// The row's id.
        id: String,
        /// The column.
        column: String,
        /// Its value.
        value: String,
    },
    /// The time of a bucket is in no calendar. There may be more such buckets.
    #[error("task_usage_hourly has a bucket at {at}, which is not between the years 1 and 9998")]
    BucketWithoutHour {
        /// Its time.
        at: String,
    },
    /// Buckets are to be rebuilt, but the rollup is newer than this program.
    #[error("{what}, which this build does not know: it would compute buckets without it")]
    Unknown {
        /// What there is.
        what: String,
    },
    /// All visible usage is rolled up, but the watermark must not pass an open transaction.
    #[error("the watermark stays at {watermark}: a transaction that has been open since then{} is writing usage",
            pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    HeldBack {
        /// The watermark now.
        watermark: String,
        /// The session of the oldest such transaction.
        pid: Option<i32>,
    },
    /// Transactions are writing usage, and this role may not see when they began.
    #[error("the watermark cannot move: transactions are writing usage, and this role may not see when they began")]
    Hidden,
}

impl RollupError {
    /// What to do; none where the server's message or the lock's holder says it.
    #[must_use]
    pub fn hint(&self, program: &Program) -> Option<String> {
        let hint = match self {
            Self::Database(_) | Self::Lock(_) => None,
            Self::NoPipeline => return Some(format!("{} first", program.run_up())),
            Self::NoState => Some("INSERT INTO task_usage_hourly_rollup_state (id) VALUES (1); then run it again"),
            Self::UsageWithoutHour { .. } => Some("correct or delete such rows in task_usage, then run it again"),
            Self::BucketWithoutHour { .. } => {
                let fix = program.command("verify rollup --fix")?;
                return Some(format!("{fix} removes such buckets, to which no usage can belong"));
            }
            Self::Unknown { .. } => Some("nothing was written; upgrade to a newer build of this program"),
            Self::HeldBack { .. } => Some("end that transaction (see pg_stat_activity), then run it again"),
            Self::Hidden => Some(
                "let the owner of task_usage see them: GRANT pg_read_all_stats TO <owner>; if there are none, look at \
                 pg_prepared_xacts",
            ),
        };
        hint.map(str::to_owned)
    }
}

impl From<LockTimeout> for RollupError {
    fn from(error: LockTimeout) -> Self {
        match error {
            LockTimeout::Database(error) => Self::Database(error),
            timed_out @ LockTimeout::TimedOut { .. } => Self::Lock(timed_out),
        }
    }
}

impl From<tokio_postgres::Error> for RollupError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<RollupError> for HookError {
    fn from(error: RollupError) -> Self {
        match error {
            RollupError::Database(error) => error.into(),
            RollupError::Lock(error) => error.into(),
            other => {
                let message = other.to_string();
                Self::Failed { message, hint: Some(Hint::if_any(move |program| other.hint(program))) }
            }
        }
    }
}
