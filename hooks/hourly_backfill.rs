//! Fills `task_usage_hourly` before V103 drops what it replaces.
//!
//! Nobody has rolled anything up in a database that comes straight from an old version, and no server is running that
//! could. The guard in V103 would refuse; this hook is what it waits for.

use async_trait::async_trait;

use crate::engine::{Forecast, Hook, HookContext, HookError, Outcome};
use crate::usage::{self, REBUILD, WalkOptions, WalkScope};

/// The hook `hourly-backfill`.
#[derive(Clone, Copy, Debug, Default)]
pub struct HourlyBackfill {
    options: WalkOptions,
}

impl HourlyBackfill {
    /// With other options than the default. How long a lock is waited for is decided by the run.
    #[must_use]
    pub fn new(options: WalkOptions) -> Self {
        Self { options }
    }

    fn options(&self, cx: &HookContext) -> WalkOptions {
        // What another program has rolled up cannot be relied on.
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
