//! Comparing one day of the hourly rollup.
//!
//! Each day is read in a snapshot of its own, so that no lock on a table waits long for the comparison, and through a cursor, so
//! that memory stays small however many differences there are.

use std::collections::{BTreeSet, HashSet};

use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use super::RollupError;
use super::bucket::Bucket;
use super::difference::{CompareEvent, Comparison, Difference, Kind, Pass, Sums};
use super::pipeline::{self, OWN_QUEUE};
use super::queries::{Cost, Tokens};
use super::too_large::TooLarge;
use crate::db::{self, Connection, Observer, in_calendar};

/// How many differences are fetched at once.
const BATCH: usize = 1000;

/// A span of time: its start, and its end, which is not included.
pub(super) type Span = (OffsetDateTime, OffsetDateTime);

/// The watermark.
pub(super) struct State {
    watermark: String,
    /// Seconds from there to the clock.
    pub lag: f64,
    /// The snapshot it was read in.
    snapshot: String,
}

impl State {
    pub async fn read(connection: &Connection) -> Result<Self, RollupError> {
        const STATE: &str = include_str!("watermark.sql");
        let row = connection.query_opt(STATE, &[]).await?.ok_or(RollupError::NoState)?;
        Ok(Self { watermark: row.try_get("watermark")?, lag: row.try_get("lag")?, snapshot: row.get("snapshot") })
    }
}

pub(super) fn start_of_hour(time: OffsetDateTime) -> OffsetDateTime {
    time - time::Duration::new(time.unix_timestamp().rem_euclid(3600), time.nanosecond().cast_signed())
}

/// What was found on one day.
pub(super) struct Seen {
    pub counts: Comparison,
    /// The hours of the buckets that are wrong.
    pub hours: BTreeSet<OffsetDateTime>,
    /// The wrong buckets, if asked for, without those that are too large.
    pub wrong: Vec<Bucket>,
}

/// Compares one day after the other.
pub(super) struct Look<'a> {
    session: &'a Connection,
    workspace: Option<Uuid>,
    has_cost: bool,
    /// Whether [`Seen::wrong`] is asked for.
    keep_wrong: bool,
    waiting: WaitingHours,
    pub observer: &'a Observer<CompareEvent>,
}

impl<'a> Look<'a> {
    pub fn new(
        session: &'a Connection,
        workspace: Option<Uuid>,
        has_cost: bool,
        keep_wrong: bool,
        observer: &'a Observer<CompareEvent>,
    ) -> Self {
        Self { session, workspace, has_cost, keep_wrong, waiting: WaitingHours::default(), observer }
    }

    pub async fn compare(&mut self, (from, to): Span, pass: Pass) -> Result<Seen, RollupError> {
        const SNAPSHOT: &str = "
            SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
            SET LOCAL enable_seqscan TO off;
            SET LOCAL jit TO off";
        const CURSOR: &str = concat!("DECLARE difference NO SCROLL CURSOR FOR ", include_str!("verify.sql"));
        let transaction = self.session.begin().await?;
        transaction.batch(SNAPSHOT).await?;
        let state = State::read(&transaction).await?;
        let counts = Comparison { lag: state.lag, ..Comparison::default() };
        let mut seen = Seen { counts, hours: BTreeSet::new(), wrong: Vec::new() };

        let cursor = pipeline::fitted(CURSOR, self.has_cost);
        transaction.execute(&cursor, &[&from, &to, &self.workspace, &state.watermark]).await?;
        loop {
            let rows = transaction.query(&format!("FETCH {BATCH} FROM difference"), &[]).await?;
            for row in &rows {
                match read_difference(row, pass, self.has_cost)? {
                    None => seen.counts.buckets += row.get::<_, i64>("buckets").unsigned_abs(),
                    Some(difference) => self.note(&transaction, &state, difference, &mut seen).await?,
                }
            }
            if rows.len() < BATCH {
                break;
            }
        }
        transaction.rollback().await;
        Ok(seen)
    }

    async fn note(
        &mut self,
        connection: &Connection,
        state: &State,
        mut difference: Difference,
        seen: &mut Seen,
    ) -> Result<(), RollupError> {
        if !difference.waiting {
            self.waiting.bring_up_to_date(connection, &state.snapshot).await?;
            let hour = start_of_hour(difference.bucket.bucket_hour);
            let fits = difference.kind != Kind::TooLarge;
            difference.waiting = fits && self.waiting.contains(hour);
            if !difference.waiting {
                seen.hours.insert(hour);
                if fits && self.keep_wrong {
                    seen.wrong.push(difference.bucket.clone());
                }
            }
        }
        seen.counts.count(&difference);
        self.observer.tell(CompareEvent::Difference(Box::new(difference)));
        Ok(())
    }
}

/// The hours whose rebuild waits in the queues. Finding them reads every report, so it is repeated only after the queues have
/// changed. They have not if no transaction has ended since, or if their sizes and their oldest and newest entries are the same.
#[derive(Default)]
struct WaitingHours {
    snapshot: Option<String>,
    queues: Option<String>,
    all: bool,
    hours: HashSet<OffsetDateTime>,
}

impl WaitingHours {
    /// Reads the queues in the open transaction, which has this snapshot.
    async fn bring_up_to_date(&mut self, connection: &Connection, snapshot: &str) -> Result<(), db::Error> {
        const QUEUE: &str =
            "SELECT ROW(pg_catalog.count(*), pg_catalog.min(enqueued_at), pg_catalog.max(enqueued_at))::text FROM";
        if self.snapshot.as_deref() == Some(snapshot) {
            return Ok(());
        }
        let queue = pipeline::queue(connection).await?;
        let sql = format!("SELECT pg_catalog.concat(({QUEUE} task_usage_hourly_dirty), ({QUEUE} {queue})) AS queues");
        let queues: String = connection.query_one(&sql, &[]).await?.get("queues");
        self.snapshot = Some(snapshot.to_owned());
        if self.queues.as_ref() == Some(&queues) {
            return Ok(());
        }
        let mut sql = "SELECT DISTINCT bucket_hour FROM task_usage_hourly_dirty".to_owned();
        if queue == OWN_QUEUE {
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

/// None for the row with the number of buckets.
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
        // No tick can write what does not fit.
        waiting: row.get::<_, bool>("is_new") && kind != Kind::TooLarge,
        pass,
        bucket: Bucket::from_row(row)?,
        raw: sums("raw"),
        stored: sums("stored"),
        too_large: row.get::<_, Option<&str>>("too_large").map(TooLarge::parse).transpose()?,
    }))
}
