//! What a walk is asked to do, the progress that it saves, and what it reports.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::survey::Month;
use crate::db::grouped;
use crate::engine::Outcome;

/// What a walk rolls up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WalkScope {
    /// What the watermark has not passed: its window if the lag is tolerated, else every month.
    #[default]
    Missing,
    /// Every month, also those that the watermark has passed.
    Everything,
    /// The current UTC month and this many before it. The watermark passes the others.
    LastMonths(u16),
}

/// How a walk behaves.
#[derive(Clone, Copy, Debug)]
pub struct WalkOptions {
    /// What it rolls up.
    pub scope: WalkScope,
    /// Up to this lag, only the window behind the watermark is rolled up.
    pub tolerated_lag: Duration,
    /// Whether to continue where an interrupted walk stopped.
    pub resume: bool,
}

impl Default for WalkOptions {
    /// What is missing, an hour, continuing.
    fn default() -> Self {
        Self { scope: WalkScope::default(), tolerated_lag: Duration::from_hours(1), resume: true }
    }
}

/// Where an interrupted walk continues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Resume {
    /// The horizon at which the walk began, as the server writes it. The last pass starts here.
    pub began_at: String,
    /// Start of the last month that is done.
    #[serde(with = "time::serde::rfc3339::option")]
    pub done: Option<OffsetDateTime>,
    /// Buckets written and deleted for the months that are done.
    pub buckets: u64,
}

impl Resume {
    /// Whether the walk has finished this month.
    pub(super) fn covers(&self, month: &Month) -> bool {
        self.done.is_some_and(|done| month.starts <= done)
    }
}

/// What a walk did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalkReport {
    /// There is no rollup.
    NothingThere,
    /// Only the window behind the watermark was rolled up, and the watermark moved.
    CaughtUp {
        /// Buckets written and deleted.
        buckets: u64,
        /// There is no usage at all.
        empty: bool,
        /// The watermark now.
        watermark: String,
    },
    /// The whole history was rolled up.
    Walked {
        /// Months that hold usage.
        months: u64,
        /// Usage rows.
        rows: u64,
        /// Buckets written and deleted.
        buckets: u64,
        /// The earliest change of a usage row.
        from: String,
        /// The watermark now.
        watermark: String,
    },
}

impl WalkReport {
    /// What a walk over missing usage did, in words and numbers.
    #[must_use]
    pub fn rolled_up(self) -> Outcome {
        self.outcome(|months, rows, buckets| format!("rolled up {months}, {rows} rows into {buckets} buckets"))
    }

    /// What a walk that rebuilt every bucket did, in words and numbers.
    #[must_use]
    pub fn rebuilt(self) -> Outcome {
        self.outcome(|months, _, buckets| format!("rebuilt {months}, corrected {buckets} buckets"))
    }

    fn outcome(self, walked: impl Fn(&str, &str, &str) -> String) -> Outcome {
        match self {
            Self::NothingThere => Outcome::new("there is no hourly rollup to fill"),
            Self::CaughtUp { buckets, empty, watermark } => {
                let summary = if empty {
                    "task_usage is empty: stamped the watermark".to_owned()
                } else {
                    format!("rolled up the rest, {} buckets", grouped(buckets))
                };
                Outcome::new(summary).with("slices", 0).with("buckets", buckets).with("to", watermark)
            }
            Self::Walked { months, rows, buckets, from, watermark } => {
                let spelled = format!("{months} month{}", if months == 1 { "" } else { "s" });
                Outcome::new(walked(&spelled, &grouped(rows), &grouped(buckets)))
                    .with("slices", months)
                    .with("rows", rows)
                    .with("buckets", buckets)
                    .with("from", from)
                    .with("to", watermark)
            }
        }
    }
}
