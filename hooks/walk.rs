//! What the hooks that walk the usage have in common: what came of it in words, and progress passed on to the run.

use async_trait::async_trait;

use crate::db::{self, Connection};
use crate::engine::{HookContext, Outcome, Progress};
use crate::usage::{Resume, WalkHost, WalkReport, grouped};

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

/// The walk's progress and messages, passed on to the run.
pub(super) struct Host<'a>(pub &'a HookContext);

#[async_trait]
impl WalkHost for Host<'_> {
    fn role(&self) -> Option<&str> {
        self.0.role()
    }

    fn progress(&self, done: u64, total: u64, buckets: u64) {
        self.0.progress(Progress {
            unit: "months".into(),
            done,
            total,
            written: buckets,
            written_unit: "buckets".into(),
        });
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
