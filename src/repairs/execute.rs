//! Applying what was authorised: batches, each a transaction of its own that changes rows and journal together.
//!
//! Who else may run: the application, which writes and deletes the same rows; ticks and windows of the rollup; older
//! programs that hold its lock. At each point they see rows that are right or not yet, never half a batch. A row that
//! somebody has locked is passed over and tried again, so nobody waits for us for longer than a batch, and we wait for
//! nobody for longer than an instant while we hold anything. A row is compared with its before-image when it is locked, so
//! whatever was committed since the inspection is seen. When we die, the batch is rolled back, journal included, and the next execution goes on
//! with the rows that are not marked.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use super::RepairError;
use super::event::{RepairEvent, RepairObserver};
use super::finding::{Finding, Totals};
use super::gate::Authorised;
use super::journal::{self, RunState, Sums};
use super::lag::Replicas;
use super::repair::Names;
use super::statements::{BATCH, Change, Detail, LOOK};
use crate::db::{self, Connection, Holder, Transaction};
use crate::usage;

/// So many changed rows are brought into the rollup at once. A window that rebuilds their hours takes about a second.
const ROLL_UP_EVERY: u64 = 10_000;

/// The pause before rows that others hold are tried again. It doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// A batch that meets a locked row waits for it no longer than this, well under the second after which PostgreSQL looks
/// for deadlocks: where we and the application have locked each other out, it is we who step back.
const BRIEFLY: &str = "SET LOCAL lock_timeout TO '100ms'";

/// How a repair goes about it.
#[derive(Clone, Debug)]
pub struct Pacing {
    /// Rows a transaction.
    pub batch_size: u32,
    /// Pause between two transactions.
    pub sleep_between_batches: Duration,
    /// Stop after the batch in which this much time has passed.
    pub max_runtime: Option<Duration>,
    /// Pause while a streaming replica is further behind than this.
    pub max_lag: Option<Duration>,
    /// How long to wait for the rollup's lock, and for rows that others hold locked.
    pub lock_wait: Duration,
    /// Bring what was changed into the hourly rollup.
    pub rebuild_rollup: bool,
    /// Let the finding of an execution say whose rows these are, and of which day, as that of a dry run does. For a report.
    pub with_lines: bool,
}

impl Default for Pacing {
    /// A thousand rows a batch, no pauses, no limits, ten minutes for a lock, and the rollup is rebuilt.
    fn default() -> Self {
        Self {
            batch_size: 1000,
            sleep_between_batches: Duration::ZERO,
            max_runtime: None,
            max_lag: None,
            lock_wait: Duration::from_mins(10),
            rebuild_rollup: true,
            with_lines: false,
        }
    }
}

impl Pacing {
    pub(super) fn detail(&self) -> Detail {
        if self.with_lines { Detail::Lines } else { Detail::Totals }
    }

    fn pause_until(&self, deadline: Option<Instant>) -> Duration {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        self.sleep_between_batches.min(left.unwrap_or(Duration::MAX))
    }
}

/// What an execution has done, those before it included.
#[derive(Clone, Debug)]
pub struct Repaired {
    /// The run.
    pub run: i64,
    /// How it stands.
    pub state: RunState,
    /// Rows changed, and what they add up to.
    pub totals: Totals,
    /// Rows left alone because somebody had changed them since they were found.
    pub changed: u64,
    /// Rows that had gone.
    pub gone: u64,
    /// Rows not reached: held locked by others for too long, or out of time.
    pub waiting: u64,
    /// Who has one of them locked, if that can be seen.
    pub holder: Option<Holder>,
    /// Rows that meet the condition of the repair now.
    pub left_over: u64,
    /// A transaction that is older than the repair's cutoff and has not ended. What it writes is not seen yet.
    pub straggler: Option<Holder>,
    /// What became of the rollup.
    pub rollup: Rollup,
    /// How long this execution took.
    pub duration: Duration,
}

impl Repaired {
    /// Whether rows had to be left that should have been repaired.
    #[must_use]
    pub fn had_to_leave(&self) -> bool {
        self.waiting > 0 || self.left_over > 0
    }

    /// As it is kept, and told to programs.
    #[must_use]
    pub fn to_json(&self, names: &Names) -> Value {
        let mut totals = totals_to_json(&self.totals, names);
        let more = json!({
            "changed_since_found": self.changed,
            "gone_since_found": self.gone,
            "not_reached": self.waiting,
            "left_over": self.left_over,
        });
        if let (Some(totals), Some(more)) = (totals.as_object_mut(), more.as_object()) {
            totals.extend(more.clone());
        }
        totals
    }
}

/// Totals under the names that the repair gives them. Sums beyond 64 bits become text.
#[must_use]
pub fn totals_to_json(totals: &Totals, names: &Names) -> Value {
    let number =
        |number: i128| i64::try_from(number).map_or_else(|_| json!(number.to_string()), |number| json!(number));
    json!({
        "rows": totals.rows,
        names.before: number(totals.before),
        names.after: number(totals.after),
        names.removed: number(totals.removed()),
        names.counted: totals.counted,
    })
}

/// What became of the rollup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollup {
    /// Everything changed is in it; so many buckets were written by this execution.
    Rebuilt(u64),
    /// It was not asked for: the next ticks bring it in.
    LeftToTicks,
    /// There is none.
    None,
    /// These rows do not feed it.
    NotConcerned,
}

/// One execution.
pub(super) struct Execution<'a> {
    pub connection: &'a Connection,
    pub change: &'a Change,
    pub repair: &'a str,
    pub pacing: &'a Pacing,
    /// Whoever owns the table, if that is not the session's role.
    pub role: Option<&'a str>,
    pub observer: &'a RepairObserver,
    /// Transactions that began before this time may still bring rows to be repaired.
    pub cutoff: Option<&'a str>,
}

/// What every batch runs. Planning it anew each time would cost a tenth of the whole.
struct Prepared {
    apply_next: Statement,
    keep: Statement,
}

/// Where an execution is.
struct Progress {
    run: i64,
    prepared: Prepared,
    started: Instant,
    deadline: Option<Instant>,
    done: u64,
    done_before: u64,
    total: u64,
    replicas: Replicas,
    rollup: Feeding,
    buckets: u64,
    /// Changed since the rollup was last brought up to date.
    not_rolled_up: u64,
    /// A window of this execution has begun.
    rolled_up: bool,
}

/// How changed rows get into the rollup.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Feeding {
    Windows { enqueue: bool },
    LeftToTicks { enqueue: bool },
    NoRollup,
    NotConcerned,
}

impl Feeding {
    fn enqueues(self) -> bool {
        matches!(self, Self::Windows { enqueue: true } | Self::LeftToTicks { enqueue: true })
    }
}

/// What came of a batch.
struct Batch {
    last: i64,
    applied: u64,
    left: u64,
    held: Vec<i64>,
}

/// What to do about rows that somebody else has locked.
#[derive(Clone, Copy)]
enum Locked {
    Wait,
    PassOver,
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
        let result = self.try_apply(run).await;
        let Err(error) = result else { return result };
        let state = match &error {
            RepairError::Database(db::Error::Interrupted) => RunState::Interrupted,
            _ => RunState::Failed,
        };
        // The error that matters is the one that happened; a database that is gone cannot record it.
        if let Ok(transaction) = self.connection.shielded().begin().await {
            transaction.rollback().await;
        }
        if let Err(error) = journal::close(self.connection, run, state, None).await {
            tracing::debug!("the end of run {run} could not be recorded: {error}");
        }
        let (done, total) = journal::progress(self.connection, run).await.unwrap_or_default();
        Err(RepairError::Stopped { run, done, total, source: Box::new(error) })
    }

    async fn try_apply(&self, run: i64) -> Result<Repaired, RepairError> {
        let started = Instant::now();
        let (done, total) = journal::progress(self.connection, run).await?;
        let prepared = Prepared {
            apply_next: self.connection.prepare(&self.change.apply_next()).await?,
            keep: self.connection.prepare(&self.change.keep()).await?,
        };
        let mut progress = Progress {
            run,
            prepared,
            started,
            deadline: self.pacing.max_runtime.map(|limit| started + limit),
            done,
            done_before: done,
            total,
            replicas: Replicas::new(self.pacing.max_lag),
            rollup: self.feeding().await?,
            buckets: 0,
            not_rolled_up: 0,
            rolled_up: false,
        };
        self.tell(&progress);
        let end = self.walk(&mut progress).await?;
        if let Feeding::Windows { .. } = progress.rollup {
            self.roll_up(&mut progress, true).await?;
        }
        self.finish(&progress, end).await
    }

    /// All rows in order, then those that others held, again and again.
    async fn walk(&self, progress: &mut Progress) -> Result<End, RepairError> {
        let mut held = Vec::new();
        let mut cursor = 0;
        loop {
            if self.is_out_of_time(progress).await? {
                return Ok(End::OutOfTime);
            }
            match self.step(progress, cursor).await? {
                Some(batch) => {
                    cursor = batch.last;
                    held.extend(batch.held);
                    if progress.done + held.len() as u64 >= progress.total {
                        break;
                    }
                    self.connection.pause(self.pacing.pause_until(progress.deadline)).await?;
                }
                None => break,
            }
        }
        self.walk_held(progress, held).await
    }

    /// Rows that others held locked, until they let them go or patience is at its end.
    async fn walk_held(&self, progress: &mut Progress, mut held: Vec<i64>) -> Result<End, RepairError> {
        let mut since = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut reported: Option<Instant> = None;
        while let Some(first) = held.first().copied() {
            if self.is_out_of_time(progress).await? {
                return Ok(End::OutOfTime);
            }
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
            let (mut cursor, mut still) = (first - 1, Vec::new());
            while let Some(batch) = self.step(progress, cursor).await? {
                cursor = batch.last;
                still.extend(batch.held);
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

    /// One batch behind row `cursor`, with what belongs to it; none if there is no row left to try.
    async fn step(&self, progress: &mut Progress, cursor: i64) -> Result<Option<Batch>, RepairError> {
        let Some(batch) = self.batch(progress, cursor).await? else { return Ok(None) };
        progress.done += batch.applied + batch.left;
        progress.not_rolled_up += batch.applied;
        self.tell(progress);
        if matches!(progress.rollup, Feeding::Windows { .. }) && progress.not_rolled_up >= ROLL_UP_EVERY {
            self.roll_up(progress, false).await?;
        }
        Ok(Some(batch))
    }

    /// The rows behind `cursor`, in one transaction. Locked rows are rare, and locking all rows beforehand costs nearly as
    /// much as changing them; so a lock is only waited for, for an instant, and if that does not help, the batch begins
    /// again and passes over what is locked.
    async fn batch(&self, progress: &Progress, cursor: i64) -> Result<Option<Batch>, RepairError> {
        match self.try_batch(progress, cursor, Locked::Wait).await {
            Err(RepairError::Database(error)) if error.is(&SqlState::LOCK_NOT_AVAILABLE) => {
                self.try_batch(progress, cursor, Locked::PassOver).await
            }
            result => result,
        }
    }

    async fn try_batch(&self, progress: &Progress, cursor: i64, locked: Locked) -> Result<Option<Batch>, RepairError> {
        let run = progress.run;
        let transaction = self.begin().await?;
        transaction.batch(BATCH).await?;
        let limit = i64::from(self.pacing.batch_size);
        let (all, mine, applied) = match locked {
            Locked::Wait => {
                transaction.batch(BRIEFLY).await?;
                let params: [&(dyn ToSql + Sync); 3] = [&run, &cursor, &limit];
                let work = transaction.query_prepared(&progress.prepared.apply_next, &params);
                let rows = transaction.as_role(self.role, work).await?;
                let [all, applied] = rows.first().map(numbers).unwrap_or_default();
                (all.clone(), all, applied)
            }
            Locked::PassOver => {
                let [all, mine] = numbers(&transaction.query_one(&self.change.lock(), &[&run, &cursor, &limit]).await?);
                let sql = self.change.apply_locked();
                let row = transaction.as_role(self.role, transaction.query_one(&sql, &[&run, &mine])).await?;
                let [_, applied] = numbers(&row);
                (all, mine, applied)
            }
        };
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
        if progress.rollup.enqueues() && !applied.is_empty() {
            transaction.as_role(self.role, transaction.execute(&self.change.enqueue(), &[&run, &applied])).await?;
        }
        transaction.query_prepared(&progress.prepared.keep, &[&run, &applied, &changed, &gone]).await?;
        if !applied.is_empty() {
            journal::to_be_rolled_up(&transaction, run).await?;
        }
        transaction.commit().await?;
        Ok(Some(Batch { last, applied: applied.len() as u64, left: (changed.len() + gone.len()) as u64, held }))
    }

    /// Where the rows feed the rollup, under its lock: no window reads half of what a batch does, and older programs,
    /// which take the lock for a whole session, are waited for.
    async fn begin(&self) -> Result<Transaction<'_>, RepairError> {
        if self.change.rows.feeds_rollup {
            let on_wait = |waiting| (self.observer)(RepairEvent::Waiting(waiting));
            Ok(usage::lock_rollup(self.connection, self.pacing.lock_wait, &on_wait).await?)
        } else {
            let transaction = self.connection.begin().await?;
            let limit = self.pacing.lock_wait.as_millis().clamp(1, 86_400_000);
            transaction.batch(&format!("SET LOCAL lock_timeout TO '{limit}ms'")).await?;
            Ok(transaction)
        }
    }

    async fn feeding(&self) -> Result<Feeding, db::Error> {
        const THERE: &str = "
            SELECT to_regclass('task_usage_hourly') IS NOT NULL
                   AND to_regprocedure('rollup_task_usage_hourly_window(timestamptz,timestamptz)') IS NOT NULL,
                   to_regclass('task_usage_hourly_invalidation') IS NULL";
        if !self.change.rows.feeds_rollup {
            return Ok(Feeding::NotConcerned);
        }
        let row = self.connection.query_one(THERE, &[]).await?;
        let enqueue = self.change.restores_times() && row.get(1);
        Ok(match row.get(0) {
            false => Feeding::NoRollup,
            true if self.pacing.rebuild_rollup => Feeding::Windows { enqueue },
            true => Feeding::LeftToTicks { enqueue },
        })
    }

    /// A window over everything that this run has changed and the rollup does not contain yet, whichever execution it
    /// was.
    async fn roll_up(&self, progress: &mut Progress, last: bool) -> Result<(), RepairError> {
        const WINDOW: &str = "SELECT rollup_task_usage_hourly_window($1::text::timestamptz, $2::text::timestamptz)";
        progress.replicas.keep_up(self.connection, progress.deadline, self.observer).await?;
        let transaction = self.begin().await?;
        let window = journal::not_rolled_up(&transaction, progress.run, !progress.rolled_up, last).await?;
        if let Some((from, to)) = window {
            let row = transaction.as_role(self.role, transaction.query_one(WINDOW, &[&from, &to])).await?;
            progress.buckets += row.get::<_, i64>(0).unsigned_abs();
            journal::rolled_up(&transaction, progress.run).await?;
        }
        transaction.commit().await?;
        progress.not_rolled_up = 0;
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
        // The proof is a look at the table itself. Out of time, there is none left for it.
        let left_over = match self.change.left_over() {
            Some(sql) if state != RunState::Stopped => {
                let transaction = self.connection.begin().await?;
                transaction.batch(LOOK).await?;
                let left: i64 = transaction.query_one(&sql, &[]).await?.get(0);
                transaction.rollback().await;
                left.unsigned_abs().saturating_sub(sums.waiting)
            }
            _ => 0,
        };
        let straggler = match self.cutoff {
            Some(cutoff) => {
                let row = self.connection.query_opt(&self.change.straggler(), &[&cutoff]).await?;
                row.map(|row| Holder::from_row(&row))
            }
            None => None,
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
            rollup: match progress.rollup {
                Feeding::Windows { .. } => Rollup::Rebuilt(progress.buckets),
                Feeding::LeftToTicks { .. } => Rollup::LeftToTicks,
                Feeding::NoRollup => Rollup::None,
                Feeding::NotConcerned => Rollup::NotConcerned,
            },
            duration: progress.started.elapsed(),
        };
        let totals = repaired.to_json(&self.change.rows.names);
        journal::close(self.connection, run, state, Some(&totals)).await?;
        Ok(repaired)
    }

    async fn sums(&self, run: i64) -> Result<Sums, RepairError> {
        let row = self.connection.query_one(&self.change.sums(), &[&run]).await?;
        let count = |at: usize| row.get::<_, i64>(at).unsigned_abs();
        let done = Totals { rows: count(0), before: big(row.get(1)), after: big(row.get(2)), counted: count(3) };
        Ok(Sums { done, changed: count(4), gone: count(5), waiting: count(6) })
    }

    async fn holder(&self, run: i64, held: &[i64]) -> Result<Option<Holder>, RepairError> {
        let row = self.connection.query_opt(&self.change.holder(), &[&run, &held]).await?;
        Ok(row.map(|row| Holder::from_row(&row)))
    }

    fn tell(&self, progress: &Progress) {
        let Progress { run, done, total, done_before, started, .. } = *progress;
        let elapsed = started.elapsed();
        let here = done.saturating_sub(done_before);
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        let per_second = here as f64 / elapsed.as_secs_f64().max(0.001);
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        let eta = (here > 0 && done < total)
            .then(|| Duration::try_from_secs_f64((total - done) as f64 / per_second).unwrap_or_default());
        let repair = self.repair.to_owned();
        (self.observer)(RepairEvent::RepairProgress { run, repair, unit: "rows", done, total, per_second, eta });
    }
}

/// The two lists of numbers that a batch's statements return.
fn numbers(row: &Row) -> [Vec<i64>; 2] {
    [row.get(0), row.get(1)]
}

/// What of `all` is not in `some`. Both are in order.
fn without(all: &[i64], some: &[i64]) -> Vec<i64> {
    all.iter().copied().filter(|n| some.binary_search(n).is_err()).collect()
}

/// A sum as the server writes it.
pub(super) fn big(text: &str) -> i128 {
    text.parse().unwrap_or_default()
}
