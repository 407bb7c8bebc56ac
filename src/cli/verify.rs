//! `migrate verify`.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::exit;
use super::failure::Failure;
use super::render::Renderer;
use crate::catalog;
use crate::db::{Connector, Observer};
use crate::engine::{Migrator, Verified};
use crate::usage::{self, CompareEvent, Comparison, RollupError, Scope};

/// Arguments of `migrate verify`.
#[derive(Debug, Args)]
pub(super) struct Verify {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Compare the recorded versions with this program's files, and with an older migrator's ledger.
    History,
    /// Compare the objects that the recorded versions should have left with those that are there.
    ///
    /// Invalid indexes and disabled triggers count as wrong. What an older migrator has applied is held to what other
    /// programs rely on; what this one has applied, to its definition. -v shows both definitions.
    Schema,
    /// Compare the hourly rollup with the raw usage, bucket by bucket.
    ///
    /// Exits with 4 if a bucket is missing, extra or different, unless it only waits for the next tick.
    Rollup(Rollup),
}

#[derive(Debug, Args)]
struct Rollup {
    /// Only this workspace.
    #[arg(long, value_name = "UUID")]
    workspace_id: Option<Uuid>,

    /// From the hour that holds this time: 2026-03-01, 2026-03-01T14:00:00Z. A day is a UTC day.
    #[arg(long, value_name = "TIME", value_parser = time_or_day)]
    from: Option<OffsetDateTime>,

    /// Up to this time, which is not included.
    #[arg(long, value_name = "TIME", value_parser = time_or_day)]
    to: Option<OffsetDateTime>,

    /// Rebuild the hours in which something is wrong, and compare them again. Right buckets are not touched.
    #[arg(long)]
    fix: bool,
}

fn time_or_day(text: &str) -> Result<OffsetDateTime, String> {
    let day =
        || Date::parse(text, format_description!("[year]-[month]-[day]")).ok().map(|day| day.midnight().assume_utc());
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .or_else(day)
        .filter(|time| (1..9999).contains(&time.year()))
        .ok_or_else(|| "expected 2026-03-01 or 2026-03-01T14:00:00Z, with a zone".to_owned())
}

impl Verify {
    pub async fn run(
        &self,
        migrator: &Migrator,
        connector: &Connector,
        renderer: &Arc<Renderer>,
        lock_wait: Duration,
    ) -> Result<u8, Failure> {
        match &self.what {
            Some(What::History) => Ok(verified(&migrator.verify_history().await?, renderer)),
            Some(What::Schema) => Ok(verified(&migrator.verify_schema().await?, renderer)),
            Some(What::Rollup(rollup)) => rollup.run(connector, renderer, lock_wait).await,
            None => {
                let history = verified(&migrator.verify_history().await?, renderer);
                let schema = verified(&migrator.verify_schema().await?, renderer);
                let rollup = if migrator.set().name() == catalog::PLATFORM {
                    whole_rollup(connector, renderer).await?
                } else {
                    exit::OK
                };
                Ok(history.max(schema).max(rollup))
            }
        }
    }
}

fn verified(found: &Verified, renderer: &Renderer) -> u8 {
    renderer.verified(found);
    if found.problems.is_empty() { exit::OK } else { exit::DRIFT }
}

async fn whole_rollup(connector: &Connector, renderer: &Arc<Renderer>) -> Result<u8, Failure> {
    match usage::compare(connector, Scope::default(), &observer(renderer)).await {
        Ok(found) => Ok(compared(&found, renderer)),
        Err(RollupError::NoPipeline) => {
            renderer.no_rollup();
            Ok(exit::OK)
        }
        Err(error) => Err(error.into()),
    }
}

fn compared(found: &Comparison, renderer: &Renderer) -> u8 {
    renderer.compared(found);
    if is_drift(found) { exit::DRIFT } else { exit::OK }
}

impl Rollup {
    async fn run(&self, connector: &Connector, renderer: &Arc<Renderer>, lock_wait: Duration) -> Result<u8, Failure> {
        let Self { workspace_id, from, to, fix } = self;
        if let (Some(from), Some(to)) = (from, to)
            && from >= to
        {
            return Err(Failure::usage("--from is not before --to"));
        }
        let scope = Scope { workspace: *workspace_id, from: *from, to: *to };
        let found = if *fix {
            usage::fix(connector, scope, lock_wait, &observer(renderer)).await?
        } else {
            usage::compare(connector, scope, &observer(renderer)).await?
        };
        Ok(compared(&found, renderer))
    }
}

/// Whether what was found is a fault.
pub(super) fn is_drift(found: &Comparison) -> bool {
    found.wrong() > 0 || found.is_stalled() || found.fault().is_some()
}

fn observer(renderer: &Arc<Renderer>) -> Observer<CompareEvent> {
    let renderer = Arc::clone(renderer);
    Observer::new(move |event| match event {
        CompareEvent::Progress { done, total, buckets } => renderer.comparing(done, total, buckets),
        CompareEvent::Difference(difference) => renderer.difference(&difference),
    })
}
