//! The hourly rollup of token usage.

mod bucket;
mod difference;
mod error;
mod lock;
mod look;
mod pipeline;
mod queries;
mod rebuild;
mod standing;
mod survey;
mod tick;
mod too_large;
mod verify;
mod walk;
mod walk_options;

pub use bucket::Bucket;
pub use difference::{CompareEvent, Comparison, Difference, Kind, Pass, Scope, Sums};
pub use error::RollupError;
pub(crate) use lock::lock as lock_rollup;
pub use pipeline::{Pipeline, REBUILD, UNKNOWN};
pub use queries::{
    Cost, DayUsage, IssueUsage, ModelUsage, TaskUsage, Tokens, UsageRow, by_day_and_model, by_model, of_issue, of_task,
    upsert,
};
pub use standing::{Cron, CronJob, Scheduling, Standing, Way};
pub use survey::Survey;
pub use tick::{Tick, WatchEvent, tick, watch};
pub use too_large::{KeptOut, TooLarge};
pub use verify::{compare, fix};
pub use walk::{forecast, walk};
pub use walk_options::{WalkOptions, WalkReport, WalkScope};

/// The tables that a tick, a walk or a rebuild writes.
pub(crate) const WRITTEN: [&str; 4] = [
    "task_usage_hourly",
    "task_usage_hourly_dirty",
    "task_usage_hourly_invalidation",
    "task_usage_hourly_rollup_state",
];

/// The tables that it reads.
pub(crate) const READ: [&str; 4] = ["task_usage", "agent_task_queue", "issue", "agent"];

/// The functions that it calls. These call others, of any owner.
pub(crate) const CALLED: [&str; 4] = [
    "rollup_task_usage_hourly()",
    "rollup_task_usage_hourly_window(timestamptz, timestamptz)",
    "task_usage_hourly_rebuild(timestamptz[])",
    "task_usage_hourly_horizon()",
];

/// The role that writes the rollup, if it is not the session's own. Refuses a superuser's session that would run code of another
/// role that is not a superuser.
///
/// # Errors
///
/// [`crate::db::Error::SuperuserRefused`]; what the server says.
pub async fn acting_role(connection: &crate::db::Connection) -> Result<Option<String>, crate::db::Error> {
    crate::db::refuse_superuser(connection, &[&WRITTEN[..], &READ[..]].concat(), &CALLED, crate::db::Purpose::Write)
        .await?;
    crate::db::acting_role(connection, "task_usage").await
}

/// Refuses a superuser's session for which reading the rollup would run code of another role.
///
/// # Errors
///
/// As [`acting_role`].
pub async fn may_look(connection: &crate::db::Connection) -> Result<(), crate::db::Error> {
    let tables = [&WRITTEN[..], &READ[..]].concat();
    crate::db::refuse_superuser(connection, &tables, &[], crate::db::Purpose::Look).await
}
