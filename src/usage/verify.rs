//! Comparing the hourly rollup with the raw usage, bucket by bucket.
//!
//! It goes day by day, each in a snapshot of its own, so that nobody has to wait long for a table that is being read.
//! Differences are read through a cursor, so that it needs little memory however many there are.
//!
//! A rollup is always some minutes behind. A bucket that differs is *waiting* when one of its rows is newer than the
//! watermark, or its hour stands in a queue: the next tick will see to it, unless ticks have stopped. Everything else
//! that differs is a fault.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use super::difference::{Bucket, Comparison, Difference, Kind, Pass, Scope, Sums};
use super::pipeline::{self, Pipeline};
use super::queries::{Cost, Tokens};
use super::too_large::TooLarge;
use super::walk::lock;
use super::{Survey, SurveyError};
use crate::db::{self, Connection, Connector, LockTimeout, in_calendar};

/// How many differences are in memory at once.
const BATCH: usize = 1000;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// What a comparison needs from whoever runs it.
pub trait CompareHost: Send + Sync {
    /// `done` of `total` days, `buckets` so far.
    fn progress(&self, done: u64, total: u64, buckets: u64);
    /// A bucket that is not what it should be.
    fn difference(&self, difference: &Difference);
}

/// Why a comparison failed.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// There is no rollup to compare.
    #[error("there is no hourly rollup in this database")]
    NoPipeline,
    /// The state row is missing.
    #[error("task_usage_hourly_rollup_state has no row, so nothing says how far the hourly rollup has come")]
    NoState,
    /// Something is to be rebuilt, and the rollup is newer than this program.
    #[error("{what}, which this build does not know: it would compute buckets without it")]
    Unknown {
        /// What there is.
        what: String,
    },
    /// There are buckets that no hour can have.
    #[error("task_usage_hourly has a bucket at {at}, which is no hour")]
    NoHour {
        /// Its time.
        at: String,
    },
    /// The usage holds rows that no hour can hold.
    #[error(transparent)]
    Survey(#[from] SurveyError),
    /// The lock of the rollup was not to be had.
    #[error(transparent)]
    Lock(#[from] LockTimeout),
    /// The connection or a statement.
    #[error(transparent)]
    Database(#[from] db::Error),
}

/// Compares. Writes nothing.
///
/// # Errors
///
/// [`CompareError`].
pub async fn compare(connector: &Connector, scope: Scope, host: &dyn CompareHost) -> Result<Comparison, CompareError> {
    Box::pin(compare_days(connector, scope, None, host)).await
}

/// Compares, rebuilds the hours that are wrong, and compares those again. What is then counted as wrong still is.
///
/// # Errors
///
/// [`CompareError`].
pub async fn fix(
    connector: &Connector,
    scope: Scope,
    lock_wait: Duration,
    host: &dyn CompareHost,
) -> Result<Comparison, CompareError> {
    Box::pin(compare_days(connector, scope, Some(lock_wait), host)).await
}

/// A part of time: from, and up to without.
type Span = (OffsetDateTime, OffsetDateTime);

async fn compare_days(
    connector: &Connector,
    scope: Scope,
    fix: Option<Duration>,
    host: &dyn CompareHost,
) -> Result<Comparison, CompareError> {
    let session = connector.connect("migrate: verify rollup").await?;
    let role = match fix {
        Some(_) => super::acting_role(&session).await?,
        None => super::may_look(&session).await.map(|()| None)?,
    };
    let role = role.as_deref();
    let pipeline = check_what_is_there(&session).await?;
    let impossible = impossible_buckets(&session, role, fix).await?;
    if fix.is_some()
        && pipeline.foreign.is_empty()
        && let Some(what) = &pipeline.unknown
    {
        return Err(CompareError::Unknown { what: what.clone() });
    }
    let own_functions = pipeline.is_ours();
    let began = if fix.is_some() && own_functions { horizon(&session, role).await? } else { None };
    let days = days(&session, scope).await?;
    let total = days.len() as u64;
    let has_cost = pipeline.has_cost;
    // Where there is no day to compare, the watermark is looked at all the same.
    let lag = state(&session).await?.get("lag");
    let mut found =
        Comparison { pipeline: Some(pipeline), days: total, fixed: impossible, lag, ..Comparison::default() };
    let mut waiting = WaitingHours::default();
    let mut told: Option<Instant> = None;
    for (done, day) in (0..).zip(&days) {
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            told = Some(Instant::now());
            host.progress(done, total, found.buckets);
        }
        let look = |pass| Look { session: &session, workspace: scope.workspace, span: *day, pass, has_cost };
        let seen = look(Pass::Found).compare(fix.is_some() && !own_functions, &mut waiting, host).await?;
        let last = match fix {
            Some(lock_wait) if seen.counts.wrong() > 0 => {
                // No snapshot is open here: whoever wants the tables for himself is waited for like anybody else.
                rebuild(&session, role, lock_wait, own_functions, &seen).await?;
                let left = look(Pass::Left).compare(false, &mut waiting, host).await?.counts;
                found.fixed += seen.counts.wrong().saturating_sub(left.wrong());
                left
            }
            _ => seen.counts,
        };
        found.add(&last);
    }
    host.progress(total, total, found.buckets);
    if let (Some(lock_wait), Some(began)) = (fix, began)
        && scope == Scope::default()
        && found.wrong() == found.too_large
        && found.is_ahead()
    {
        // Everything has been compared since then, and what is not right is reported.
        found.lag = bring_back(&session, role, lock_wait, &began).await?;
        found.brought_back = true;
    }
    session.close().await;
    Ok(found)
}

/// The moment before which nothing can be written any more that a comparison from now on would not see. None if a
/// transaction whose start is hidden is writing usage.
async fn horizon(session: &Connection, role: Option<&str>) -> Result<Option<String>, db::Error> {
    const HORIZON: &str =
        "SELECT CASE WHEN pg_catalog.isfinite(h) THEN h::text END AS horizon FROM task_usage_hourly_horizon() h";
    let transaction = session.begin().await?;
    let horizon = transaction.as_role(role, transaction.query_one(HORIZON, &[])).await?.get("horizon");
    transaction.commit().await?;
    Ok(horizon)
}

/// Sets a watermark that is ahead of the clock to `began`, and returns how far that is behind the clock.
async fn bring_back(
    session: &Connection,
    role: Option<&str>,
    lock_wait: Duration,
    began: &str,
) -> Result<f64, CompareError> {
    const BRING_BACK: &str = "
        UPDATE task_usage_hourly_rollup_state
        SET watermark_at = CASE WHEN watermark_at > pg_catalog.now() THEN $1::text::timestamptz ELSE watermark_at END
        WHERE id = 1
        RETURNING extract(epoch FROM pg_catalog.now() - watermark_at)::float8 AS lag";
    let transaction = lock(session, lock_wait).await?;
    let work = async { transaction.query_opt(BRING_BACK, &[&began]).await };
    let Some(row) = transaction.as_role(role, work).await? else { return Err(CompareError::NoState) };
    transaction.commit().await?;
    Ok(row.get("lag"))
}

/// Buckets at a time that is in no calendar belong to no usage, and no comparison by day would come by them. Removes them if it
/// may, and returns how many.
async fn impossible_buckets(
    session: &Connection,
    role: Option<&str>,
    fix: Option<Duration>,
) -> Result<u64, CompareError> {
    const IMPOSSIBLE: &str = "bucket_hour < '0001-01-01 UTC' OR bucket_hour >= '9999-01-01 UTC'";
    let find = format!("SELECT bucket_hour::text AS at FROM task_usage_hourly WHERE {IMPOSSIBLE} LIMIT 1");
    let Some(row) = session.query_opt(&find, &[]).await? else { return Ok(0) };
    let Some(lock_wait) = fix else { return Err(CompareError::NoHour { at: row.get("at") }) };
    let transaction = lock(session, lock_wait).await?;
    let remove = format!("DELETE FROM task_usage_hourly WHERE {IMPOSSIBLE}");
    let removed = transaction.as_role(role, transaction.execute(&remove, &[])).await?;
    transaction.commit().await?;
    Ok(removed)
}

/// The rollup in force.
async fn check_what_is_there(session: &Connection) -> Result<Pipeline, CompareError> {
    match Survey::read(session).await? {
        Survey::NoUsage => return Err(CompareError::NoPipeline),
        Survey::NoState => return Err(CompareError::NoState),
        Survey::NoPipeline(_) | Survey::Ready(_) => {}
    }
    Pipeline::read(session).await?.ok_or(CompareError::NoPipeline)
}

/// The days to compare.
async fn days(session: &Connection, scope: Scope) -> Result<Vec<Span>, db::Error> {
    // A part of an hour cannot be compared with its bucket.
    let from = scope.from.map_or(Timestamp::NegInfinity, |from| Timestamp::Value(start_of_hour(from)));
    let to = scope.to.map_or(Timestamp::PosInfinity, |to| {
        let start = start_of_hour(to);
        Timestamp::Value(if start == to { to } else { start + time::Duration::HOUR })
    });
    let rows = session.query(include_str!("verify_days.sql"), &[&from, &to]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

fn start_of_hour(time: OffsetDateTime) -> OffsetDateTime {
    time - time::Duration::new(time.unix_timestamp().rem_euclid(3600), time.nanosecond().cast_signed())
}

/// A time that may be infinite.
type Timestamp = tokio_postgres::types::Timestamp<OffsetDateTime>;

/// One look at one day.
struct Look<'c> {
    session: &'c Connection,
    workspace: Option<Uuid>,
    span: Span,
    pass: Pass,
    has_cost: bool,
}

/// The watermark, how far it is behind the clock, and the snapshot in which that is so.
async fn state(connection: &Connection) -> Result<Row, CompareError> {
    const STATE: &str = "
        SELECT
            watermark_at::text AS watermark,
            CASE WHEN pg_catalog.isfinite(watermark_at) THEN extract(epoch FROM pg_catalog.now() - watermark_at)::float8
                 WHEN watermark_at < pg_catalog.now() THEN 1e12 ELSE -1e12 END AS lag,
            pg_catalog.pg_current_snapshot()::text AS snapshot
        FROM task_usage_hourly_rollup_state
        WHERE id = 1";
    connection.query_opt(STATE, &[]).await?.ok_or(CompareError::NoState)
}

/// What a look has seen.
struct Seen {
    counts: Comparison,
    /// The hours of the buckets that are wrong.
    hours: BTreeSet<OffsetDateTime>,
    /// The buckets themselves, if they were asked for.
    wrong: Vec<Bucket>,
}

impl Look<'_> {
    async fn compare(
        self,
        keep_wrong: bool,
        waiting: &mut WaitingHours,
        host: &dyn CompareHost,
    ) -> Result<Seen, CompareError> {
        const SNAPSHOT: &str = "
            SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
            SET LOCAL enable_seqscan TO off;
            SET LOCAL jit TO off";
        const CURSOR: &str = concat!("DECLARE difference NO SCROLL CURSOR FOR ", include_str!("verify.sql"));
        let transaction = self.session.begin().await?;
        transaction.batch(SNAPSHOT).await?;
        let state = state(&transaction).await?;
        let watermark: String = state.get("watermark");
        let counts = Comparison { lag: state.get("lag"), ..Comparison::default() };
        let mut seen = Seen { counts, hours: BTreeSet::new(), wrong: Vec::new() };

        let (from, to) = self.span;
        let cursor = pipeline::fitted(CURSOR, self.has_cost);
        transaction.execute(&cursor, &[&from, &to, &self.workspace, &watermark]).await?;
        let mut snapshot = Some(state.get("snapshot"));
        loop {
            let rows = transaction.query(&format!("FETCH {BATCH} FROM difference"), &[]).await?;
            for row in &rows {
                let Some(mut difference) = read_difference(row, self.pass, self.has_cost)? else {
                    seen.counts.buckets += row.get::<_, i64>("buckets").unsigned_abs();
                    continue;
                };
                if !difference.waiting {
                    if let Some(snapshot) = snapshot.take() {
                        waiting.bring_up_to_date(&transaction, snapshot).await?;
                    }
                    let hour = start_of_hour(difference.bucket.bucket_hour);
                    let fits = difference.kind != Kind::TooLarge;
                    difference.waiting = fits && waiting.contains(hour);
                    if !difference.waiting {
                        seen.hours.insert(hour);
                        if keep_wrong && fits {
                            seen.wrong.push(difference.bucket.clone());
                        }
                    }
                }
                seen.counts.count(&difference);
                host.difference(&difference);
            }
            if rows.len() < BATCH {
                break;
            }
        }
        transaction.rollback().await;
        Ok(seen)
    }
}

/// The hours whose rebuild waits in the queues. To find them takes looking up every report, so it is done anew only when
/// the queues have changed. Where no transaction has ended since, they have not; else their size and their oldest and
/// newest entry tell.
#[derive(Default)]
struct WaitingHours {
    snapshot: Option<String>,
    queues: Option<String>,
    all: bool,
    hours: HashSet<OffsetDateTime>,
}

impl WaitingHours {
    /// Makes it what can be seen in the open transaction, which has this snapshot.
    async fn bring_up_to_date(&mut self, connection: &Connection, snapshot: String) -> Result<(), db::Error> {
        const OWN_QUEUE: &str = "SELECT pg_catalog.to_regclass('task_usage_hourly_invalidation') IS NOT NULL AS there";
        const QUEUE: &str =
            "SELECT ROW(pg_catalog.count(*), pg_catalog.min(enqueued_at), pg_catalog.max(enqueued_at))::text FROM";
        if self.snapshot.as_ref() == Some(&snapshot) {
            return Ok(());
        }
        let own: bool = connection.query_one(OWN_QUEUE, &[]).await?.get("there");
        let own_queue = if own { "task_usage_hourly_invalidation" } else { "task_usage_hourly_dirty" };
        let sql =
            format!("SELECT pg_catalog.concat(({QUEUE} task_usage_hourly_dirty), ({QUEUE} {own_queue})) AS queues");
        let queues: String = connection.query_one(&sql, &[]).await?.get("queues");
        self.snapshot = Some(snapshot);
        if self.queues.as_ref() == Some(&queues) {
            return Ok(());
        }
        let mut sql = "SELECT DISTINCT bucket_hour FROM task_usage_hourly_dirty".to_owned();
        if own {
            sql = format!("{} UNION {sql}", include_str!("verify_waiting.sql"));
        }
        let hour = in_calendar("h.bucket_hour");
        let sql = format!("SELECT h.bucket_hour = '-infinity' AS every, {hour} AS hour FROM ({sql}) h");
        self.queues = Some(queues);
        (self.all, self.hours) = (false, HashSet::new());
        for row in connection.query(&sql, &[]).await? {
            self.all |= row.get::<_, bool>("every");
            self.hours.extend(row.get::<_, Option<_>>("hour").map(start_of_hour));
        }
        Ok(())
    }

    fn contains(&self, hour: OffsetDateTime) -> bool {
        self.all || self.hours.contains(&hour)
    }
}

/// None for the row that counts the buckets.
fn read_difference(row: &Row, pass: Pass, has_cost: bool) -> Result<Option<Difference>, db::Error> {
    let Some(kind) = row.get::<_, Option<&str>>("kind") else { return Ok(None) };
    let kind = match kind {
        "missing" => Kind::Missing,
        "extra" => Kind::Extra,
        "too_large" => Kind::TooLarge,
        _ => Kind::Different,
    };
    let sums = |of: &str| Sums {
        tokens: Tokens::from_row(row, &format!("{of}_")),
        cost: has_cost.then(|| Cost {
            usd_ticks: row.get(format!("{of}_cost").as_str()),
            uncosted: Tokens::from_row(row, &format!("{of}_uncosted_")),
        }),
        tasks: row.get(format!("{of}_tasks").as_str()),
        events: row.get(format!("{of}_events").as_str()),
    };
    Ok(Some(Difference {
        kind,
        // No tick will see to what does not fit.
        waiting: row.get::<_, bool>("is_new") && kind != Kind::TooLarge,
        pass,
        bucket: Bucket {
            bucket_hour: row.get("bucket_hour"),
            workspace_id: row.get("workspace_id"),
            runtime_id: row.get("runtime_id"),
            agent_id: row.get("agent_id"),
            project_id: row.get("project_id"),
            provider: String::from_utf8_lossy(row.get("provider")).into_owned(),
            model: String::from_utf8_lossy(row.get("model")).into_owned(),
        },
        raw: sums("raw"),
        stored: sums("stored"),
        too_large: row.get::<_, Option<&str>>("too_large").map(TooLarge::parse).transpose()?,
    }))
}

/// Rebuilds what is wrong. The functions of an older program are given the buckets by their queue, which a window drains.
async fn rebuild(
    session: &Connection,
    role: Option<&str>,
    lock_wait: Duration,
    own_functions: bool,
    seen: &Seen,
) -> Result<(), CompareError> {
    const REBUILD: &str = "SELECT task_usage_hourly_rebuild($1::timestamptz[])";
    const ENQUEUE: &str = "
        INSERT INTO task_usage_hourly_dirty AS d (
            bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model, enqueued_at
        )
        SELECT k.*, pg_catalog.now() - interval '1 second'
        FROM ROWS FROM (pg_catalog.unnest($1::timestamptz[]), pg_catalog.unnest($2::uuid[]), pg_catalog.unnest($3::uuid[]), pg_catalog.unnest($4::uuid[]), pg_catalog.unnest($5::uuid[]), pg_catalog.unnest($6::text[]), pg_catalog.unnest($7::text[])) k
        ORDER BY 1, 2, 3, 4, 5, 6, 7
        ON CONFLICT ON CONSTRAINT uq_task_usage_hourly_dirty_key DO UPDATE SET
            enqueued_at = least(d.enqueued_at, excluded.enqueued_at)";
    const DRAIN: &str =
        "SELECT rollup_task_usage_hourly_window(pg_catalog.now() - interval '1 microsecond', pg_catalog.now())";
    let transaction = lock(session, lock_wait).await?;
    if own_functions {
        let hours: Vec<OffsetDateTime> = seen.hours.iter().copied().collect();
        transaction.as_role(role, transaction.query_one(REBUILD, &[&hours])).await?;
    } else if !seen.wrong.is_empty() {
        let buckets = || seen.wrong.iter();
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 7] = [
            &buckets().map(|bucket| bucket.bucket_hour).collect::<Vec<_>>(),
            &buckets().map(|bucket| bucket.workspace_id).collect::<Vec<_>>(),
            &buckets().map(|bucket| bucket.runtime_id).collect::<Vec<_>>(),
            &buckets().map(|bucket| bucket.agent_id).collect::<Vec<_>>(),
            &buckets().map(|bucket| bucket.project_id).collect::<Vec<_>>(),
            &buckets().map(|bucket| bucket.provider.as_str()).collect::<Vec<_>>(),
            &buckets().map(|bucket| bucket.model.as_str()).collect::<Vec<_>>(),
        ];
        transaction.as_role(role, transaction.execute(ENQUEUE, &params)).await?;
        transaction.as_role(role, transaction.query_one(DRAIN, &[])).await?;
    }
    transaction.commit().await?;
    Ok(())
}
