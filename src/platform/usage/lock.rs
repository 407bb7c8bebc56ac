//! The locks of the hourly rollup, and the horizon: the moment before which no open transaction can still write usage.

use std::time::{Duration, Instant};

use super::RollupError;
use crate::db::{self, Connection, LockKey, LockTimeout, Patience, Transaction};

/// Held by every tick and slice for its transaction. Older programs hold it for their session.
pub(super) const ROLLUP_LOCK: LockKey = LockKey::one(4246, "the lock of the hourly rollup");

/// Held by every window for its transaction. Acquired before the window is called, because a wait inside it cannot be reported.
const WINDOW_LOCK: LockKey = LockKey::two(4246, 1, "the end of another rollup window");

/// How long to wait until no transaction whose start is hidden is writing usage.
const HIDDEN_PATIENCE: Duration = Duration::from_secs(10);

/// Acquires a lock until the transaction ends, if no other session holds it.
pub(super) async fn try_lock(transaction: &Transaction<'_>, lock: &LockKey) -> Result<bool, db::Error> {
    let ask = format!("SELECT pg_catalog.pg_try_advisory_xact_lock({}) AS taken", lock.arguments());
    Ok(transaction.query_one(&ask, &[]).await?.get("taken"))
}

/// Begins a transaction that holds the rollup's locks.
pub(crate) async fn lock(connection: &Connection, lock_wait: Duration) -> Result<Transaction<'_>, LockTimeout> {
    let mut patience = Patience::new(lock_wait);
    loop {
        let transaction = connection.begin().await?;
        let mut held = None;
        for lock in [ROLLUP_LOCK, WINDOW_LOCK] {
            if !try_lock(&transaction, &lock).await? {
                held = Some(lock);
                break;
            }
        }
        let Some(held) = held else {
            // The same limit for other locks, on the state row for example.
            transaction.limit_lock_wait(lock_wait).await?;
            return Ok(transaction);
        };
        transaction.rollback().await;
        patience.wait(connection, &held).await?;
    }
}

/// Begins a transaction that holds the rollup's locks, once the horizon is visible.
pub(super) async fn lock_at_horizon<'c>(
    connection: &'c Connection,
    role: Option<&str>,
    lock_wait: Duration,
) -> Result<(Transaction<'c>, String), RollupError> {
    let since = Instant::now();
    loop {
        let transaction = lock(connection, lock_wait).await?;
        if let Some(horizon) = quiet_horizon(&transaction, role).await? {
            return Ok((transaction, horizon));
        }
        transaction.rollback().await;
        wait_for_visibility(connection, since).await?;
    }
}

/// The horizon, once it is visible.
pub(super) async fn first_horizon(connection: &Connection, role: Option<&str>) -> Result<String, RollupError> {
    let since = Instant::now();
    loop {
        let transaction = connection.begin().await?;
        let horizon = quiet_horizon(&transaction, role).await?;
        transaction.rollback().await;
        match horizon {
            Some(horizon) => return Ok(horizon),
            None => wait_for_visibility(connection, since).await?,
        }
    }
}

/// The horizon now, as the server writes it; none if it is hidden, with a warning of the server.
pub(super) async fn horizon(transaction: &Transaction<'_>, role: Option<&str>) -> Result<Option<String>, db::Error> {
    const HORIZON: &str =
        "SELECT CASE WHEN pg_catalog.isfinite(h) THEN h::text END AS horizon FROM task_usage_hourly_horizon() h";
    Ok(transaction.as_role(role, transaction.query_one(HORIZON, &[])).await?.get("horizon"))
}

/// The same without the warning, for callers that try again.
async fn quiet_horizon(transaction: &Transaction<'_>, role: Option<&str>) -> Result<Option<String>, db::Error> {
    transaction.batch("SET LOCAL client_min_messages TO error").await?;
    let horizon = horizon(transaction, role).await?;
    transaction.batch("SET LOCAL client_min_messages TO DEFAULT").await?;
    Ok(horizon)
}

async fn wait_for_visibility(connection: &Connection, since: Instant) -> Result<(), RollupError> {
    if since.elapsed() > HIDDEN_PATIENCE {
        return Err(RollupError::Hidden);
    }
    connection.pause(Duration::from_millis(50)).await?;
    Ok(())
}
