//! Comparing the hourly rollup with the raw usage, bucket by bucket.
//!
//! One snapshot serves for the whole comparison, which goes day by day. Differences are read through a cursor, so that
//! it needs little memory however many there are.
//!
//! A rollup is always some minutes behind. A bucket that differs is *waiting* when one of its rows is newer than the
//! watermark, or its hour stands in a queue: the next tick will see to it, unless ticks have stopped. Everything else
//! that differs is a fault.

use std::time::{Duration, Instant};

use serde::Serialize;
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use super::queries::Tokens;
use super::walk::lock;
use super::{Survey, SurveyError};
use crate::db::{self, Connection, Connector, LockTimeout, Waiting};

/// How many differences are in memory at once.
const BATCH: usize = 1000;

/// Behind by more than this many seconds, a rollup is not just waiting for its next tick. The guard of V103 says so too.
const TOLERATED_LAG: f64 = 3600.0;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// What to compare.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope {
    /// Only this workspace.
    pub workspace: Option<Uuid>,
    /// From the hour that holds this time.
    pub from: Option<OffsetDateTime>,
    /// Up to this time, and the end of the hour that holds it if one does.
    pub to: Option<OffsetDateTime>,
}

/// What identifies a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// Its hour.
    #[serde(with = "time::serde::rfc3339")]
    pub bucket_hour: OffsetDateTime,
    /// Whose usage it is.
    pub workspace_id: Uuid,
    /// The runtime of the tasks.
    pub runtime_id: Uuid,
    /// The agent of the tasks.
    pub agent_id: Uuid,
    /// The project of their issues, if any.
    pub project_id: Option<Uuid>,
    /// Who offers the model.
    pub provider: String,
    /// The model.
    pub model: String,
}

/// What a bucket adds up to. Zeros where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Its tokens.
    #[serde(flatten)]
    pub tokens: Tokens,
    /// Tasks they come from.
    pub tasks: i64,
    /// Usage rows they come from.
    pub events: i64,
}

/// In what way a bucket is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// There is usage, and no bucket.
    Missing,
    /// There is a bucket, and no usage.
    Extra,
    /// They do not agree.
    Different,
}

/// A bucket that is not what the raw rows add up to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// In what way.
    pub kind: Kind,
    /// Whether the next tick will see to it.
    pub waiting: bool,
    /// Which bucket.
    #[serde(flatten)]
    pub bucket: Bucket,
    /// What the raw rows add up to.
    pub raw: Sums,
    /// What is stored.
    pub stored: Sums,
}

/// What a comparison found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// Days that hold usage or buckets.
    pub days: u64,
    /// Buckets that the raw rows make.
    pub buckets: u64,
    /// Missing ones that are not waiting.
    pub missing: u64,
    /// Extra ones that are not waiting.
    pub extra: u64,
    /// Different ones that are not waiting.
    pub different: u64,
    /// Those that wait for the next tick.
    pub waiting: u64,
    /// Those that were rebuilt.
    pub fixed: u64,
    /// Seconds from the rollup's watermark to the database's clock.
    pub lag: f64,
}

impl Comparison {
    /// Buckets that are wrong and not just waiting.
    #[must_use]
    pub fn wrong(&self) -> u64 {
        self.missing + self.extra + self.different
    }

    /// Whether buckets wait although ticks have stopped.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.waiting > 0 && self.lag > TOLERATED_LAG
    }

    fn count(&mut self, difference: &Difference) {
        *match difference {
            Difference { waiting: true, .. } => &mut self.waiting,
            Difference { kind: Kind::Missing, .. } => &mut self.missing,
            Difference { kind: Kind::Extra, .. } => &mut self.extra,
            Difference { kind: Kind::Different, .. } => &mut self.different,
        } += 1;
    }
}

/// What a comparison needs from whoever runs it.
pub trait CompareHost: Send + Sync {
    /// `done` of `total` days, `buckets` so far.
    fn progress(&self, done: u64, total: u64, buckets: u64);
    /// A bucket that is not what it should be.
    fn difference(&self, difference: &Difference);
    /// Somebody else has the lock that a repair needs.
    fn waiting(&self, waiting: Waiting);
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
    let snapshot = connector.connect("migrate: verify rollup").await?;
    let comparison = Comparing::begin(&snapshot, scope).await?.run(host, None).await;
    snapshot.close().await;
    comparison
}

/// Compares, rebuilds what is wrong, and compares that again. What the comparison then counts as wrong still is.
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
    let snapshot = connector.connect("migrate: verify rollup").await?;
    let writer = connector.connect("migrate: verify rollup --fix").await?;
    let mut repair = Repair { writer: &writer, lock_wait, days: Vec::new(), fixed: 0 };
    let mut found = Comparing::begin(&snapshot, scope).await?.run(host, Some(&mut repair)).await?;
    found.fixed = repair.fixed;
    if repair.fixed > 0 {
        // What was told is repaired; what is told now is not.
        let mut again = Comparing::begin(&snapshot, scope).await?;
        again.days = repair.days;
        let left = again.run(host, None).await?;
        found = Comparison { missing: left.missing, extra: left.extra, different: left.different, ..found };
    }
    writer.close().await;
    snapshot.close().await;
    Ok(found)
}

/// A comparison that has taken its snapshot.
struct Comparing<'c> {
    transaction: db::Transaction<'c>,
    workspace: Option<Uuid>,
    days: Vec<(OffsetDateTime, OffsetDateTime)>,
    watermark: String,
    lag: f64,
    waiting: Vec<Option<Timestamp>>,
}

/// A time that may be infinite.
type Timestamp = tokio_postgres::types::Timestamp<OffsetDateTime>;

impl<'c> Comparing<'c> {
    async fn begin(connection: &'c Connection, scope: Scope) -> Result<Self, CompareError> {
        const SNAPSHOT: &str = "
            SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
            SET LOCAL enable_seqscan TO off;
            SET LOCAL jit TO off";
        const STATE: &str = "
            SELECT watermark_at::text, extract(epoch FROM now() - watermark_at)::float8
            FROM task_usage_hourly_rollup_state
            WHERE id = 1";
        let transaction = connection.begin().await?;
        transaction.batch(SNAPSHOT).await?;
        match Survey::read(&transaction).await? {
            Survey::NoUsage | Survey::NoPipeline(_) => return Err(CompareError::NoPipeline),
            Survey::NoState => return Err(CompareError::NoState),
            Survey::Ready(_) => {}
        }
        let row = transaction.query_one(STATE, &[]).await?;
        let (watermark, lag) = (row.get(0), row.get(1));
        // A part of an hour cannot be compared with its bucket.
        let into_hour = |time: OffsetDateTime| {
            time::Duration::new(time.unix_timestamp().rem_euclid(3600), time.nanosecond().cast_signed())
        };
        let from = scope.from.map_or(Timestamp::NegInfinity, |from| Timestamp::Value(from - into_hour(from)));
        let to = scope.to.map_or(Timestamp::PosInfinity, |to| {
            let over = into_hour(to);
            Timestamp::Value(if over.is_zero() { to } else { to - over + time::Duration::HOUR })
        });
        let days = transaction.query(include_str!("verify_days.sql"), &[&from, &to]).await?;
        let days = days.iter().map(|row| (row.get(0), row.get(1))).collect();
        let waiting = waiting_hours(&transaction).await?;
        Ok(Self { transaction, workspace: scope.workspace, days, watermark, lag, waiting })
    }

    async fn run(
        self,
        host: &dyn CompareHost,
        mut repair: Option<&mut Repair<'_>>,
    ) -> Result<Comparison, CompareError> {
        let mut found = Comparison { days: self.days.len() as u64, lag: self.lag, ..Comparison::default() };
        let mut told: Option<Instant> = None;
        for (done, day) in self.days.iter().enumerate() {
            if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                told = Some(Instant::now());
                host.progress(done as u64, found.days, found.buckets);
            }
            self.open_day(*day).await?;
            let mut wrong = false;
            loop {
                let rows = self.transaction.query(&format!("FETCH {BATCH} FROM difference"), &[]).await?;
                let mut batch = Vec::new();
                for row in &rows {
                    match read_difference(row) {
                        None => found.buckets += row.get::<_, i64>(1).unsigned_abs(),
                        Some(difference) => {
                            found.count(&difference);
                            host.difference(&difference);
                            batch.push(difference);
                        }
                    }
                }
                batch.retain(|difference| !difference.waiting);
                if let (Some(repair), false) = (&mut repair, batch.is_empty()) {
                    repair.rebuild(&batch, host).await?;
                    wrong = true;
                }
                if rows.len() < BATCH {
                    break;
                }
            }
            self.transaction.batch("CLOSE difference").await?;
            if let (Some(repair), true) = (&mut repair, wrong) {
                repair.days.push(*day);
            }
        }
        host.progress(found.days, found.days, found.buckets);
        self.transaction.rollback().await;
        Ok(found)
    }

    /// Opens the cursor over the differences of one day.
    async fn open_day(&self, (from, to): (OffsetDateTime, OffsetDateTime)) -> Result<(), db::Error> {
        const CURSOR: &str = concat!("DECLARE difference NO SCROLL CURSOR FOR ", include_str!("verify.sql"));
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&from, &to, &self.workspace, &self.watermark, &self.waiting];
        self.transaction.execute(CURSOR, &params).await?;
        Ok(())
    }
}

async fn waiting_hours(connection: &Connection) -> Result<Vec<Option<Timestamp>>, db::Error> {
    const OWN_QUEUE: &str = "SELECT to_regclass('task_usage_hourly_invalidation') IS NOT NULL";
    let mut sql = "SELECT DISTINCT bucket_hour FROM task_usage_hourly_dirty".to_owned();
    if connection.query_one(OWN_QUEUE, &[]).await?.get(0) {
        sql = format!("{} UNION {sql}", include_str!("verify_waiting.sql"));
    }
    Ok(connection.query(&sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// None for the row that counts the buckets.
fn read_difference(row: &Row) -> Option<Difference> {
    let kind = match row.get(0) {
        "missing" => Kind::Missing,
        "extra" => Kind::Extra,
        "different" => Kind::Different,
        _ => return None,
    };
    let sums =
        |first| Sums { tokens: Tokens::from_row(row, first), tasks: row.get(first + 4), events: row.get(first + 5) };
    Some(Difference {
        kind,
        waiting: row.get(21),
        bucket: Bucket {
            bucket_hour: row.get(2),
            workspace_id: row.get(3),
            runtime_id: row.get(4),
            agent_id: row.get(5),
            project_id: row.get(6),
            provider: row.get(7),
            model: row.get(8),
        },
        raw: sums(9),
        stored: sums(15),
    })
}

/// Rebuilds buckets.
struct Repair<'a> {
    writer: &'a Connection,
    lock_wait: Duration,
    days: Vec<(OffsetDateTime, OffsetDateTime)>,
    fixed: u64,
}

impl Repair<'_> {
    /// Puts the buckets into the queue for other programs and has a window drain it: that also works where the functions
    /// of an older program are in place.
    async fn rebuild(&mut self, differences: &[Difference], host: &dyn CompareHost) -> Result<(), CompareError> {
        const ENQUEUE: &str = "
            INSERT INTO task_usage_hourly_dirty AS d (
                bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model, enqueued_at
            )
            SELECT k.*, now() - interval '1 second'
            FROM unnest($1::timestamptz[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::text[]) k
            ON CONFLICT ON CONSTRAINT uq_task_usage_hourly_dirty_key DO UPDATE SET
                enqueued_at = least(d.enqueued_at, excluded.enqueued_at)";
        const REBUILD: &str = "SELECT rollup_task_usage_hourly_window(now() - interval '1 microsecond', now())";
        let buckets = || differences.iter().map(|difference| &difference.bucket);
        let transaction = lock(self.writer, self.lock_wait, &|waiting| host.waiting(waiting)).await?;
        transaction
            .execute(
                ENQUEUE,
                &[
                    &buckets().map(|bucket| bucket.bucket_hour).collect::<Vec<_>>(),
                    &buckets().map(|bucket| bucket.workspace_id).collect::<Vec<_>>(),
                    &buckets().map(|bucket| bucket.runtime_id).collect::<Vec<_>>(),
                    &buckets().map(|bucket| bucket.agent_id).collect::<Vec<_>>(),
                    &buckets().map(|bucket| bucket.project_id).collect::<Vec<_>>(),
                    &buckets().map(|bucket| bucket.provider.as_str()).collect::<Vec<_>>(),
                    &buckets().map(|bucket| bucket.model.as_str()).collect::<Vec<_>>(),
                ],
            )
            .await?;
        transaction.query_one(REBUILD, &[]).await?;
        transaction.commit().await?;
        self.fixed += differences.len() as u64;
        Ok(())
    }
}
