//! The events of a repair.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

use crate::db::{Holder, Notice, Waiting, as_optional_seconds, as_seconds};

/// One thing that happened. As JSON, the name of the variant is in the field `event`, durations are in seconds.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RepairEvent {
    /// Another session holds a lock. Repeated every ten seconds.
    Waiting(Waiting),
    /// The server sent a notice.
    Notice(Notice),
    /// The journal is written; the first batch follows.
    RepairStarted {
        /// The run.
        run: i64,
        /// Which repair.
        repair: String,
        /// Rows to repair.
        rows: u64,
    },
    /// An earlier run with the same arguments continues.
    RepairResumed {
        /// The run.
        run: i64,
        /// Which repair.
        repair: String,
        /// Rows that are done.
        done: u64,
        /// Rows it found.
        rows: u64,
    },
    /// The run has made progress.
    RepairProgress {
        /// The run.
        run: i64,
        /// Which repair.
        repair: String,
        /// What is counted: `rows`, `months`.
        unit: Cow<'static, str>,
        /// How many are done, including those of earlier executions.
        done: u64,
        /// How many there are.
        total: u64,
        /// How many per second, in this execution.
        per_second: f64,
        /// Estimated time to the end, once there is something to estimate from.
        #[serde(serialize_with = "as_optional_seconds", skip_serializing_if = "Option::is_none")]
        eta: Option<Duration>,
    },
    /// A replica lags by more than the limit; nothing is written until it has caught up. Repeated every ten seconds.
    ReplicaBehind {
        /// The replica's `application_name`.
        replica: String,
        /// Its lag.
        #[serde(serialize_with = "as_seconds")]
        lag: Duration,
    },
    /// Rows that other sessions have locked are tried again. Repeated every ten seconds.
    RowsLocked {
        /// How many.
        rows: u64,
        /// One of these sessions, if it is visible.
        #[serde(skip_serializing_if = "Option::is_none")]
        holder: Option<Holder>,
    },
}
