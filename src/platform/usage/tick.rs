//! The tick of the hourly rollup, once or repeatedly.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::RollupError;
use super::lock::{ROLLUP_LOCK, try_lock};
use super::pipeline::has_table;
use crate::db::{self, Connection, Connector, Holder, Observer, as_seconds, holder};

/// The application name of `migrate rollup watch`, by which its sessions are found.
pub(super) const WATCH_APPLICATION: &str = "migrate: rollup watch";

/// How long recording a failure waits for the state row: the tick may have failed on a lock on that row.
const RECORDING_PATIENCE: Duration = Duration::from_millis(500);

/// The shortest pause after a failure. It doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Seconds. A tick covers a day at most; if more than this is left, the next tick follows at once. Must be more than the
/// distance that ticks keep from the clock.
const CAUGHT_UP: f64 = 600.0;

/// What a tick did.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Tick {
    /// It ran.
    Done {
        /// Buckets written and deleted.
        buckets: u64,
        /// The watermark, as the server writes it, in UTC.
        watermark: String,
        /// Seconds from there to the database's clock.
        lag: f64,
        /// Whether the watermark moved.
        advanced: bool,
        /// How long it took.
        #[serde(serialize_with = "as_seconds")]
        duration: Duration,
    },
    /// Another tick, or a walk, is running. Nothing was done.
    Busy {
        /// Its session; none if it has just ended.
        holder: Option<Holder>,
    },
}

impl Tick {
    /// Whether it changed a bucket.
    #[must_use]
    pub fn did_something(&self) -> bool {
        matches!(self, Self::Done { buckets: 1.., .. })
    }

    /// Whether more is left than one tick covers.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        matches!(self, Self::Done { advanced: true, lag, .. } if *lag > CAUGHT_UP)
    }
}

/// Runs one tick. If it fails on the server, records the error in the rollup's state. The tick cannot do that itself, because
/// PostgreSQL rolls back what a failed function wrote.
///
/// # Errors
///
/// [`RollupError`].
pub async fn tick(connection: &Connection, lock_wait: Duration) -> Result<Tick, RollupError> {
    let role = super::acting_role(connection).await?;
    let role = role.as_deref();
    let result = try_tick(connection, role, lock_wait).await;
    if let Err(RollupError::Database(db::Error::Server(report))) = &result
        && let Err(error) = record(connection, role, &report.to_string()).await
    {
        tracing::warn!("could not record the failure in task_usage_hourly_rollup_state: {error}");
    }
    result
}

async fn try_tick(connection: &Connection, role: Option<&str>, lock_wait: Duration) -> Result<Tick, RollupError> {
    const TICK: &str = "SELECT pg_catalog.to_regprocedure('rollup_task_usage_hourly()') IS NOT NULL AS there";
    const STATE: &str = "
        SELECT watermark_at::text AS watermark,
               CASE WHEN pg_catalog.isfinite(watermark_at) THEN extract(epoch FROM pg_catalog.clock_timestamp() - watermark_at)::float8
                    WHEN watermark_at < pg_catalog.now() THEN 1e12 ELSE -1e12 END AS lag
        FROM task_usage_hourly_rollup_state
        WHERE id = 1";
    let has_tick: bool = connection.query_one(TICK, &[]).await?.get("there");
    if !has_tick || !has_table(connection, "task_usage_hourly_rollup_state").await? {
        return Err(RollupError::NoPipeline);
    }
    let started = Instant::now();
    let transaction = connection.begin().await?;
    // Acquired here, because the function returns 0 both if another tick is running and if there is nothing to do.
    if !try_lock(&transaction, &ROLLUP_LOCK).await? {
        transaction.rollback().await;
        return Ok(Tick::Busy { holder: holder(connection, &ROLLUP_LOCK).await? });
    }
    transaction.limit_lock_wait(lock_wait).await?;
    let Some(before) = transaction.query_opt(STATE, &[]).await? else {
        transaction.rollback().await;
        return Err(RollupError::NoState);
    };
    let work = transaction.query_one("SELECT rollup_task_usage_hourly() AS buckets", &[]);
    let buckets: i64 = transaction.as_role(role, work).await?.try_get("buckets")?;
    let after = transaction.query_one(STATE, &[]).await?;
    transaction.commit().await?;
    let watermark: String = after.get("watermark");
    Ok(Tick::Done {
        buckets: buckets.unsigned_abs(),
        lag: after.get("lag"),
        advanced: before.get::<_, &str>("watermark") != watermark,
        watermark,
        duration: started.elapsed(),
    })
}

async fn record(connection: &Connection, role: Option<&str>, message: &str) -> Result<(), db::Error> {
    const RECORD: &str = "
        UPDATE task_usage_hourly_rollup_state
        SET last_run_started_at = pg_catalog.now(), last_run_finished_at = pg_catalog.clock_timestamp(), last_run_rows = 0, last_error = $1
        WHERE id = 1";
    let transaction = connection.begin().await?;
    transaction.limit_lock_wait(RECORDING_PATIENCE).await?;
    transaction.as_role(role, transaction.execute(RECORD, &[&message])).await?;
    transaction.commit().await
}

/// What happens during a watch.
#[derive(Debug)]
pub enum WatchEvent {
    /// A tick ended.
    Ticked(Tick),
    /// A tick failed, or the database cannot be reached.
    Failed {
        /// Why.
        error: RollupError,
        /// The pause before the next try.
        again_in: Duration,
    },
}

/// Ticks at intervals of `every` until stopped, without pauses while the rollup is far behind. Reports and retries every failure,
/// first after a second, then after longer pauses, up to `every`: the database may be restarting, or being upgraded.
pub async fn watch(connector: &Connector, every: Duration, lock_wait: Duration, observer: &Observer<WatchEvent>) {
    let stop = connector.cancellation();
    let mut session = None;
    let mut pause_after_failure = FIRST_PAUSE;
    while !stop.is_cancelled() {
        let began = Instant::now();
        let pause = match tick_on(connector, &mut session, lock_wait).await {
            Ok(tick) => {
                pause_after_failure = FIRST_PAUSE;
                let pause = if tick.is_behind() { Duration::ZERO } else { every.saturating_sub(began.elapsed()) };
                observer.tell(WatchEvent::Ticked(tick));
                pause
            }
            Err(RollupError::Database(db::Error::Interrupted)) => break,
            Err(error) => {
                // A session that has failed is not used again.
                session = None;
                connector.choose_anew().await;
                let pause = pause_after_failure.min(every);
                pause_after_failure = (pause * 2).min(every);
                observer.tell(WatchEvent::Failed { error, again_in: pause });
                pause
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
    if let Some(session) = session {
        session.close().await;
    }
}

/// Ticks on the session that is open, or on a new one.
async fn tick_on(
    connector: &Connector,
    session: &mut Option<Connection>,
    lock_wait: Duration,
) -> Result<Tick, RollupError> {
    let connection = match session {
        Some(connection) => connection,
        None => session.insert(connector.connect(WATCH_APPLICATION).await?),
    };
    tick(connection, lock_wait).await
}
