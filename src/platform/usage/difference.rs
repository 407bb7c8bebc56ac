//! What a comparison of the hourly rollup with the raw usage finds.

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::bucket::Bucket;
use super::pipeline::Pipeline;
use super::queries::{Cost, Tokens};
use super::too_large::TooLarge;

/// Behind by more than this many seconds, a rollup is not just waiting for its next tick. The guard of V103 says so too.
const TOLERATED_LAG: f64 = 3600.0;

/// Seconds. A watermark that is this far behind is the one of the first day.
const NEVER_CALLED: f64 = 40.0 * 365.0 * 86_400.0;

/// Seconds. Two looks at the clock may be so far apart.
const AHEAD: f64 = 1.0;

/// What happens during a comparison.
#[derive(Clone, Debug)]
pub enum CompareEvent {
    /// Another day is about to be compared, or the last one has been.
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
    /// Up to this time, and the end of the hour that holds it if one does.
    pub to: Option<OffsetDateTime>,
}

/// What a bucket adds up to. Zeros where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Its tokens.
    #[serde(flatten)]
    pub tokens: Tokens,
    /// Its cost; none where there are no columns for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// Tasks they come from.
    pub tasks: i64,
    /// Usage rows they come from.
    pub events: i64,
}

/// In what way a bucket is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// There is usage, and no bucket.
    Missing,
    /// There is a bucket, and no usage.
    Extra,
    /// They do not agree.
    Different,
    /// What the raw rows add up to does not fit into a bucket.
    TooLarge,
}

/// When a bucket was seen to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// By the comparison.
    Found,
    /// Again after the repair.
    Left,
}

/// A bucket that is not what the raw rows add up to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// In what way.
    pub kind: Kind,
    /// Whether the next tick will see to it.
    pub waiting: bool,
    /// Whether it was seen before or after the repair.
    pub pass: Pass,
    /// Which bucket.
    #[serde(flatten)]
    pub bucket: Bucket,
    /// What the raw rows add up to; held to the ends of what a bucket can hold.
    pub raw: Sums,
    /// What is stored.
    pub stored: Sums,
    /// The sums that a bucket cannot hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub too_large: Option<TooLarge>,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// Whose rollup is in force: another program's loses changes, whatever the buckets are now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<Pipeline>,
    /// Days that hold usage or buckets.
    pub days: u64,
    /// Buckets that the raw rows make.
    pub buckets: u64,
    /// Missing ones that are not waiting.
    pub missing: u64,
    /// Extra ones that are not waiting.
    pub extra: u64,
    /// Different ones that are not waiting.
    pub different: u64,
    /// Those that no bucket can hold.
    pub too_large: u64,
    /// Those that wait for the next tick.
    pub waiting: u64,
    /// Those that were rebuilt.
    pub fixed: u64,
    /// Seconds from the rollup's watermark to the database's clock.
    pub lag: f64,
    /// Whether the watermark was ahead of the clock and has been brought back behind it.
    pub brought_back: bool,
}

impl Comparison {
    /// Buckets that are wrong and not just waiting.
    #[must_use]
    pub fn wrong(&self) -> u64 {
        self.missing + self.extra + self.different + self.too_large
    }

    /// Why `migrate up` has to be run before the buckets can be relied on.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.pipeline.as_ref().and_then(Pipeline::fault)
    }

    /// What there is that this program does not know. Then the rollup in force may be newer than it, and is not judged.
    #[must_use]
    pub fn unknown(&self) -> Option<&str> {
        self.pipeline.as_ref().and_then(|pipeline| pipeline.unknown.as_deref())
    }

    /// Whether buckets wait although ticks have stopped, or there have never been any.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.waiting > 0 && self.lag > TOLERATED_LAG || self.buckets > 0 && self.lag > NEVER_CALLED || self.is_ahead()
    }

    /// Whether the watermark is ahead of the clock: what is written until then would never be rolled up.
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
