//! Comparing the hourly rollup with the raw usage, bucket by bucket.
//!
//! A rollup is always some minutes behind. A bucket that differs is *waiting* if one of its rows is newer than the watermark, or
//! its hour is in a queue: the next tick rebuilds it. Every other difference is a fault.

use std::time::{Duration, Instant};

use time::OffsetDateTime;

use super::difference::{CompareEvent, Comparison, Pass, Scope};
use super::look::{Look, Span, State, start_of_hour};
use super::pipeline::Pipeline;
use super::rebuild::{Fix, impossible_bucket};
use super::{RollupError, Survey};

use crate::db::{self, Connection, Connector, Observer};

/// How often progress is reported.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// Compares. Writes nothing.
///
/// # Errors
///
/// [`RollupError`].
pub async fn compare(
    connector: &Connector,
    scope: Scope,
    observer: &Observer<CompareEvent>,
) -> Result<Comparison, RollupError> {
    Box::pin(compare_days(connector, scope, None, observer)).await
}

/// Compares, rebuilds the hours that are wrong, and compares them again. Counts what is wrong after that.
///
/// # Errors
///
/// [`RollupError`].
pub async fn fix(
    connector: &Connector,
    scope: Scope,
    lock_wait: Duration,
    observer: &Observer<CompareEvent>,
) -> Result<Comparison, RollupError> {
    Box::pin(compare_days(connector, scope, Some(lock_wait), observer)).await
}

async fn compare_days(
    connector: &Connector,
    scope: Scope,
    lock_wait: Option<Duration>,
    observer: &Observer<CompareEvent>,
) -> Result<Comparison, RollupError> {
    let session = connector.connect("migrate: verify rollup").await?;
    let role = match lock_wait {
        Some(_) => super::acting_role(&session).await?,
        None => super::may_look(&session).await.map(|()| None)?,
    };
    let role = role.as_deref();
    let pipeline = check_what_is_there(&session).await?;
    let own_functions = pipeline.is_ours();
    let fix = lock_wait.map(|lock_wait| Fix { session: &session, role, lock_wait, own_functions });
    let fix = fix.as_ref();
    if let Some(what) = &pipeline.unknown
        && fix.is_some()
        && pipeline.foreign.is_empty()
    {
        return Err(RollupError::Unknown { what: what.clone() });
    }
    let fixed = match (impossible_bucket(&session).await?, fix) {
        (None, _) => 0,
        (Some(_), Some(fix)) => fix.remove_impossible().await?,
        (Some(at), None) => return Err(RollupError::BucketWithoutHour { at }),
    };
    let began = match fix {
        Some(fix) if own_functions => fix.horizon().await?,
        _ => None,
    };
    let days = days(&session, scope).await?;
    let mut look = Look::new(&session, scope.workspace, pipeline.has_cost, fix.is_some() && !own_functions, observer);
    // Read even if there is no day to compare.
    let lag = State::read(&session).await?.lag;
    let mut found =
        Comparison { pipeline: Some(pipeline), days: days.len() as u64, fixed, lag, ..Comparison::default() };
    compare_each(&mut look, &days, fix, &mut found).await?;
    if let (Some(fix), Some(began)) = (fix, began)
        && scope == Scope::default()
        && found.wrong() == found.too_large
        && found.is_ahead()
    {
        // Every day has been compared since then, and every difference reported.
        found.lag = fix.bring_back(&began).await?;
        found.brought_back = true;
    }
    session.close().await;
    Ok(found)
}

/// Compares day by day. With a fix, rebuilds what is wrong and compares that day again.
async fn compare_each(
    look: &mut Look<'_>,
    days: &[Span],
    fix: Option<&Fix<'_>>,
    found: &mut Comparison,
) -> Result<(), RollupError> {
    let mut told: Option<Instant> = None;
    for (done, day) in (0..).zip(days) {
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            told = Some(Instant::now());
            look.observer.tell(CompareEvent::Progress { done, total: found.days, buckets: found.buckets });
        }
        let mut seen = look.compare(*day, Pass::Found).await?;
        let wrong = seen.counts.wrong();
        if let Some(fix) = fix
            && wrong > 0
        {
            // The snapshot has ended, so waiting for a lock here does not block others.
            fix.rebuild(&seen).await?;
            seen = look.compare(*day, Pass::Left).await?;
            found.fixed += wrong.saturating_sub(seen.counts.wrong());
        }
        found.add(&seen.counts);
    }
    look.observer.tell(CompareEvent::Progress { done: found.days, total: found.days, buckets: found.buckets });
    Ok(())
}

/// The rollup in force.
async fn check_what_is_there(session: &Connection) -> Result<Pipeline, RollupError> {
    match Survey::read(session).await? {
        Survey::NoUsage => return Err(RollupError::NoPipeline),
        Survey::NoState => return Err(RollupError::NoState),
        Survey::NoPipeline(_) | Survey::Ready(_) => {}
    }
    Pipeline::read(session).await?.ok_or(RollupError::NoPipeline)
}

/// The days to compare.
async fn days(session: &Connection, scope: Scope) -> Result<Vec<Span>, db::Error> {
    // Only whole hours can be compared with buckets.
    let from = scope.from.map_or(Timestamp::NegInfinity, |from| Timestamp::Value(start_of_hour(from)));
    let to = scope.to.map_or(Timestamp::PosInfinity, |to| {
        let start = start_of_hour(to);
        Timestamp::Value(if start == to { to } else { start + time::Duration::HOUR })
    });
    let rows = session.query(include_str!("verify_days.sql"), &[&from, &to]).await?;
    Ok(rows.iter().map(|row| (row.get("starts"), row.get("ends"))).collect())
}

/// A time that may be infinite.
type Timestamp = tokio_postgres::types::Timestamp<OffsetDateTime>;
