//! What the hooks that walk the usage have in common.

use async_trait::async_trait;

use crate::db::{self, Connection};
use crate::engine::{HookContext, Progress};
use crate::usage::{Resume, WalkHost};

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
