//! `hourly-rollup`: the walk of the hook before V103, on demand.

use async_trait::async_trait;
use clap::Args;
use serde::{Deserialize, Serialize};

use super::RepairError;
use super::gate::Authorised;
use super::rebuild::RebuildContext;
use super::repair::Rebuild;
use crate::db::{self, Connection};
use crate::engine::{Forecast, Outcome};
use crate::usage::{self, Pipeline, Resume, RollupError, Survey, WalkHost, WalkOptions, WalkScope};

/// The rebuild `hourly-rollup`.
#[derive(Clone, Copy, Debug, Default)]
pub struct HourlyRollup;

/// What is rebuilt, and how.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub struct HourlyRollupArguments {
    /// Only the current UTC month and this many before it. The watermark then passes what is left out, so it takes
    /// --force-partial, too.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1200))]
    months_back: Option<u16>,

    /// Agree that the rollup of older months stays as it is, and counts as done.
    #[arg(long, requires = "months_back")]
    force_partial: bool,
}

impl HourlyRollupArguments {
    fn options(&self, cx: &RebuildContext) -> WalkOptions {
        WalkOptions {
            scope: self.months_back.map_or(WalkScope::Everything, WalkScope::LastMonths),
            pause: cx.pause(),
            lock_wait: cx.lock_wait(),
            ..WalkOptions::default()
        }
    }
}

#[async_trait]
impl Rebuild for HourlyRollup {
    type Arguments = HourlyRollupArguments;

    fn name(&self) -> &'static str {
        "hourly-rollup"
    }

    fn about(&self) -> &'static str {
        "Compute task_usage_hourly again from the raw usage, month by month, as the upgrade does"
    }

    async fn inspect(
        &self,
        connection: &Connection,
        cx: &RebuildContext,
        arguments: &HourlyRollupArguments,
    ) -> Result<Forecast, RepairError> {
        if let HourlyRollupArguments { months_back: Some(months), force_partial: false } = arguments {
            return Err(RepairError::refused_with_hint(
                format!("--months-back {months} leaves older months as they are, and the watermark passes them"),
                "leave it out, or add --force-partial to agree to that",
            ));
        }
        match Pipeline::read(connection).await? {
            None => {
                return Err(RepairError::refused_with_hint(
                    "this database has no hourly rollup",
                    "run migrate up first",
                ));
            }
            Some(Pipeline { unknown: Some(what), .. }) => {
                return Err(RepairError::refused_with_hint(
                    format!("{what}, which this build does not know: it would compute buckets without it"),
                    "upgrade to a newer build of migrate",
                ));
            }
            Some(Pipeline { foreign, .. }) if !foreign.is_empty() => {
                return Err(RepairError::refused_with_hint(
                    format!("the rollup in force is not this program's: {}", foreign.join(", ")),
                    "run migrate up, which puts its own into force and computes every bucket again",
                ));
            }
            Some(_) => {}
        }
        match Survey::read(connection).await? {
            Survey::NoUsage | Survey::NoPipeline(_) => {
                return Err(RepairError::refused_with_hint(
                    "this database has no hourly rollup",
                    "run migrate up first",
                ));
            }
            Survey::NoState => return Err(RollupError::NoState.into()),
            Survey::Ready(_) => {}
        }
        Ok(match usage::forecast(connection, arguments.options(cx), None).await? {
            Ok(work) => Forecast::work(work),
            Err(reason) => Forecast::nothing(reason),
        })
    }

    async fn run(
        &self,
        connection: &Connection,
        cx: &RebuildContext,
        arguments: &HourlyRollupArguments,
        _: &Authorised<Forecast>,
    ) -> Result<Outcome, RepairError> {
        Ok(Box::pin(usage::walk(connection, arguments.options(cx), &Host(cx))).await?.rebuilt())
    }
}

/// The walk's progress and messages, passed on.
struct Host<'a>(&'a RebuildContext);

#[async_trait]
impl WalkHost for Host<'_> {
    fn role(&self) -> Option<&str> {
        self.0.role()
    }

    fn progress(&self, done: u64, total: u64, _: u64) {
        self.0.progress("months", done, total);
    }

    /// Buckets that an interrupted run had rebuilt may have been damaged since. Right ones are read and not written again, so
    /// it starts over.
    async fn load(&self, _: &Connection) -> Result<Option<Resume>, db::Error> {
        Ok(None)
    }

    async fn save(&self, connection: &Connection, resume: &Resume) -> Result<(), db::Error> {
        self.0.save(connection, resume).await
    }

    async fn clear(&self, connection: &Connection) -> Result<(), db::Error> {
        self.0.clear(connection).await
    }
}
