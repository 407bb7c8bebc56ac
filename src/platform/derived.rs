//! How repairs of usage rows keep the hourly rollup up to date.

use std::time::Duration;

use async_trait::async_trait;

use crate::db::{self, Connection, LockTimeout, Transaction};
use crate::repair::{Derived, Standing, Words};
use crate::usage::{self, Pipeline};

/// The hourly rollup.
#[derive(Clone, Copy, Debug)]
pub struct Hourly;

/// The hourly rollup.
pub static HOURLY: Hourly = Hourly;

#[async_trait]
impl Derived for Hourly {
    fn words(&self) -> &'static Words {
        &Words {
            name: "hourly rollup",
            field: "rollup",
            unit: "bucket",
            would: "would roll up",
            dependent: "the hours of these rows",
            left_to: "the next ticks",
            left_field: "left_to_ticks",
            flag: "rebuild-rollup",
        }
    }

    fn source(&self) -> &'static str {
        "task_usage"
    }

    fn reads(&self) -> &'static [&'static str] {
        &usage::READ
    }

    fn writes(&self) -> &'static [&'static str] {
        &usage::WRITTEN
    }

    fn calls(&self) -> &'static [&'static str] {
        &usage::CALLED
    }

    fn privileges(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("agent_task_queue", "SELECT"),
            ("agent", "SELECT"),
            ("issue", "SELECT"),
            ("task_usage_hourly", "SELECT, INSERT, UPDATE, DELETE"),
            ("task_usage_hourly_dirty", "SELECT, INSERT, UPDATE, DELETE"),
            ("task_usage_hourly_invalidation", "SELECT, DELETE"),
        ]
    }

    async fn standing(&self, connection: &Connection) -> Result<Standing, db::Error> {
        Ok(match Pipeline::read(connection).await? {
            None => Standing::Absent,
            Some(pipeline) if pipeline.is_ours() => Standing::Ours,
            Some(_) => Standing::Foreign,
        })
    }

    async fn begin<'c>(&self, connection: &'c Connection, lock_wait: Duration) -> Result<Transaction<'c>, LockTimeout> {
        usage::lock_rollup(connection, lock_wait).await
    }

    async fn refresh(&self, transaction: &Connection, from: &str, to: &str) -> Result<u64, db::Error> {
        const WINDOW: &str =
            "SELECT rollup_task_usage_hourly_window($1::text::timestamptz, $2::text::timestamptz) AS buckets";
        let row = transaction.query_one(WINDOW, &[&from, &to]).await?;
        Ok(row.try_get::<_, i64>("buckets")?.unsigned_abs())
    }

    fn enqueue(&self, rows: &str) -> String {
        format!(
            "INSERT INTO task_usage_hourly_dirty AS d (
                 bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model, enqueued_at
             )
             SELECT DISTINCT task_usage_hour_bucket(u.created_at), a.workspace_id, t.runtime_id, t.agent_id, i.project_id,
                    u.provider, u.model, pg_catalog.now()
             FROM {rows} u
             JOIN agent_task_queue t ON t.id = u.task_id AND t.runtime_id IS NOT NULL
             JOIN agent a ON a.id = t.agent_id
             LEFT JOIN issue i ON i.id = t.issue_id
             ORDER BY 1, 2, 3, 4, 5, 6, 7
             ON CONFLICT ON CONSTRAINT uq_task_usage_hourly_dirty_key DO UPDATE SET
                 enqueued_at = least(d.enqueued_at, excluded.enqueued_at)"
        )
    }
}
