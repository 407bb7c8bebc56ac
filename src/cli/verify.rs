//! `migrate verify`.

use std::time::Duration;

use clap::{Args, Subcommand};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::exit;
use super::failure::Failure;
use super::render::Renderer;
use crate::db::{Connector, Waiting};
use crate::engine::Event;
use crate::usage::{self, CompareHost, Comparison, Difference, Scope};

/// Subcommands of `migrate verify`.
#[derive(Debug, Subcommand)]
pub(super) enum Verify {
    /// Compare the hourly rollup with the raw usage, bucket by bucket.
    ///
    /// Exits with 4 if a bucket is missing, extra or different, unless it only waits for the next tick.
    Rollup(Rollup),
}

#[derive(Debug, Args)]
pub(super) struct Rollup {
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
    pub async fn run(&self, connector: &Connector, renderer: &Renderer, lock_wait: Duration) -> Result<u8, Failure> {
        let Self::Rollup(Rollup { workspace_id, from, to, fix }) = self;
        if let (Some(from), Some(to)) = (from, to)
            && from >= to
        {
            return Err(Failure::usage("--from is not before --to"));
        }
        let scope = Scope { workspace: *workspace_id, from: *from, to: *to };
        let found = if *fix {
            usage::fix(connector, scope, lock_wait, renderer).await?
        } else {
            usage::compare(connector, scope, renderer).await?
        };
        renderer.compared(&found);
        Ok(if is_drift(&found) { exit::DRIFT } else { exit::OK })
    }
}

/// Whether what was found is a fault.
pub(super) fn is_drift(found: &Comparison) -> bool {
    found.wrong() > 0 || found.is_stalled()
}

impl CompareHost for Renderer {
    fn progress(&self, done: u64, total: u64, buckets: u64) {
        self.comparing(done, total, buckets);
    }

    fn difference(&self, difference: &Difference) {
        Self::difference(self, difference);
    }

    fn waiting(&self, waiting: Waiting) {
        self.event(Event::Waiting(waiting));
    }
}
