//! Correcting the differences that a comparison has found.

use std::time::Duration;

use time::OffsetDateTime;
use tokio_postgres::types::ToSql;

use super::RollupError;
use super::lock::{horizon, lock};
use super::look::Seen;
use crate::db::{Connection, Transaction};

/// No usage belongs to a bucket whose time is in no calendar, and no comparison by day reaches it.
const IMPOSSIBLE: &str = "bucket_hour < '0001-01-01 UTC' OR bucket_hour >= '9999-01-01 UTC'";

/// The time of such a bucket, if there is one.
pub(super) async fn impossible_bucket(session: &Connection) -> Result<Option<String>, RollupError> {
    let find = format!("SELECT bucket_hour::text AS at FROM task_usage_hourly WHERE {IMPOSSIBLE} LIMIT 1");
    Ok(session.query_opt(&find, &[]).await?.map(|row| row.get("at")))
}

/// How buckets are corrected.
pub(super) struct Fix<'a> {
    pub session: &'a Connection,
    pub role: Option<&'a str>,
    pub lock_wait: Duration,
    /// Whether the functions in force are this program's.
    pub own_functions: bool,
}

impl Fix<'_> {
    async fn lock(&self) -> Result<Transaction<'_>, RollupError> {
        Ok(lock(self.session, self.lock_wait).await?)
    }

    /// The horizon: a comparison that starts now sees all usage written before it. None if a transaction whose start is hidden
    /// is writing usage.
    pub async fn horizon(&self) -> Result<Option<String>, RollupError> {
        let transaction = self.session.begin().await?;
        let horizon = horizon(&transaction, self.role).await?;
        transaction.commit().await?;
        Ok(horizon)
    }

    /// Rebuilds what is wrong. With functions of an older program: enqueues the buckets, and drains that queue.
    pub async fn rebuild(&self, seen: &Seen) -> Result<(), RollupError> {
        const REBUILD: &str = "SELECT task_usage_hourly_rebuild($1::timestamptz[])";
        const ENQUEUE: &str = include_str!("verify_enqueue.sql");
        const DRAIN: &str =
            "SELECT rollup_task_usage_hourly_window(pg_catalog.now() - interval '1 microsecond', pg_catalog.now())";
        let transaction = self.lock().await?;
        if self.own_functions {
            let hours: Vec<OffsetDateTime> = seen.hours.iter().copied().collect();
            transaction.as_role(self.role, transaction.query_one(REBUILD, &[&hours])).await?;
        } else if !seen.wrong.is_empty() {
            let buckets = || seen.wrong.iter();
            let params: [&(dyn ToSql + Sync); 7] = [
                &buckets().map(|bucket| bucket.bucket_hour).collect::<Vec<_>>(),
                &buckets().map(|bucket| bucket.workspace_id).collect::<Vec<_>>(),
                &buckets().map(|bucket| bucket.runtime_id).collect::<Vec<_>>(),
                &buckets().map(|bucket| bucket.agent_id).collect::<Vec<_>>(),
                &buckets().map(|bucket| bucket.project_id).collect::<Vec<_>>(),
                &buckets().map(|bucket| bucket.provider.as_str()).collect::<Vec<_>>(),
                &buckets().map(|bucket| bucket.model.as_str()).collect::<Vec<_>>(),
            ];
            transaction.as_role(self.role, transaction.execute(ENQUEUE, &params)).await?;
            transaction.as_role(self.role, transaction.query_one(DRAIN, &[])).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Sets a watermark that is ahead of the clock to `began`. Returns its lag.
    pub async fn bring_back(&self, began: &str) -> Result<f64, RollupError> {
        const BRING_BACK: &str = "
            UPDATE task_usage_hourly_rollup_state
            SET watermark_at = CASE WHEN watermark_at > pg_catalog.now() THEN $1::text::timestamptz ELSE watermark_at END
            WHERE id = 1
            RETURNING extract(epoch FROM pg_catalog.now() - watermark_at)::float8 AS lag";
        let transaction = self.lock().await?;
        let params: [&(dyn ToSql + Sync); 1] = [&began];
        let work = transaction.query_opt(BRING_BACK, &params);
        let Some(row) = transaction.as_role(self.role, work).await? else { return Err(RollupError::NoState) };
        transaction.commit().await?;
        Ok(row.get("lag"))
    }

    /// Removes buckets whose time is in no calendar. Returns how many.
    pub async fn remove_impossible(&self) -> Result<u64, RollupError> {
        let transaction = self.lock().await?;
        let remove = format!("DELETE FROM task_usage_hourly WHERE {IMPOSSIBLE}");
        let removed = transaction.as_role(self.role, transaction.execute(&remove, &[])).await?;
        transaction.commit().await?;
        Ok(removed)
    }
}
