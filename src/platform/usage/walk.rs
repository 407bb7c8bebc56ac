//! Rolling up the whole history, month by month.
//!
//! Each month is a transaction of its own, under the lock of the hourly tick, and its progress commits with it. The watermark
//! moves once, at the end. A last pass covers usage that changed during the walk: by time, everything since the horizon at
//! which the walk began; by the reports of the triggers, every other change. It then sets the watermark to the horizon at which
//! it began itself: five minutes behind the clock, and before every transaction that was still writing usage.

use std::time::Duration;

use time::OffsetDateTime;
use tokio_postgres::types::ToSql;

use super::RollupError;
use super::lock::{first_horizon, lock, lock_at_horizon};
use super::survey::{self, Extent, Month, Survey};
use super::walk_options::{Resume, WalkOptions, WalkReport, WalkScope};
use crate::db::{self, Connection, Transaction, grouped};
use crate::engine::{Forecast, HookContext, Progress};

/// How often progress is reported within a month.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// What a walk would do now.
///
/// # Errors
///
/// [`RollupError`] if a walk would fail right away.
pub async fn forecast(
    connection: &Connection,
    options: WalkOptions,
    cx: &HookContext,
) -> Result<Forecast, RollupError> {
    let extent = match Survey::read(connection).await? {
        Survey::NoUsage => return Ok(Forecast::nothing("there is no task_usage yet")),
        Survey::NoState => return Err(RollupError::NoState),
        Survey::NoPipeline(extent) | Survey::Ready(extent) => extent,
    };
    if extent.latest.is_none() {
        return Ok(Forecast::work("stamp the watermark: task_usage is empty"));
    }
    if needs_no_walk(&extent, options) {
        return Ok(Forecast::work(format!("roll up what changed since {}", extent.watermark)));
    }
    let months = months(connection, options).await?;
    let rows = survey::rows(connection).await?.unsigned_abs();
    let total = months.len();
    let plural = if total == 1 { "" } else { "s" };
    let saved = saved(connection, options, cx).await?;
    let done = saved.map_or(0, |resume| months.iter().filter(|month| resume.covers(month)).count());
    Ok(Forecast::work(match done {
        1.. => format!("continue after {done} of {total} month{plural}"),
        _ if matches!(options.scope, WalkScope::LastMonths(_)) => format!("roll up the last {total} month{plural}"),
        _ => format!("roll up {total} month{plural}, about {} rows", grouped(rows)),
    }))
}

/// Rolls up what is missing and moves the watermark.
///
/// # Errors
///
/// [`RollupError`].
pub async fn walk(connection: &Connection, options: WalkOptions, cx: &HookContext) -> Result<WalkReport, RollupError> {
    let extent = match Survey::read(connection).await? {
        Survey::NoUsage | Survey::NoPipeline(_) => return Ok(WalkReport::NothingThere),
        Survey::NoState => return Err(RollupError::NoState),
        Survey::Ready(extent) => extent,
    };
    // Without usage there may be buckets: of usage deleted while another program's rollup was in force.
    let has_months = match &extent.earliest {
        Some(_) => !needs_no_walk(&extent, options),
        None => options.scope != WalkScope::Missing && !months(connection, options).await?.is_empty(),
    };
    if has_months {
        let from = extent.earliest.unwrap_or(extent.watermark);
        walk_months(connection, options, cx, from).await
    } else {
        catch_up(connection, cx, &extent).await
    }
}

/// Rolls up the window behind the watermark.
async fn catch_up(connection: &Connection, cx: &HookContext, extent: &Extent) -> Result<WalkReport, RollupError> {
    let empty = extent.latest.is_none();
    let (transaction, horizon) = match lock_at_horizon(connection, cx.role(), cx.lock_wait()).await {
        Ok(locked) => locked,
        // The guard of V103 accepts this lag; the next tick rolls up the rest.
        Err(RollupError::Hidden) if !empty => {
            return Ok(WalkReport::CaughtUp { buckets: 0, empty, watermark: extent.watermark.clone() });
        }
        Err(error) => return Err(error),
    };
    let (buckets, watermark) = last_pass(&transaction, cx.role(), &extent.watermark, &horizon).await?;
    cx.clear_state(&transaction).await?;
    transaction.commit().await?;
    Ok(WalkReport::CaughtUp { buckets, empty, watermark })
}

fn is_tolerated(extent: &Extent, options: WalkOptions) -> bool {
    extent.lag.is_some_and(|lag| lag <= options.tolerated_lag.as_secs_f64())
}

/// Whether only the window behind the watermark has to be rolled up.
fn needs_no_walk(extent: &Extent, options: WalkOptions) -> bool {
    options.scope == WalkScope::Missing && is_tolerated(extent, options)
}

/// The months in scope that hold usage.
async fn months(connection: &Connection, options: WalkOptions) -> Result<Vec<Month>, db::Error> {
    const FIRST: &str = "SELECT pg_catalog.date_trunc('month', pg_catalog.now(), 'UTC') - pg_catalog.make_interval(months => $1) AS first";
    let mut months = survey::months(connection, options.scope != WalkScope::Missing).await?;
    if let WalkScope::LastMonths(back) = options.scope {
        let first: OffsetDateTime = connection.query_one(FIRST, &[&i32::from(back)]).await?.get("first");
        months.retain(|month| month.starts >= first);
    }
    Ok(months)
}

async fn walk_months(
    connection: &Connection,
    options: WalkOptions,
    cx: &HookContext,
    from: String,
) -> Result<WalkReport, RollupError> {
    let mut resume = begin_or_resume(connection, options, cx).await?;
    let months = months(connection, options).await?;
    let total = months.len() as u64;
    let mut done = months.iter().filter(|month| resume.covers(month)).count() as u64;
    progress(cx, done, total, resume.buckets);

    let started_with = resume.clone();
    for month in months.iter().filter(|month| !started_with.covers(month)) {
        let transaction = lock(connection, cx.lock_wait()).await?;
        let work = Box::pin(transaction.as_role(cx.role(), slice(&transaction, options.scope, month)));
        let buckets = with_heartbeat(work, || progress(cx, done, total, resume.buckets)).await?;
        resume.done = Some(month.starts);
        resume.buckets += buckets;
        cx.save_state(&transaction, &resume).await?;
        transaction.commit().await?;
        done += 1;
        progress(cx, done, total, resume.buckets);
        if done < total && !cx.pause().is_zero() {
            connection.pause(cx.pause()).await?;
        }
    }

    // Counting the whole table, by parallel workers, is cheaper than counting each month. Done here, without a lock, and while
    // progress is still saved.
    let count = connection.query_one("SELECT pg_catalog.count(*) AS usage_rows FROM task_usage", &[]);
    let rows = with_heartbeat(count, || progress(cx, done, total, resume.buckets)).await?;
    let rows = rows.get::<_, i64>("usage_rows").unsigned_abs();

    let (transaction, horizon) = lock_at_horizon(connection, cx.role(), cx.lock_wait()).await?;
    let (buckets, watermark) = last_pass(&transaction, cx.role(), &resume.began_at, &horizon).await?;
    // Progress is kept until the watermark has arrived.
    let arrived = match Survey::read(&transaction).await? {
        Survey::Ready(extent) => extent.lag.is_none() || is_tolerated(&extent, options),
        _ => true,
    };
    if arrived {
        cx.clear_state(&transaction).await?;
    }
    transaction.commit().await?;
    if !arrived {
        return Err(RollupError::HeldBack { watermark, pid: oldest_writer(connection).await? });
    }
    Ok(WalkReport::Walked { months: total, rows, buckets: resume.buckets + buckets, from, watermark })
}

/// Does the work, and calls `beat` every second meanwhile.
async fn with_heartbeat<T>(work: impl Future<Output = T>, beat: impl Fn()) -> T {
    tokio::pin!(work);
    loop {
        match tokio::time::timeout(HEARTBEAT, &mut work).await {
            Ok(done) => return done,
            Err(_) => beat(),
        }
    }
}

fn progress(cx: &HookContext, done: u64, total: u64, buckets: u64) {
    let (unit, written_unit) = ("months".into(), "buckets".into());
    cx.progress(Progress { unit, done, total, written: buckets, written_unit });
}

/// Where an earlier walk stopped, if this one is to continue there.
async fn saved(connection: &Connection, options: WalkOptions, cx: &HookContext) -> Result<Option<Resume>, db::Error> {
    if options.resume { cx.load_state(connection).await } else { Ok(None) }
}

/// Continues where an earlier walk stopped, unless the table has been emptied since.
async fn begin_or_resume(
    connection: &Connection,
    options: WalkOptions,
    cx: &HookContext,
) -> Result<Resume, RollupError> {
    const KEPT: &str = "SELECT EXISTS (SELECT FROM task_usage_hourly) AS kept";
    let saved = saved(connection, options, cx).await?;
    let kept: bool = connection.query_one(KEPT, &[]).await?.get("kept");
    if let Some(resume) = saved.filter(|resume| kept || resume.buckets == 0) {
        return Ok(resume);
    }
    let began_at = first_horizon(connection, cx.role()).await?;
    let resume = Resume { began_at, done: None, buckets: 0 };
    cx.save_state(connection, &resume).await?;
    Ok(resume)
}

/// Rolls up one month: the hours of all usage that last changed in it. If everything is rebuilt, also deletes buckets of that
/// month that have no usage, which no window would reach.
async fn slice(connection: &Connection, scope: WalkScope, month: &Month) -> Result<u64, db::Error> {
    const WINDOW: &str = "SELECT rollup_task_usage_hourly_window($1::timestamptz, $2::timestamptz) AS buckets";
    const DESERTED: &str = include_str!("deserted.sql");
    let span: [&(dyn ToSql + Sync); 2] = [&month.starts, &month.ends];
    let mut buckets: i64 = connection.query_one(WINDOW, &span).await?.try_get("buckets")?;
    if scope != WalkScope::Missing {
        buckets += connection.query_one(DESERTED, &span).await?.get::<_, i64>("buckets");
    }
    Ok(buckets.unsigned_abs())
}

/// Rolls up from `from` to `horizon`, which was read in this transaction, then moves the watermark there; back only if it is
/// ahead of the clock.
async fn last_pass(
    transaction: &Transaction<'_>,
    role: Option<&str>,
    from: &str,
    horizon: &str,
) -> Result<(u64, String), db::Error> {
    const WINDOW: &str =
        "SELECT rollup_task_usage_hourly_window($1::text::timestamptz, $2::text::timestamptz) AS buckets";
    const STAMP: &str = include_str!("stamp.sql");
    let row = transaction.as_role(role, transaction.query_one(WINDOW, &[&from, &horizon])).await?;
    let watermark = transaction.query_one(STAMP, &[&horizon]).await?.get("watermark");
    Ok((row.try_get::<_, i64>("buckets")?.unsigned_abs(), watermark))
}

async fn oldest_writer(connection: &Connection) -> Result<Option<i32>, db::Error> {
    const OLDEST: &str = include_str!("oldest_writer.sql");
    Ok(connection.query_opt(OLDEST, &[]).await?.and_then(|row| row.get("pid")))
}
