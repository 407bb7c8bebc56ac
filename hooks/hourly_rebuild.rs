//! Computes `task_usage_hourly` again where another program's rollup was in force.
//!
//! The platform's own pipeline loses what ours reports: corrections that keep `updated_at`, deleted agents, late commits. So
//! when `R__usage_pipeline.sql` takes over from it, every bucket there is, and every one there should be, is computed again.

use async_trait::async_trait;

use super::walk::{Host, REBUILD, explain, outcome};
use crate::engine::{Forecast, Hook, HookContext, HookError, Outcome};
use crate::usage::{self, Pipeline, WalkOptions, WalkScope};

/// The hook `hourly-rebuild`.
#[derive(Clone, Copy, Debug, Default)]
pub struct HourlyRebuild;

impl HourlyRebuild {
    fn options(cx: &HookContext) -> WalkOptions {
        WalkOptions { scope: WalkScope::Everything, lock_wait: cx.lock_wait(), ..WalkOptions::default() }
    }
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
            Some(pipeline) if !pipeline.is_to_be_replaced() && !cx.is_owed(REBUILD) => {
                Forecast::nothing("the rollup in force loses nothing")
            }
            Some(_) => {
                let resume = cx.load_state(&connection).await?;
                match usage::forecast(&connection, Self::options(cx), resume).await.map_err(explain)? {
                    Ok(work) => Forecast::work(work),
                    Err(reason) => Forecast::nothing(reason),
                }
            }
        };
        connection.close().await;
        Ok(forecast)
    }

    async fn run(&self, cx: &HookContext) -> Result<Outcome, HookError> {
        let connection = cx.connect().await?;
        let result = Box::pin(usage::walk(&connection, Self::options(cx), &Host(cx))).await;
        connection.close().await;
        result.map(outcome).map_err(explain)
    }
}
