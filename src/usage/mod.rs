//! The usage rollup, as programs see it.

mod difference;
mod pipeline;
mod queries;
mod standing;
mod survey;
mod tick;
mod too_large;
mod verify;
mod walk;

pub use difference::{Bucket, Comparison, Difference, Kind, Pass, Scope, Sums};
pub use pipeline::{Pipeline, REBUILD, UNKNOWN};
pub use queries::{
    Cost, DayUsage, IssueUsage, ModelUsage, TaskUsage, Tokens, UsageRow, by_day_and_model, by_model, of_issue, of_task,
    upsert,
};
pub use standing::{Cron, CronJob, Scheduling, Standing, Way};
pub use survey::{Survey, SurveyError};
pub use tick::{Tick, TickError, WatchEvent, tick, watch};
pub use too_large::{KeptOut, TooLarge};
pub use verify::{CompareError, CompareHost, compare, fix};
pub(crate) use walk::lock as lock_rollup;
pub use walk::{Resume, WalkError, WalkHost, WalkOptions, WalkReport, WalkScope, forecast, walk};

/// A number with its thousands apart: 52,000.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(super::grouped(number), text);
        }
    }
}
