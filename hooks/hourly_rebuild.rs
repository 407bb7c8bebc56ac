//! Rebuilds `task_usage_hourly` where another program's rollup was in force.
//!
//! The platform's own pipeline loses changes that ours reports: corrections that keep `updated_at`, deleted agents, late commits.
//! So when `R__usage_pipeline.sql` replaces it, every bucket is rebuilt, also those of deleted usage.

use async_trait::async_trait;

use crate::db::Connection;
use crate::engine::{Forecast, Hook, HookContext, HookError, Outcome, Why};
use crate::usage::{self, Pipeline, REBUILD, WalkOptions, WalkScope};

/// The hook `hourly-rebuild`.
#[derive(Clone, Copy, Debug, Default)]
pub struct HourlyRebuild;

fn options() -> WalkOptions {
    WalkOptions { scope: WalkScope::Everything, ..WalkOptions::default() }
}

/// Objects that do not affect the buckets, even if another program has replaced them: triggers and functions that the platform
/// creates under the same names, and what only reports or cleans up.
const WITHOUT_EFFECT: [&str; 7] = [
    "function enqueue_task_usage_hourly_dirty_for_",
    "function prune_task_usage_hourly_dirty(",
    "function task_usage_hourly_rollup_lag_seconds(",
    "trigger trg_atq_dirty_hourly ",
    "trigger trg_issue_delete_dirty_hourly ",
    "trigger trg_issue_project_dirty_hourly ",
    "trigger trg_tu_dirty_hourly ",
];

/// Whether buckets may be wrong although the rollup in force looks like ours: an object that affects the buckets was replaced, or
/// there is no record of who created it.
async fn is_in_doubt(connection: &Connection, cx: &HookContext) -> Result<bool, HookError> {
    const APPLIED_BEFORE: &str = "
        SELECT pg_catalog.to_regprocedure('task_usage_hourly_take_reports(timestamptz)') IS NOT NULL AS applied_before";
    Ok(match cx.due() {
        Some(Why::ObjectChanged { all, .. }) => {
            all.iter().any(|object| !WITHOUT_EFFECT.iter().any(|known| object.starts_with(known)))
        }
        // Its functions exist without its record, so a record of an owed rebuild may be lost as well.
        Some(Why::New) => connection.query_one(APPLIED_BEFORE, &[]).await?.get("applied_before"),
        Some(Why::FileChanged) | None => false,
    })
}

#[async_trait]
impl Hook for HourlyRebuild {
    fn name(&self) -> &'static str {
        REBUILD
    }

    async fn plan(&self, cx: &HookContext) -> Result<Forecast, HookError> {
        let connection = cx.connect().await?;
        let in_force = Pipeline::read(&connection).await?;
        let forecast = match in_force {
            None => Forecast::nothing("there is no hourly rollup yet"),
            Some(pipeline)
                if !pipeline.is_to_be_replaced() && !cx.is_owed(REBUILD) && !is_in_doubt(&connection, cx).await? =>
            {
                Forecast::nothing("the rollup in force loses nothing")
            }
            Some(_) => usage::forecast(&connection, options(), cx).await?,
        };
        connection.close().await;
        Ok(forecast)
    }

    async fn run(&self, cx: &HookContext) -> Result<Outcome, HookError> {
        let connection = cx.connect().await?;
        let result = Box::pin(usage::walk(&connection, options(), cx)).await;
        connection.close().await;
        Ok(result?.rebuilt())
    }
}
