//! Applying what was authorised: batches, each a transaction of its own that changes rows and journal together.
//!
//! Who else may run: the application, which writes and deletes the same rows; ticks and windows of the rollup; older
//! programs that hold its lock. At each point they see rows that are right or not yet, never half a batch. A row that
//! somebody has locked is passed over and tried again, so nobody waits for us for longer than a batch, and we wait for
//! nobody for longer than an instant while we hold anything. A row is compared with its before-image when it is locked, so
//! whatever was committed since the inspection is seen. When we die, the batch is rolled back, journal included, and the
//! next execution goes on with the rows that are not marked.

use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use super::RepairError;
use super::event::{RepairEvent, RepairObserver};
use super::finding::{Finding, RollupThere, Totals};
use super::gate::Authorised;
use super::journal::{self, Sums};
use super::lag::Replicas;
use super::outcome::{Pacing, Repaired, Rollup};
use super::past;
use super::rate::Rate;
use super::runs::RunState;
use super::statements::{BATCH, Change, LOOK};
use super::task::rollup_there;
use crate::db::{self, Connection, Holder, Transaction};
use crate::usage;

/// Into how many hours changed rows may fall before they are brought into the rollup. A window rebuilds whole hours, of
/// which nobody knows beforehand how large they are, so this follows what the last window took.
const HOURS_AT_FIRST: u64 = 50;
const MOST_HOURS: u64 = 2000;
const LONG_WINDOW: Duration = Duration::from_secs(1);
const SHORT_WINDOW: Duration = Duration::from_millis(300);

/// The pause before rows that others hold are tried again. It doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// One execution.
pub(super) struct Execution<'a> {
    pub connection: &'a Connection,
    pub change: &'a Change,
    pub repair: &'a str,
    pub pacing: &'a Pacing,
    /// Whoever owns the table, if that is not the session's role.
    pub role: Option<&'a str>,
    pub observer: &'a RepairObserver,
    /// When it was called.
    pub started: Instant,
    /// Rows that the run was done with before, and rows it found.
    pub done: u64,
    pub total: u64,
    /// Transactions that began before this time may still bring rows to be repaired.
    pub cutoff: Option<&'a str>,
}

/// What every batch runs. Planning it anew each time would cost a tenth of the whole.
struct Prepared {
    apply_next: Statement,
    keep_all: Statement,
}

/// Where an execution is.
struct Progress {
    run: i64,
    prepared: Prepared,
    deadline: Option<Instant>,
    rate: Rate,
    done: u64,
    total: u64,
    replicas: Replicas,
    feeding: Feeding,
    /// Buckets written.
    buckets: u64,
    /// Into how many hours the rows fall that were changed since the rollup was last brought up to date.
    open_hours: u64,
    hours_at_once: u64,
    /// A window of this execution has begun.
    rolled_up: bool,
}

/// How changed rows get into the rollup.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Feeding {
    /// We call its windows.
    Windows,
    /// The next ticks do; the batch puts its buckets into their queue, if they would not find them.
    LeftToTicks {
        enqueue: bool,
    },
    NoRollup,
    NotConcerned,
}

/// What came of a batch.
struct Batch {
    last: i64,
    applied: u64,
    left: u64,
    hours: u64,
    held: Vec<i64>,
}

/// Which rows a batch takes.
#[derive(Clone, Copy)]
enum Take<'a> {
    /// The next ones behind this number.
    Behind(i64),
    /// These; whatever somebody else has locked is passed over.
    These(&'a [i64]),
}

enum End {
    AllReached,
    HeldByOthers(Vec<i64>),
    OutOfTime,
}

impl Execution<'_> {
    /// Goes through the journal of an authorised run.
    pub async fn apply(&self, authorised: Authorised<Finding>) -> Result<Repaired, RepairError> {
        let run = authorised.run();
        let mut progress = self.begin_run(run).await?;
        let result = self.go_through(&mut progress).await;
        let Err(error) = result else { return result };
        journal::close_after(self.connection, run, &error).await;
        let Progress { done, total, .. } = progress;
        Err(RepairError::Stopped { run, done, total, source: Box::new(error) })
    }

    async fn begin_run(&self, run: i64) -> Result<Progress, RepairError> {
        let Self { done, total, .. } = *self;
        let prepared = Prepared {
            apply_next: self.connection.prepare(&self.change.apply_next()).await?,
            keep_all: self.connection.prepare(&self.change.keep_all()).await?,
        };
        Ok(Progress {
            run,
            prepared,
            deadline: self.pacing.max_runtime.map(|limit| self.started + limit),
            rate: Rate::from(done),
            done,
            total,
            replicas: Replicas::new(self.pacing.max_lag),
            feeding: self.feeding().await?,
            buckets: 0,
            open_hours: 0,
            hours_at_once: HOURS_AT_FIRST,
            rolled_up: false,
        })
    }

    async fn go_through(&self, progress: &mut Progress) -> Result<Repaired, RepairError> {
        self.tell(progress);
        let mut held = Vec::new();
        let mut end = self.walk(progress, &mut held).await?;
        if matches!(end, End::AllReached) {
            end = self.walk_held(progress, held).await?;
        }
        if progress.feeding == Feeding::Windows {
            self.roll_up(progress, true).await?;
        }
        self.finish(progress, end).await
    }

    /// All rows in order; those that others hold locked are noted.
    async fn walk(&self, progress: &mut Progress, held: &mut Vec<i64>) -> Result<End, RepairError> {
        // Finding the place takes reading what is done already, which nobody has to wait for.
        let Some(first) = journal::first_open(self.connection, progress.run).await? else { return Ok(End::AllReached) };
        let mut cursor = first - 1;
        while progress.done + (held.len() as u64) < progress.total {
            if self.is_out_of_time(progress).await? {
                return Ok(End::OutOfTime);
            }
            let Some(batch) = self.step(progress, Take::Behind(cursor)).await? else { break };
            cursor = batch.last;
            held.extend(batch.held);
            self.connection.pause(self.pacing.pause_until(progress.deadline)).await?;
        }
        Ok(End::AllReached)
    }

    /// Rows that others held locked, again and again, until they let them go or patience is at its end.
    async fn walk_held(&self, progress: &mut Progress, mut held: Vec<i64>) -> Result<End, RepairError> {
        let mut since = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut reported: Option<Instant> = None;
        while !held.is_empty() {
            let left = self.pacing.lock_wait.saturating_sub(since.elapsed());
            if left.is_zero() {
                return Ok(End::HeldByOthers(held));
            }
            if reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
                reported = Some(Instant::now());
                let holder = self.holder(progress.run, &held).await?;
                (self.observer)(RepairEvent::RowsLocked { rows: held.len() as u64, holder });
            }
            self.connection.pause(pause.min(left)).await?;
            pause = (pause * 2).min(LONGEST_PAUSE);
            let before = progress.done;
            let mut still = Vec::new();
            for some in held.chunks(self.pacing.batch_size as usize) {
                if self.is_out_of_time(progress).await? {
                    return Ok(End::OutOfTime);
                }
                if let Some(batch) = self.step(progress, Take::These(some)).await? {
                    still.extend(batch.held);
                }
                self.connection.pause(self.pacing.pause_until(progress.deadline)).await?;
            }
            held = still;
            if progress.done > before {
                (since, pause) = (Instant::now(), FIRST_PAUSE);
            }
        }
        Ok(End::AllReached)
    }

    /// Waits for the replicas, then says whether the time is over.
    async fn is_out_of_time(&self, progress: &mut Progress) -> Result<bool, RepairError> {
        progress.replicas.keep_up(self.connection, progress.deadline, self.observer).await?;
        Ok(progress.deadline.is_some_and(|deadline| Instant::now() >= deadline))
    }

    /// One batch with what belongs to it; none if there is no row left to take.
    async fn step(&self, progress: &mut Progress, take: Take<'_>) -> Result<Option<Batch>, RepairError> {
        let Some(batch) = self.batch(progress, take).await? else { return Ok(None) };
        progress.done += batch.applied + batch.left;
        progress.open_hours += batch.hours;
        self.tell(progress);
        if progress.feeding == Feeding::Windows && progress.open_hours >= progress.hours_at_once {
            self.roll_up(progress, false).await?;
        }
        Ok(Some(batch))
    }

    /// Locked rows are rare, and locking all rows beforehand costs nearly as much as changing them. So a lock is waited for,
    /// for an instant; if that does not help, the batch begins again and passes over what is locked; and if something else
    /// than a row is in the way, all of it counts as held by others.
    async fn batch(&self, progress: &Progress, take: Take<'_>) -> Result<Option<Batch>, RepairError> {
        let stepped_back = |error: &RepairError| match error {
            RepairError::Database(error) => {
                error.is(&SqlState::LOCK_NOT_AVAILABLE) || error.is(&SqlState::T_R_DEADLOCK_DETECTED)
            }
            _ => false,
        };
        let these: Vec<i64> = match take {
            Take::These(these) => these.to_vec(),
            Take::Behind(cursor) => match self.try_batch(progress, take).await {
                Err(error) if stepped_back(&error) => {
                    // A transaction of its own, which also ends the one that has failed.
                    let transaction = self.connection.begin().await?;
                    let limit = i64::from(self.pacing.batch_size);
                    let row = transaction.query_one(&Change::next(), &[&progress.run, &cursor, &limit]).await?;
                    transaction.rollback().await;
                    row.get(0)
                }
                result => return result,
            },
        };
        match self.try_batch(progress, Take::These(&these)).await {
            Err(error) if stepped_back(&error) => {
                // What comes next must not find itself in the transaction that has failed.
                self.connection.begin().await?.rollback().await;
                let last = these.last().copied();
                Ok(last.map(|last| Batch { last, applied: 0, left: 0, hours: 0, held: these }))
            }
            result => result,
        }
    }

    async fn try_batch(&self, progress: &Progress, take: Take<'_>) -> Result<Option<Batch>, RepairError> {
        let run = progress.run;
        let transaction = self.begin().await?;
        transaction.batch(BATCH).await?;
        let (all, mine, changed) = match take {
            Take::Behind(cursor) => {
                let limit = i64::from(self.pacing.batch_size);
                let params: [&(dyn ToSql + Sync); 3] = [&run, &cursor, &limit];
                let work = transaction.query_prepared(&progress.prepared.apply_next, &params);
                let changed = Changed::read(&transaction.as_role(self.role, work).await?)?;
                (changed.batch.clone(), changed.batch.clone(), changed)
            }
            Take::These(all) => {
                let mine: Vec<i64> = transaction.query_one(&self.change.lock(), &[&run, &all]).await?.get(0);
                let sql = self.change.apply_locked();
                let rows = transaction.as_role(self.role, transaction.query(&sql, &[&run, &mine])).await?;
                (all.to_vec(), mine, Changed::read(&rows)?)
            }
        };
        let Changed { applied, hours, as_meant, on_time, .. } = changed;
        if !on_time {
            transaction.rollback().await;
            return Err(self.clock_set_back(run).await?);
        }
        if !as_meant {
            transaction.rollback().await;
            return Err(RepairError::Overruled { table: self.change.rows.table });
        }
        let Some(last) = all.last().copied() else {
            transaction.rollback().await;
            return Ok(None);
        };
        let not_applied = without(&all, &applied);
        let gone: Vec<i64> = if not_applied.is_empty() {
            Vec::new()
        } else {
            transaction.query_one(&self.change.gone(), &[&run, &not_applied]).await?.get(0)
        };
        let held = without(&without(&all, &mine), &gone);
        let changed = without(&without(&mine, &applied), &gone);
        if progress.feeding == (Feeding::LeftToTicks { enqueue: true }) && !applied.is_empty() {
            transaction.as_role(self.role, transaction.execute(&self.change.enqueue(), &[&run, &applied])).await?;
        }
        match take {
            Take::Behind(cursor) if not_applied.is_empty() => {
                transaction.query_prepared(&progress.prepared.keep_all, &[&run, &cursor, &last]).await?;
            }
            _ => {
                transaction.execute(&self.change.keep(), &[&run, &applied, &changed, &gone]).await?;
            }
        }
        if !applied.is_empty() && progress.feeding == Feeding::Windows {
            journal::to_be_rolled_up(&transaction, run).await?;
        }
        transaction.commit().await?;
        Ok(Some(Batch { last, applied: applied.len() as u64, left: (changed.len() + gone.len()) as u64, hours, held }))
    }

    /// Where the rows feed the rollup, under its lock: no window reads half of what a batch does, and older programs,
    /// which take the lock for a whole session, are waited for.
    async fn begin(&self) -> Result<Transaction<'_>, RepairError> {
        if self.change.rows.feeds_rollup {
            Ok(usage::lock_rollup(self.connection, self.pacing.lock_wait).await?)
        } else {
            let transaction = self.connection.begin().await?;
            transaction.limit_lock_wait(self.pacing.lock_wait).await?;
            Ok(transaction)
        }
    }

    async fn feeding(&self) -> Result<Feeding, db::Error> {
        if !self.change.rows.feeds_rollup {
            return Ok(Feeding::NotConcerned);
        }
        Ok(match rollup_there(self.connection).await? {
            RollupThere::None => Feeding::NoRollup,
            RollupThere::Ours if self.pacing.rebuild_rollup => Feeding::Windows,
            RollupThere::Ours => Feeding::LeftToTicks { enqueue: false },
            // Older functions rebuild key by key, and take a key from the queue that arrives while they are at it: the less
            // they are given to do at once, and the older it is, the better.
            RollupThere::Older => Feeding::LeftToTicks { enqueue: self.change.restores_times() },
        })
    }

    /// A window over everything that this run has changed and the rollup does not contain yet, whichever execution it
    /// was.
    async fn roll_up(&self, progress: &mut Progress, last: bool) -> Result<(), RepairError> {
        const WINDOW: &str = "SELECT rollup_task_usage_hourly_window($1::text::timestamptz, $2::text::timestamptz)";
        progress.replicas.keep_up(self.connection, progress.deadline, self.observer).await?;
        let transaction = self.begin().await?;
        let began = Instant::now();
        let window = journal::not_rolled_up(&transaction, progress.run, !progress.rolled_up, last).await?;
        if let Some((from, to)) = window {
            let row = transaction.as_role(self.role, transaction.query_one(WINDOW, &[&from, &to])).await?;
            progress.buckets += row.get::<_, i64>(0).unsigned_abs();
            journal::rolled_up(&transaction, progress.run).await?;
        }
        transaction.commit().await?;
        let took = began.elapsed();
        if took > LONG_WINDOW {
            progress.hours_at_once = (progress.hours_at_once / 2).max(1);
        } else if took < SHORT_WINDOW {
            progress.hours_at_once = (progress.hours_at_once * 2).min(MOST_HOURS);
        }
        progress.open_hours = 0;
        progress.rolled_up = true;
        Ok(())
    }

    async fn finish(&self, progress: &Progress, end: End) -> Result<Repaired, RepairError> {
        let run = progress.run;
        let sums = self.sums(run).await?;
        let holder = match &end {
            End::HeldByOthers(held) => self.holder(run, held).await?,
            _ => None,
        };
        let state = match end {
            End::AllReached => RunState::Done,
            End::HeldByOthers(_) => RunState::Incomplete,
            End::OutOfTime => RunState::Stopped,
        };
        // Looked for first: one that ends in between is then seen by the count.
        let straggler = match self.cutoff {
            Some(cutoff) => straggler(self.connection, self.change, cutoff).await?,
            None => None,
        };
        // The proof is a look at the table itself. Out of time, there is none left for it.
        let left_over = match self.change.left_over(run) {
            Some(sql) if state != RunState::Stopped => {
                let transaction = self.connection.begin().await?;
                transaction.batch(LOOK).await?;
                let left: i64 = transaction.query_one(&sql, &[]).await?.get(0);
                transaction.rollback().await;
                left.unsigned_abs().saturating_sub(sums.waiting)
            }
            _ => 0,
        };
        let repaired = Repaired {
            run,
            state,
            totals: sums.done,
            changed: sums.changed,
            gone: sums.gone,
            waiting: sums.waiting,
            holder,
            left_over,
            straggler,
            rollup: match progress.feeding {
                Feeding::Windows => Rollup::Rebuilt(progress.buckets),
                Feeding::LeftToTicks { .. } => Rollup::LeftToTicks,
                Feeding::NoRollup => Rollup::None,
                Feeding::NotConcerned => Rollup::NotConcerned,
            },
            duration: self.started.elapsed(),
        };
        let totals = repaired.to_json(&self.change.rows);
        if !self.change.stamps_nothing() {
            let transaction = self.connection.begin().await?;
            past::mark(&transaction, self.role, self.change.rows.table, run).await?;
            transaction.commit().await?;
        }
        journal::close(self.connection, run, state, Some(&totals)).await?;
        Ok(repaired)
    }

    async fn clock_set_back(&self, run: i64) -> Result<RepairError, db::Error> {
        const NOW: &str = "SELECT pg_catalog.now()::pg_catalog.text AS now";
        let now = self.connection.query_one(NOW, &[]).await?.try_get("now")?;
        let began = self.change.not_before.clone().unwrap_or_default();
        Ok(RepairError::ClockSetBack { run, now, began })
    }

    async fn sums(&self, run: i64) -> Result<Sums, RepairError> {
        let row = self.connection.query_one(&self.change.sums(), &[&run]).await?;
        let count = |at: usize| row.get::<_, i64>(at).unsigned_abs();
        let done = Totals { rows: count(0), before: big(row.get(1)), after: big(row.get(2)), counted: count(3) };
        Ok(Sums { done, changed: count(4), gone: count(5), waiting: count(6) })
    }

    /// One of those who have rows locked; a few of the rows will do.
    async fn holder(&self, run: i64, held: &[i64]) -> Result<Option<Holder>, RepairError> {
        let some = &held[..held.len().min(10)];
        let row = self.connection.query_opt(&self.change.holder(), &[&run, &some]).await?;
        Ok(row.map(|row| Holder::from_row(&row)))
    }

    fn tell(&self, progress: &Progress) {
        let Progress { run, done, total, rate, .. } = progress;
        let (per_second, eta) = rate.at(*done, *total);
        // In the beginning, the pauses have not shown in the rate yet.
        let batches = total.saturating_sub(*done).div_ceil(u64::from(self.pacing.batch_size));
        let pauses = self.pacing.sleep_between_batches.saturating_mul(u32::try_from(batches).unwrap_or(u32::MAX));
        let eta = eta.map(|eta| eta.max(pauses));
        (self.observer)(RepairEvent::RepairProgress {
            run: *run,
            repair: self.repair.to_owned(),
            unit: "rows",
            done: *done,
            total: *total,
            per_second,
            eta,
        });
    }
}

/// The oldest transaction that writes the table and began before the cutoff.
pub(super) async fn straggler(
    connection: &Connection,
    change: &Change,
    cutoff: &str,
) -> Result<Option<Holder>, db::Error> {
    let row = connection.query_opt(&change.straggler(), &[&cutoff]).await?;
    Ok(row.map(|row| Holder::from_row(&row)))
}

/// What a batch's statement returns.
struct Changed {
    batch: Vec<i64>,
    applied: Vec<i64>,
    hours: u64,
    as_meant: bool,
    on_time: bool,
}

impl Changed {
    fn read(rows: &[Row]) -> Result<Self, db::Error> {
        let Some(row) = rows.first() else {
            return Err(db::Error::Conversion { reason: "a batch returned nothing".to_owned() });
        };
        let hours: i64 = row.get(2);
        Ok(Self {
            batch: row.get(0),
            applied: row.get(1),
            hours: hours.unsigned_abs(),
            as_meant: row.get(3),
            on_time: row.get(4),
        })
    }
}

/// What of `all` is not in `some`. Both are in order.
fn without(all: &[i64], some: &[i64]) -> Vec<i64> {
    all.iter().copied().filter(|n| some.binary_search(n).is_err()).collect()
}

/// A sum as the server writes it.
pub(super) fn big(text: &str) -> i128 {
    text.parse().unwrap_or_default()
}
