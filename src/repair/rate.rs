//! The rate of a run, and the time left.

use std::time::{Duration, Instant};

/// Counts from the start of this execution: the work of an earlier one says nothing about the speed of this one.
pub(super) struct Rate {
    since: Instant,
    done_before: u64,
}

impl Rate {
    pub fn from(done_before: u64) -> Self {
        Self { since: Instant::now(), done_before }
    }

    /// Units per second, and the time left, once there is something to estimate from.
    #[allow(clippy::cast_precision_loss, reason = "an estimate")]
    pub fn at(&self, done: u64, total: u64) -> (f64, Option<Duration>) {
        let here = done.saturating_sub(self.done_before);
        let per_second = here as f64 / self.since.elapsed().as_secs_f64().max(0.001);
        let left = total.saturating_sub(done);
        let eta =
            (here > 0 && left > 0).then(|| Duration::try_from_secs_f64(left as f64 / per_second).unwrap_or_default());
        (per_second, eta)
    }
}
