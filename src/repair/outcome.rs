//! The pace of a repair, and its result.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::change::Detail;
use super::derived::Refresh;
use super::lines::Totals;
use super::rows::Rows;
use super::runs::RunState;
use crate::db::Holder;

/// The pace and limits of a repair.
#[derive(Clone, Debug)]
pub struct Pacing {
    /// Rows per transaction.
    pub batch_size: u32,
    /// Pause between two transactions.
    pub sleep_between_batches: Duration,
    /// Stop after the first batch that ends later than this.
    pub max_runtime: Option<Duration>,
    /// Pause while a streaming replica lags by more than this.
    pub max_lag: Option<Duration>,
    /// How long to wait for locks: of derived data, and of rows that other sessions have locked.
    pub lock_wait: Duration,
    /// Refresh the data that is computed from the rows.
    pub refresh: bool,
    /// Start even though this other run of the same repair is unfinished.
    pub beside: Option<i64>,
    /// Give the finding of an execution lines by owner and day, as a dry run has. For a report.
    pub with_lines: bool,
}

impl Default for Pacing {
    /// A thousand rows per batch, no pauses, no limits, ten minutes for a lock, derived data refreshed.
    fn default() -> Self {
        Self {
            batch_size: 1000,
            sleep_between_batches: Duration::ZERO,
            max_runtime: None,
            max_lag: None,
            lock_wait: Duration::from_mins(10),
            refresh: true,
            beside: None,
            with_lines: false,
        }
    }
}

impl Pacing {
    pub(super) fn detail(&self) -> Detail {
        if self.with_lines { Detail::Lines } else { Detail::Totals }
    }

    pub(super) fn pause_until(&self, deadline: Option<Instant>) -> Duration {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        self.sleep_between_batches.min(left.unwrap_or(Duration::MAX))
    }
}

/// What a run has done, in all its executions.
#[derive(Clone, Debug)]
pub struct Repaired {
    /// The run.
    pub run: i64,
    /// Its state.
    pub state: RunState,
    /// Rows changed, and their sums.
    pub totals: Totals,
    /// Rows left because another session had changed them since the inspection.
    pub changed: u64,
    /// Rows deleted since the inspection.
    pub gone: u64,
    /// Rows not reached: locked by other sessions for too long, or out of time.
    pub waiting: u64,
    /// A session that has one of them locked, if it is visible.
    pub holder: Option<Holder>,
    /// Rows that meet the condition of the repair now.
    pub left_over: u64,
    /// An open transaction that began before the repair's cutoff. Its writes are not visible yet.
    pub long_transaction: Option<Holder>,
    /// What happened to the data that is computed from the rows.
    pub refresh: Refresh,
    /// How much of that data this execution wrote.
    pub refreshed: u64,
    /// How long this execution took.
    pub duration: Duration,
}

impl Repaired {
    /// Whether rows had to be left that should have been repaired.
    #[must_use]
    pub fn had_to_leave(&self) -> bool {
        self.waiting > 0 || self.left_over > 0
    }

    /// The totals as JSON, for the run's record and for programs.
    #[must_use]
    pub fn to_json(&self, rows: &Rows) -> Value {
        let mut totals = totals_to_json(&self.totals, rows);
        let more = json!({
            "changed_since_found": self.changed,
            "gone_since_found": self.gone,
            "not_reached": self.waiting,
            "left_over": self.left_over,
        });
        if let (Some(totals), Some(more)) = (totals.as_object_mut(), more.as_object()) {
            totals.extend(more.clone());
        }
        totals
    }
}

/// Totals under the names that the repair gives them. Sums beyond 64 bits become text.
#[must_use]
pub fn totals_to_json(totals: &Totals, rows: &Rows) -> Value {
    let number =
        |number: i128| i64::try_from(number).map_or_else(|_| json!(number.to_string()), |number| json!(number));
    let names = &rows.names;
    let mut object = json!({
        "rows": totals.rows,
        &names.before: number(totals.before),
        &names.after: number(totals.after),
        &names.removed: number(totals.removed()),
    });
    if let (Some(counts), Some(object)) = (rows.counts, object.as_object_mut()) {
        object.insert(counts.name.to_owned(), json!(totals.counted));
    }
    object
}
