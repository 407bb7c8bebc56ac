//! What happens during a repair, told to whoever listens.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

use crate::db::{Holder, Notice, Waiting, as_optional_seconds, as_seconds};

/// One thing that happened. As JSON, the name of the variant is in the field `event`, durations are in seconds.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RepairEvent {
    /// A lock is held by somebody else. Repeated every ten seconds.
    Waiting(Waiting),
    /// The server said something on the side.
    Notice(Notice),
    /// What is to be repaired is written down; now it begins.
    RepairStarted {
        /// The run.
        run: i64,
        /// Which repair.
        repair: String,
        /// Rows to go through.
        rows: u64,
    },
    /// An earlier run of the same arguments is continued.
    RepairResumed {
        /// The run.
        run: i64,
        /// Which repair.
        repair: String,
        /// Rows it is done with.
        done: u64,
        /// Rows it found.
        rows: u64,
    },
    /// It has come further.
    RepairProgress {
        /// The run.
        run: i64,
        /// Which repair.
        repair: String,
        /// What is counted: `rows`, `months`.
        unit: Cow<'static, str>,
        /// How many are done, those of an earlier execution included.
        done: u64,
        /// How many there are.
        total: u64,
        /// How many a second, in this execution.
        per_second: f64,
        /// Estimated time to the end, once there is something to estimate from.
        #[serde(serialize_with = "as_optional_seconds", skip_serializing_if = "Option::is_none")]
        eta: Option<Duration>,
    },
    /// A replica is further behind than it may be; nothing is written until it has caught up. Repeated every ten seconds.
    ReplicaBehind {
        /// The replica, by the name it gives itself.
        replica: String,
        /// How far it is behind.
        #[serde(serialize_with = "as_seconds")]
        lag: Duration,
    },
    /// Rows that others hold locked are tried again. Repeated every ten seconds.
    RowsLocked {
        /// How many.
        rows: u64,
        /// One of those who hold them, if that can be seen.
        #[serde(skip_serializing_if = "Option::is_none")]
        holder: Option<Holder>,
    },
}
