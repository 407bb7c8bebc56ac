//! Fills `task_usage_hourly` before V103 drops what it replaces.
//!
//! Nobody has rolled anything up in a database that comes straight from an old version, and no server is running that
//! could. The guard in V103 would refuse; this hook is what it waits for.

use async_trait::async_trait;

use super::hourly_rebuild;
use crate::db::{self, Connection, Waiting};
use crate::engine::{Forecast, Hook, HookContext, HookError, Outcome, Progress};
use crate::usage::{self, Resume, WalkError, WalkHost, WalkOptions, WalkReport, WalkScope, grouped};

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
        // What another program has rolled up is not to be relied on.
        let scope = if cx.is_owed(hourly_rebuild::NAME) { WalkScope::Everything } else { self.options.scope };
        WalkOptions { scope, lock_wait: cx.lock_wait(), ..self.options }
    }
}

#[async_trait]
impl Hook for HourlyBackfill {
    fn name(&self) -> &'static str {
        "hourly-backfill"
    }

    async fn plan(&self, cx: &HookContext) -> Result<Forecast, HookError> {
        let connection = cx.connect().await?;
        let forecast =
            usage::forecast(&connection, self.options(cx), cx.load_state(&connection).await?).await.map_err(explain)?;
        connection.close().await;
        Ok(match forecast {
            Ok(work) => Forecast::work(work),
            Err(reason) => Forecast::nothing(reason),
        })
    }

    async fn run(&self, cx: &HookContext) -> Result<Outcome, HookError> {
        let connection = cx.connect().await?;
        let result = Box::pin(usage::walk(&connection, self.options(cx), &Host(cx))).await;
        connection.close().await;
        result.map(outcome).map_err(explain)
    }

    fn covers(&self) -> &'static [&'static str] {
        &[hourly_rebuild::NAME]
    }
}

pub(super) fn outcome(report: WalkReport) -> Outcome {
    match report {
        WalkReport::NothingThere => Outcome::new("there is no hourly rollup to fill"),
        WalkReport::CaughtUp { buckets, empty, watermark } => {
            let summary = if empty {
                "task_usage is empty: stamped the watermark".to_owned()
            } else {
                format!("rolled up the rest, {} buckets", grouped(buckets))
            };
            Outcome::new(summary).with("slices", 0).with("buckets", buckets).with("to", watermark)
        }
        WalkReport::Walked { months, rows, buckets, from, watermark } => {
            let plural = if months == 1 { "" } else { "s" };
            Outcome::new(format!(
                "rolled up {months} month{plural}, {} rows into {} buckets",
                grouped(rows),
                grouped(buckets)
            ))
            .with("slices", months)
            .with("rows", rows)
            .with("buckets", buckets)
            .with("from", from)
            .with("to", watermark)
        }
    }
}

pub(super) fn explain(error: WalkError) -> HookError {
    let hint = match &error {
        WalkError::NoState => "INSERT INTO task_usage_hourly_rollup_state (id) VALUES (1); then run it again",
        WalkError::Survey(usage::SurveyError::NoHour { .. }) => {
            "correct or delete such rows in task_usage, then run it again"
        }
        WalkError::HeldBack { .. } => "end that transaction (see pg_stat_activity), then run it again",
        WalkError::Hidden => {
            "let this role see them: GRANT pg_read_all_stats TO <role>; if there are none, look at pg_prepared_xacts"
        }
        WalkError::Database(_) | WalkError::Survey(_) | WalkError::Lock(_) => "",
    };
    match error {
        WalkError::Database(error) | WalkError::Survey(usage::SurveyError::Database(error)) => error.into(),
        WalkError::Lock(error) => error.into(),
        other => HookError::with_hint(other.to_string(), hint),
    }
}

/// The walk's progress and messages, passed on to the run.
pub(super) struct Host<'a>(pub &'a HookContext);

#[async_trait]
impl WalkHost for Host<'_> {
    fn role(&self) -> Option<&str> {
        self.0.role()
    }

    fn progress(&self, done: u64, total: u64, buckets: u64) {
        self.0.progress(Progress { unit: "months", done, total, written: buckets, written_unit: "buckets" });
    }

    fn waiting(&self, waiting: Waiting) {
        self.0.waiting(waiting);
    }

    async fn load(&self, connection: &Connection) -> Result<Option<Resume>, db::Error> {
        self.0.load_state(connection).await
    }

    async fn save(&self, connection: &Connection, resume: &Resume) -> Result<(), db::Error> {
        self.0.save_state(connection, resume).await
    }

    async fn clear(&self, connection: &Connection) -> Result<(), db::Error> {
        self.0.clear_state(connection).await
    }
}
