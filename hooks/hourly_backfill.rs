//! Fills `task_usage_hourly` before V103 drops what it replaces.
//!
//! A database that comes straight from an old version has an empty rollup, and no server is running that could fill it. The guard
//! in V103 refuses such a database; this hook fills the rollup first.

use async_trait::async_trait;

use crate::engine::{Forecast, Hook, HookContext, HookError, Outcome};
use crate::usage::{self, REBUILD, WalkOptions, WalkScope};

/// The hook `hourly-backfill`.
#[derive(Clone, Copy, Debug, Default)]
pub struct HourlyBackfill {
    options: WalkOptions,
}

impl HourlyBackfill {
    /// With other options than the default.
    #[must_use]
    pub fn new(options: WalkOptions) -> Self {
        Self { options }
    }

    fn options(&self, cx: &HookContext) -> WalkOptions {
        // Buckets of another program's rollup cannot be relied on.
        let scope = if cx.is_owed(REBUILD) { WalkScope::Everything } else { self.options.scope };
        WalkOptions { scope, ..self.options }
    }
}

#[async_trait]
impl Hook for HourlyBackfill {
    fn name(&self) -> &'static str {
        "hourly-backfill"
    }

    async fn plan(&self, cx: &HookContext) -> Result<Forecast, HookError> {
        let connection = cx.connect().await?;
        let forecast = usage::forecast(&connection, self.options(cx), cx).await?;
        connection.close().await;
        Ok(forecast)
    }

    async fn run(&self, cx: &HookContext) -> Result<Outcome, HookError> {
        let connection = cx.connect().await?;
        let result = Box::pin(usage::walk(&connection, self.options(cx), cx)).await;
        connection.close().await;
        Ok(result?.rolled_up())
    }

    fn covers(&self) -> Vec<&str> {
        vec![REBUILD]
    }
}
