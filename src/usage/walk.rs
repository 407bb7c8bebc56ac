//! Rolling up the whole history, month by month.
//!
//! Each month is a transaction of its own, under the lock of the hourly tick, and its progress commits with it. The
//! watermark moves once, at the end. Usage that changes while the walk is on its way is caught by a last pass, which
//! covers everything since the horizon at which the walk began; changes that such a pass by time would not see are
//! reported by the triggers and drained by it. The watermark is then stamped with the horizon at which that last pass
//! began: five minutes behind the clock, and behind every transaction that was still writing usage.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio_postgres::types::ToSql;

use super::grouped;
use super::survey::{self, Extent, Month, Survey, SurveyError};
use crate::db::{self, Connection, LockKey, LockTimeout, Patience, Transaction};

/// Taken by every tick and every slice for its transaction; older programs take it as a session lock.
pub(super) const ROLLUP_LOCK: LockKey = LockKey::one(4246, "the lock of the hourly rollup");

/// Taken by every window for its transaction, inside the server; asked for here first, where waiting can be seen.
const WINDOW_LOCK: LockKey = LockKey::two(4246, 1, "the end of another rollup window");

/// How long a moment is waited for in which no transaction of another role, whose start is hidden, is writing usage.
const HIDDEN_PATIENCE: Duration = Duration::from_secs(10);

/// How often progress is told while a month is being rolled up.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// What a walk rolls up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WalkScope {
    /// Whatever the watermark has not passed: nothing but its window where the lag is tolerated, else every month.
    #[default]
    Missing,
    /// Every month, also where the watermark has passed it.
    Everything,
    /// The current UTC month and this many before it. The watermark passes what is left out.
    LastMonths(u16),
}

/// How a walk is to behave.
#[derive(Clone, Copy, Debug)]
pub struct WalkOptions {
    /// What it rolls up.
    pub scope: WalkScope,
    /// Up to this lag only the window behind the watermark is rolled up.
    pub tolerated_lag: Duration,
    /// Pause between two months, for the application's sake.
    pub pause: Duration,
    /// How long to wait for the rollup's lock, for each month.
    pub lock_wait: Duration,
}

impl Default for WalkOptions {
    /// What is missing, an hour, no pause, ten minutes.
    fn default() -> Self {
        Self {
            scope: WalkScope::default(),
            tolerated_lag: Duration::from_hours(1),
            pause: Duration::ZERO,
            lock_wait: Duration::from_mins(10),
        }
    }
}

/// Where a walk that did not get to its end goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The horizon at which the walk began, as the server writes it. The last pass starts from here.
    pub began_at: String,
    /// Start of the last month that is done.
    #[serde(with = "time::serde::rfc3339::option")]
    pub done: Option<OffsetDateTime>,
    /// Buckets written and deleted for the months that are done.
    pub buckets: u64,
}

/// What a walk needs from whoever runs it.
#[async_trait]
pub trait WalkHost: Send + Sync {
    /// The role that writes the buckets, if not the session's own: whoever owns the tables has put triggers on them, which
    /// are not to run with the rights of another role.
    fn role(&self) -> Option<&str> {
        None
    }
    /// `done` of `total` months, `buckets` written so far.
    fn progress(&self, done: u64, total: u64, buckets: u64);
    /// What was saved last.
    async fn load(&self, connection: &Connection) -> Result<Option<Resume>, db::Error>;
    /// Saves progress, in the open transaction.
    async fn save(&self, connection: &Connection, resume: &Resume) -> Result<(), db::Error>;
    /// Forgets it, in the open transaction.
    async fn clear(&self, connection: &Connection) -> Result<(), db::Error>;
}

/// What a walk did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalkReport {
    /// The tables are not there: nothing to do.
    NothingThere,
    /// Only the window behind the watermark was rolled up, and the watermark moved.
    CaughtUp {
        /// Buckets written and deleted.
        buckets: u64,
        /// There is no usage at all.
        empty: bool,
        /// The watermark now.
        watermark: String,
    },
    /// The whole history was rolled up.
    Walked {
        /// Months that hold usage.
        months: u64,
        /// Usage rows there are.
        rows: u64,
        /// Buckets written and deleted.
        buckets: u64,
        /// The earliest change of a usage row.
        from: String,
        /// The watermark now.
        watermark: String,
    },
}

/// Why a walk failed. What it had completed stays, and the next one goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// The connection or a statement.
    #[error(transparent)]
    Database(#[from] db::Error),
    /// The rollup's lock was not to be had.
    #[error(transparent)]
    Lock(#[from] LockTimeout),
    /// What there is cannot be rolled up.
    #[error(transparent)]
    Survey(#[from] SurveyError),
    /// The state row is missing.
    #[error("task_usage_hourly_rollup_state has no row, so nothing says how far the hourly rollup has come")]
    NoState,
    /// All usage that can be seen is rolled up, but the watermark may not pass an open transaction.
    #[error("the watermark stays at {watermark}: a transaction that has been open since then{} is writing usage",
            pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    HeldBack {
        /// The watermark now.
        watermark: String,
        /// The oldest such transaction's session.
        pid: Option<i32>,
    },
    /// The watermark cannot move, because at every look somebody was writing whose start is hidden from us.
    #[error("the watermark cannot move: transactions are writing usage, and this role may not see when they began")]
    Hidden,
}

/// What a walk would do now, in words: `Ok` completes "would …", `Err` says why there is nothing to do.
///
/// # Errors
///
/// [`WalkError`] if a walk would fail right away.
pub async fn forecast(
    connection: &Connection,
    options: WalkOptions,
    resume: Option<Resume>,
) -> Result<Result<String, String>, WalkError> {
    let extent = match Survey::read(connection).await? {
        Survey::NoUsage => return Ok(Err("there is no task_usage yet".to_owned())),
        Survey::NoState => return Err(WalkError::NoState),
        Survey::NoPipeline(extent) | Survey::Ready(extent) => extent,
    };
    if extent.latest.is_none() {
        return Ok(Ok("stamp the watermark: task_usage is empty".to_owned()));
    }
    if needs_no_walk(&extent, options) {
        return Ok(Ok(format!("roll up what changed since {}", extent.watermark)));
    }
    let months = months(connection, options).await?;
    let rows = survey::rows(connection).await?.unsigned_abs();
    let total = months.len();
    let plural = if total == 1 { "" } else { "s" };
    let done = resume.as_ref().map_or(0, |resume| months.iter().filter(|month| month.is_done(resume)).count());
    Ok(Ok(match resume {
        Some(_) if done > 0 => format!("go on after {done} of {total} month{plural}"),
        _ if matches!(options.scope, WalkScope::LastMonths(_)) => format!("roll up the last {total} month{plural}"),
        _ => format!("roll up {total} month{plural}, about {} rows", grouped(rows)),
    }))
}

/// Rolls up what is missing and moves the watermark.
///
/// # Errors
///
/// [`WalkError`].
pub async fn walk(connection: &Connection, options: WalkOptions, host: &dyn WalkHost) -> Result<WalkReport, WalkError> {
    let extent = match Survey::read(connection).await? {
        Survey::NoUsage | Survey::NoPipeline(_) => return Ok(WalkReport::NothingThere),
        Survey::NoState => return Err(WalkError::NoState),
        Survey::Ready(extent) => extent,
    };
    // Where no usage is left, buckets may be: of what was deleted while somebody else's rollup was in force.
    let has_months = match &extent.earliest {
        Some(_) => !needs_no_walk(&extent, options),
        None => options.scope != WalkScope::Missing && !months(connection, options).await?.is_empty(),
    };
    if has_months {
        let from = extent.earliest.unwrap_or(extent.watermark);
        walk_months(connection, options, host, from).await
    } else {
        catch_up(connection, options, host, &extent).await
    }
}

/// Rolls up the window behind the watermark.
async fn catch_up(
    connection: &Connection,
    options: WalkOptions,
    host: &dyn WalkHost,
    extent: &Extent,
) -> Result<WalkReport, WalkError> {
    let empty = extent.latest.is_none();
    let (transaction, horizon) = match lock_at_horizon(connection, options, host).await {
        Ok(locked) => locked,
        // The guard is content with this lag, and whatever is left is the next tick's.
        Err(WalkError::Hidden) if !empty => {
            return Ok(WalkReport::CaughtUp { buckets: 0, empty, watermark: extent.watermark.clone() });
        }
        Err(error) => return Err(error),
    };
    let (buckets, watermark) = last_pass(&transaction, host.role(), &extent.watermark, &horizon).await?;
    host.clear(&transaction).await?;
    transaction.commit().await?;
    Ok(WalkReport::CaughtUp { buckets, empty, watermark })
}

fn is_tolerated(extent: &Extent, options: WalkOptions) -> bool {
    extent.lag.is_some_and(|lag| lag <= options.tolerated_lag.as_secs_f64())
}

/// Whether rolling up the window behind the watermark is all there is to do.
fn needs_no_walk(extent: &Extent, options: WalkOptions) -> bool {
    options.scope == WalkScope::Missing && is_tolerated(extent, options)
}

/// The months that hold usage and are asked for.
async fn months(connection: &Connection, options: WalkOptions) -> Result<Vec<Month>, db::Error> {
    const FIRST: &str =
        "SELECT pg_catalog.date_trunc('month', pg_catalog.now(), 'UTC') - pg_catalog.make_interval(months => $1)";
    let mut months = survey::months(connection, options.scope != WalkScope::Missing).await?;
    if let WalkScope::LastMonths(back) = options.scope {
        let first: OffsetDateTime = connection.query_one(FIRST, &[&i32::from(back)]).await?.get(0);
        months.retain(|month| month.starts >= first);
    }
    Ok(months)
}

async fn walk_months(
    connection: &Connection,
    options: WalkOptions,
    host: &dyn WalkHost,
    from: String,
) -> Result<WalkReport, WalkError> {
    let mut resume = begin_or_resume(connection, host).await?;
    let months = months(connection, options).await?;
    let total = months.len() as u64;
    let mut done = months.iter().filter(|month| month.is_done(&resume)).count() as u64;
    host.progress(done, total, resume.buckets);

    let started_with = resume.clone();
    for month in months.iter().filter(|month| !month.is_done(&started_with)) {
        let transaction = lock(connection, options.lock_wait).await?;
        let work = Box::pin(transaction.as_role(host.role(), slice(&transaction, options.scope, month)));
        let buckets = with_heartbeat(work, || host.progress(done, total, resume.buckets)).await?;
        resume.done = Some(month.starts);
        resume.buckets += buckets;
        host.save(&transaction, &resume).await?;
        transaction.commit().await?;
        done += 1;
        host.progress(done, total, resume.buckets);
        if done < total && !options.pause.is_zero() {
            connection.pause(options.pause).await?;
        }
    }

    // One look at the whole table, which may use several processes, is cheaper than counting with each month. It is
    // taken while nobody has to wait for us, and while a failure still finds the progress kept.
    let count = connection.query_one("SELECT pg_catalog.count(*) FROM task_usage", &[]);
    let rows = with_heartbeat(count, || host.progress(done, total, resume.buckets)).await?.get::<_, i64>(0);
    let rows = rows.unsigned_abs();

    let (transaction, horizon) = lock_at_horizon(connection, options, host).await?;
    let (buckets, watermark) = last_pass(&transaction, host.role(), &resume.began_at, &horizon).await?;
    // Progress is kept until the watermark is where the walk was to bring it.
    let arrived = match Survey::read(&transaction).await? {
        Survey::Ready(extent) => extent.lag.is_none() || is_tolerated(&extent, options),
        _ => true,
    };
    if arrived {
        host.clear(&transaction).await?;
    }
    transaction.commit().await?;
    if !arrived {
        return Err(WalkError::HeldBack { watermark, pid: oldest_writer(connection).await? });
    }
    Ok(WalkReport::Walked { months: total, rows, buckets: resume.buckets + buckets, from, watermark })
}

/// Does the work, and calls `beat` every second until it is done.
async fn with_heartbeat<T>(work: impl Future<Output = T>, beat: impl Fn()) -> T {
    tokio::pin!(work);
    loop {
        match tokio::time::timeout(HEARTBEAT, &mut work).await {
            Ok(done) => return done,
            Err(_) => beat(),
        }
    }
}

/// Goes on where an earlier walk stopped, unless somebody has emptied the table since.
async fn begin_or_resume(connection: &Connection, host: &dyn WalkHost) -> Result<Resume, WalkError> {
    let saved = host.load(connection).await?;
    let kept: bool = connection.query_one("SELECT EXISTS (SELECT FROM task_usage_hourly)", &[]).await?.get(0);
    if let Some(resume) = saved.filter(|resume| kept || resume.buckets == 0) {
        return Ok(resume);
    }
    let since = Instant::now();
    let began_at = loop {
        let transaction = connection.begin().await?;
        let seen = horizon(&transaction, host.role()).await?;
        transaction.rollback().await;
        match seen {
            Some(horizon) => break horizon,
            None => wait_for_visibility(connection, since).await?,
        }
    };
    let resume = Resume { began_at, done: None, buckets: 0 };
    host.save(connection, &resume).await?;
    Ok(resume)
}

/// Begins a transaction that holds the rollup's locks.
pub(crate) async fn lock(connection: &Connection, lock_wait: Duration) -> Result<Transaction<'_>, LockTimeout> {
    let mut patience = Patience::new(lock_wait);
    loop {
        let transaction = connection.begin().await?;
        let mut taken = None;
        for lock in [ROLLUP_LOCK, WINDOW_LOCK] {
            let ask = format!("SELECT pg_catalog.pg_try_advisory_xact_lock({})", lock.arguments());
            if !transaction.query_one(&ask, &[]).await?.get::<_, bool>(0) {
                taken = Some(lock);
                break;
            }
        }
        let Some(taken) = taken else {
            // Whoever else stands in the way, a row lock on the state for example, is waited for no longer either.
            transaction.limit_lock_wait(lock_wait).await?;
            return Ok(transaction);
        };
        transaction.rollback().await;
        patience.wait(connection, &taken).await?;
    }
}

/// Begins a transaction that holds the rollup's locks, at a moment at which the horizon can be seen.
async fn lock_at_horizon<'c>(
    connection: &'c Connection,
    options: WalkOptions,
    host: &dyn WalkHost,
) -> Result<(Transaction<'c>, String), WalkError> {
    let since = Instant::now();
    loop {
        let transaction = lock(connection, options.lock_wait).await?;
        if let Some(horizon) = horizon(&transaction, host.role()).await? {
            return Ok((transaction, horizon));
        }
        transaction.rollback().await;
        wait_for_visibility(connection, since).await?;
    }
}

/// The horizon at this moment, as the server writes it; none if it is hidden.
async fn horizon(transaction: &Transaction<'_>, role: Option<&str>) -> Result<Option<String>, db::Error> {
    // The function warns when it cannot see; here that is dealt with.
    transaction.batch("SET LOCAL client_min_messages TO error").await?;
    let ask = "SELECT CASE WHEN pg_catalog.isfinite(h) THEN h::text END FROM task_usage_hourly_horizon() h";
    let row = transaction.as_role(role, transaction.query_one(ask, &[])).await?;
    transaction.batch("SET LOCAL client_min_messages TO DEFAULT").await?;
    Ok(row.get(0))
}

async fn wait_for_visibility(connection: &Connection, since: Instant) -> Result<(), WalkError> {
    if since.elapsed() > HIDDEN_PATIENCE {
        return Err(WalkError::Hidden);
    }
    connection.pause(Duration::from_millis(50)).await?;
    Ok(())
}

/// One month: the hours of all usage that last changed in it. Where everything is computed again, the buckets of that
/// month's hours that hold no usage at all go too; no window would come by there.
async fn slice(connection: &Connection, scope: WalkScope, month: &Month) -> Result<u64, db::Error> {
    const WINDOW: &str = "SELECT rollup_task_usage_hourly_window($1::timestamptz, $2::timestamptz)";
    const DESERTED: &str = include_str!("deserted.sql");
    let span: [&(dyn ToSql + Sync); 2] = [&month.starts, &month.ends];
    let mut buckets: i64 = connection.query_one(WINDOW, &span).await?.get(0);
    if scope != WalkScope::Missing {
        buckets += connection.query_one(DESERTED, &span).await?.get::<_, i64>("buckets");
    }
    Ok(buckets.unsigned_abs())
}

/// Rolls up from `from` to `horizon`, which was read in this transaction, then moves the watermark there. Moves it back only
/// where it is ahead of the clock.
async fn last_pass(
    transaction: &Transaction<'_>,
    role: Option<&str>,
    from: &str,
    horizon: &str,
) -> Result<(u64, String), db::Error> {
    const WINDOW: &str = "SELECT rollup_task_usage_hourly_window($1::text::timestamptz, $2::text::timestamptz)";
    const STAMP: &str = "
        UPDATE task_usage_hourly_rollup_state s
        SET watermark_at = CASE WHEN s.watermark_at <= pg_catalog.now() THEN greatest(s.watermark_at, p.passed) ELSE p.passed END
        -- The clock may have been set back since the horizon was read; then it is as far behind the clock as it was.
        FROM (SELECT $1::text::timestamptz) h (horizon),
             LATERAL (SELECT least(h.horizon, pg_catalog.clock_timestamp() - (pg_catalog.now() - h.horizon))) p (passed)
        WHERE s.id = 1
        RETURNING s.watermark_at::text";
    let row = transaction.as_role(role, transaction.query_one(WINDOW, &[&from, &horizon])).await?;
    let watermark = transaction.query_one(STAMP, &[&horizon]).await?.get(0);
    Ok((row.get::<_, i64>(0).unsigned_abs(), watermark))
}

async fn oldest_writer(connection: &Connection) -> Result<Option<i32>, db::Error> {
    const OLDEST: &str = "
        SELECT l.pid
        FROM pg_catalog.pg_locks l
        LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
        WHERE l.relation = 'task_usage'::regclass::oid
          AND l.mode = 'RowExclusiveLock'
          AND l.pid <> pg_catalog.pg_backend_pid()
        ORDER BY a.xact_start NULLS FIRST
        LIMIT 1";
    Ok(connection.query_opt(OLDEST, &[]).await?.and_then(|row| row.get(0)))
}
