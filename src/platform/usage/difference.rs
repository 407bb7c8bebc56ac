//! Differences between the hourly rollup and the raw usage.

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::bucket::Bucket;
use super::pipeline::Pipeline;
use super::queries::{Cost, Tokens};
use super::too_large::TooLarge;

/// Seconds. With a larger lag, waiting buckets count as stalled. The guard of V103 has the same limit.
const TOLERATED_LAG: f64 = 3600.0;

/// Seconds. A larger lag means that the watermark still has its initial value, 1970.
const NEVER_CALLED: f64 = 40.0 * 365.0 * 86_400.0;

/// Seconds. Two readings of the clock may differ by this much.
const AHEAD: f64 = 1.0;

/// What happens during a comparison.
#[derive(Clone, Debug)]
pub enum CompareEvent {
    /// The next day is about to be compared, or the last one has been.
    Progress {
        /// Days that are done.
        done: u64,
        /// Days there are.
        total: u64,
        /// Buckets compared so far.
        buckets: u64,
    },
    /// A bucket is wrong, or waits for the next tick.
    Difference(Box<Difference>),
}

/// What to compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only this workspace.
    pub workspace: Option<Uuid>,
    /// From the hour that holds this time.
    pub from: Option<OffsetDateTime>,
    /// Up to this time, or to the end of the hour that it lies in.
    pub to: Option<OffsetDateTime>,
}

/// The sums of a bucket; zeros if there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Its tokens.
    #[serde(flatten)]
    pub tokens: Tokens,
    /// Its cost; none if there are no columns for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// Number of tasks.
    pub tasks: i64,
    /// Number of usage rows.
    pub events: i64,
}

/// How a bucket differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// There is usage, but no bucket.
    Missing,
    /// There is a bucket, but no usage.
    Extra,
    /// The sums differ.
    Different,
    /// A sum of the raw rows exceeds a bigint.
    TooLarge,
}

/// When a difference was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// By the first comparison.
    Found,
    /// By the comparison after the repair.
    Left,
}

/// A bucket that differs from the raw rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// How it differs.
    pub kind: Kind,
    /// Whether the next tick rebuilds it.
    pub waiting: bool,
    /// Whether it was found before or after the repair.
    pub pass: Pass,
    /// Which bucket.
    #[serde(flatten)]
    pub bucket: Bucket,
    /// The sums of the raw rows, limited to the range of a bigint.
    pub raw: Sums,
    /// The stored sums.
    pub stored: Sums,
    /// The sums that exceed a bigint, in full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub too_large: Option<TooLarge>,
}

/// The result of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// The rollup in force. Another program's loses changes, even if every bucket is right now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<Pipeline>,
    /// Days that hold usage or buckets.
    pub days: u64,
    /// Buckets that the raw rows add up to.
    pub buckets: u64,
    /// Missing buckets that are not waiting.
    pub missing: u64,
    /// Extra buckets that are not waiting.
    pub extra: u64,
    /// Different buckets that are not waiting.
    pub different: u64,
    /// Buckets with a sum that exceeds a bigint.
    pub too_large: u64,
    /// Buckets that wait for the next tick.
    pub waiting: u64,
    /// Buckets that were rebuilt.
    pub fixed: u64,
    /// Seconds from the rollup's watermark to the database's clock.
    pub lag: f64,
    /// Whether the watermark was ahead of the clock and has been brought back behind it.
    pub brought_back: bool,
}

impl Comparison {
    /// Buckets that are wrong, without those that wait.
    #[must_use]
    pub fn wrong(&self) -> u64 {
        self.missing + self.extra + self.different + self.too_large
    }

    /// Why `migrate up` has to be run before the buckets can be relied on.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.pipeline.as_ref().and_then(Pipeline::fault)
    }

    /// What this program does not know about the rollup. The one in force may then be newer, and is not judged.
    #[must_use]
    pub fn unknown(&self) -> Option<&str> {
        self.pipeline.as_ref().and_then(|pipeline| pipeline.unknown.as_deref())
    }

    /// Whether ticks have stopped while buckets wait, or have never run.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.waiting > 0 && self.lag > TOLERATED_LAG || self.buckets > 0 && self.lag > NEVER_CALLED || self.is_ahead()
    }

    /// Whether the watermark is ahead of the clock. Usage written before that time would never be rolled up.
    #[must_use]
    pub fn is_ahead(&self) -> bool {
        self.lag < -AHEAD
    }

    pub(super) fn count(&mut self, difference: &Difference) {
        *match difference {
            Difference { waiting: true, .. } => &mut self.waiting,
            Difference { kind: Kind::Missing, .. } => &mut self.missing,
            Difference { kind: Kind::Extra, .. } => &mut self.extra,
            Difference { kind: Kind::Different, .. } => &mut self.different,
            Difference { kind: Kind::TooLarge, .. } => &mut self.too_large,
        } += 1;
    }

    pub(super) fn add(&mut self, day: &Self) {
        self.buckets += day.buckets;
        self.missing += day.missing;
        self.extra += day.extra;
        self.different += day.different;
        self.too_large += day.too_large;
        self.waiting += day.waiting;
        self.lag = day.lag;
    }
}
