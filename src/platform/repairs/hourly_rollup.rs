//! `hourly-rollup`: rebuilds `task_usage_hourly` on demand, as the hook before V103 fills it.

use async_trait::async_trait;
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::db::{Connection, Hint};
use crate::engine::{Forecast, Hook, HookContext, HookError, Outcome};
use crate::usage::{self, Pipeline, RollupError, Survey, WalkOptions, WalkScope};

/// The rebuild `hourly-rollup`, with its arguments.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub struct HourlyRollup {
    /// Only the current UTC month and this many before it. The watermark passes the older months, so this requires
    /// --force-partial.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1200))]
    months_back: Option<u16>,

    /// Agree that older months are not rebuilt, and count as done.
    #[arg(long, requires = "months_back")]
    force_partial: bool,
}

impl HourlyRollup {
    /// The name by which operators call it.
    pub const NAME: &str = "hourly-rollup";

    /// What it does.
    pub const ABOUT: &str = "Compute task_usage_hourly again from the raw usage, month by month, as the upgrade does";

    /// Does not resume: months rebuilt by an interrupted execution may have been damaged since. Correct buckets are only read, so
    /// starting over costs little.
    fn options(&self) -> WalkOptions {
        let scope = self.months_back.map_or(WalkScope::Everything, WalkScope::LastMonths);
        WalkOptions { scope, resume: false, ..WalkOptions::default() }
    }
}

fn no_rollup() -> HookError {
    let first = Hint::of(|program| format!("{} first", program.run_up()));
    HookError::refused_with_hint("this database has no hourly rollup", first)
}

/// Refuses a rollup that cannot be rebuilt.
async fn can_be_rebuilt(connection: &Connection) -> Result<(), HookError> {
    match Pipeline::read(connection).await? {
        None => {
            return Err(no_rollup());
        }
        Some(Pipeline { unknown: Some(what), .. }) => {
            return Err(HookError::refused_with_hint(
                format!("{what}, which this build does not know: it would compute buckets without it"),
                "upgrade to a newer build of this program",
            ));
        }
        Some(Pipeline { foreign, .. }) if !foreign.is_empty() => {
            return Err(HookError::refused_with_hint(
                format!("the rollup in force is not this program's: {}", foreign.join(", ")),
                Hint::of(|program| format!("{}, which replaces it and rebuilds every bucket", program.run_up())),
            ));
        }
        Some(_) => {}
    }
    match Survey::read(connection).await? {
        Survey::NoUsage | Survey::NoPipeline(_) => Err(no_rollup()),
        Survey::NoState => Err(HookError::Refused {
            message: RollupError::NoState.to_string(),
            hint: Some(Hint::if_any(|program| RollupError::NoState.hint(program))),
        }),
        Survey::Ready(_) => Ok(()),
    }
}

#[async_trait]
impl Hook for HourlyRollup {
    fn name(&self) -> &str {
        Self::NAME
    }

    async fn plan(&self, cx: &HookContext) -> Result<Forecast, HookError> {
        if let Self { months_back: Some(months), force_partial: false } = self {
            return Err(HookError::refused_with_hint(
                format!("--months-back {months} does not rebuild older months, and the watermark passes them"),
                "leave it out, or add --force-partial to agree to that",
            ));
        }
        let connection = cx.connect().await?;
        can_be_rebuilt(&connection).await?;
        let forecast = usage::forecast(&connection, self.options(), cx).await?;
        connection.close().await;
        Ok(forecast)
    }

    async fn run(&self, cx: &HookContext) -> Result<Outcome, HookError> {
        let connection = cx.connect().await?;
        let result = Box::pin(usage::walk(&connection, self.options(), cx)).await;
        connection.close().await;
        Ok(result?.rebuilt())
    }
}
