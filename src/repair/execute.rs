//! Applying what was authorised, in batches. Each batch is a transaction that changes rows and journal together.
//!
//! Meanwhile the application writes and deletes the same rows, and other programs refresh the derived data; older ones hold
//! its lock for a session. They see each row before or after its correction, and never half a batch. A row that another
//! session has locked is skipped and tried again. So other sessions wait for at most one batch, and a batch that holds
//! locks waits for at most a tenth of a second. A row is compared with its before-image while it is locked, so every commit
//! since the inspection counts. If the program is killed, the server rolls back the batch and its part of the journal,
//! and the next execution continues with the rows that are not marked.

use std::time::{Duration, Instant};

use super::RepairError;
use super::batch::{Batch, Prepared, Take, Writer};
use super::change::{Change, LOOK};
use super::derived::Refresh;
use super::event::RepairEvent;
use super::gate::{Authorised, Rows};
use super::journal::{self, Sums};
use super::lag::Replicas;
use super::lines::Totals;
use super::outcome::{Pacing, Repaired};
use super::past;
use super::rate::Rate;
use super::runs::RunState;
use super::task::Task;
use crate::db::{self, Connection, Holder, Observer};

/// Into how many hours changed rows may fall before derived data is refreshed. A refresh computes whole hours, whose size is
/// not known in advance, so the limit follows the duration of the last refresh.
const HOURS_AT_FIRST: u64 = 50;
const MOST_HOURS: u64 = 2000;
const LONG_REFRESH: Duration = Duration::from_secs(1);
const SHORT_REFRESH: Duration = Duration::from_millis(300);

/// The pause before locked rows are tried again. It doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// One execution.
pub(super) struct Execution<'a> {
    pub connection: &'a Connection,
    pub task: &'a Task,
    pub pacing: &'a Pacing,
    /// The role that owns the table, if that is not the session's.
    pub role: Option<&'a str>,
    pub observer: &'a Observer<RepairEvent>,
    /// When it was called.
    pub started: Instant,
}

/// Where an execution is.
struct Progress<'a> {
    run: i64,
    writer: Writer<'a>,
    deadline: Option<Instant>,
    rate: Rate,
    done: u64,
    total: u64,
    replicas: Replicas,
    /// How much derived data was written.
    refreshed: u64,
    /// Into how many hours the rows fall that were changed since the last refresh.
    open_hours: u64,
    hours_at_once: u64,
    /// A refresh of this execution has begun.
    has_refreshed: bool,
}

enum End {
    AllReached,
    HeldByOthers(Vec<i64>),
    OutOfTime,
}

impl Execution<'_> {
    /// Applies the journal of an authorised run.
    pub async fn apply(&self, authorised: &Authorised<Rows>) -> Result<Repaired, RepairError> {
        let run = authorised.run();
        let mut progress = self.begin_run(authorised).await?;
        let result = self.go_through(&mut progress).await;
        let Err(error) = result else { return result };
        journal::close_after(self.connection, run, &error).await;
        let Progress { done, total, .. } = progress;
        Err(RepairError::Stopped { run, done, total, source: Box::new(error) })
    }

    async fn begin_run<'b>(&'b self, authorised: &'b Authorised<Rows>) -> Result<Progress<'b>, RepairError> {
        let Self { connection, pacing, role, .. } = *self;
        let Rows { change, done, total } = authorised.what();
        let writer = Writer {
            connection,
            authorised,
            role,
            refresh: Refresh::of(change.rows.derived, connection, pacing.refresh, change.restores_times()).await?,
            batch_size: pacing.batch_size,
            lock_wait: pacing.lock_wait,
            prepared: Prepared::new(connection, change).await?,
        };
        Ok(Progress {
            run: authorised.run(),
            writer,
            deadline: pacing.max_runtime.map(|limit| self.started + limit),
            rate: Rate::from(*done),
            done: *done,
            total: *total,
            replicas: Replicas::new(pacing.max_lag),
            refreshed: 0,
            open_hours: 0,
            hours_at_once: HOURS_AT_FIRST,
            has_refreshed: false,
        })
    }

    async fn go_through(&self, progress: &mut Progress<'_>) -> Result<Repaired, RepairError> {
        self.tell(progress);
        let mut held = Vec::new();
        let mut end = self.walk(progress, &mut held).await?;
        if matches!(end, End::AllReached) {
            end = self.walk_held(progress, held).await?;
        }
        if progress.writer.refresh == Refresh::Now {
            self.refresh(progress, true).await?;
        }
        self.finish(progress, end).await
    }

    /// Takes all rows in order, and collects those that other sessions have locked.
    async fn walk(&self, progress: &mut Progress<'_>, held: &mut Vec<i64>) -> Result<End, RepairError> {
        // This reads past the rows that are done. No lock is held meanwhile.
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

    /// Tries locked rows again until all are done, or none was done within the lock wait.
    async fn walk_held(&self, progress: &mut Progress<'_>, mut held: Vec<i64>) -> Result<End, RepairError> {
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
                let holder = Self::holder(progress, &held).await?;
                self.observer.tell(RepairEvent::RowsLocked { rows: held.len() as u64, holder });
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

    /// Waits for the replicas, then returns whether the deadline has passed.
    async fn is_out_of_time(&self, progress: &mut Progress<'_>) -> Result<bool, RepairError> {
        progress.replicas.keep_up(self.connection, progress.deadline, self.observer).await?;
        Ok(progress.deadline.is_some_and(|deadline| Instant::now() >= deadline))
    }

    /// One batch, and a refresh if one is due; none if no row is left.
    async fn step(&self, progress: &mut Progress<'_>, take: Take<'_>) -> Result<Option<Batch>, RepairError> {
        let Some(batch) = progress.writer.batch(take).await? else { return Ok(None) };
        progress.done += batch.applied + batch.left;
        progress.open_hours += batch.hours;
        self.tell(progress);
        if progress.writer.refresh == Refresh::Now && progress.open_hours >= progress.hours_at_once {
            self.refresh(progress, false).await?;
        }
        Ok(Some(batch))
    }

    /// Refreshes what depends on the rows that this run, in any of its executions, has changed since the last refresh.
    async fn refresh(&self, progress: &mut Progress<'_>, last: bool) -> Result<(), RepairError> {
        let Some(derived) = progress.writer.change().rows.derived else { return Ok(()) };
        progress.replicas.keep_up(self.connection, progress.deadline, self.observer).await?;
        let transaction = progress.writer.begin().await?;
        let began = Instant::now();
        let window = journal::not_refreshed(&transaction, progress.run, !progress.has_refreshed, last).await?;
        if let Some((from, to)) = window {
            let refresh = derived.refresh(&transaction, &from, &to);
            progress.refreshed += transaction.as_role(self.role, refresh).await?;
            journal::refreshed(&transaction, progress.run).await?;
        }
        transaction.commit().await?;
        let took = began.elapsed();
        if took > LONG_REFRESH {
            progress.hours_at_once = (progress.hours_at_once / 2).max(1);
        } else if took < SHORT_REFRESH {
            progress.hours_at_once = (progress.hours_at_once * 2).min(MOST_HOURS);
        }
        progress.open_hours = 0;
        progress.has_refreshed = true;
        Ok(())
    }

    async fn finish(&self, progress: &Progress<'_>, end: End) -> Result<Repaired, RepairError> {
        let (run, change) = (progress.run, progress.writer.change());
        let sums = self.sums(run, change).await?;
        let holder = match &end {
            End::HeldByOthers(held) => Self::holder(progress, held).await?,
            _ => None,
        };
        let state = match end {
            End::AllReached => RunState::Done,
            End::HeldByOthers(_) => RunState::Incomplete,
            End::OutOfTime => RunState::Stopped,
        };
        // Before the count: if the transaction ends in between, the count sees its rows.
        let long_transaction = self.task.long_transaction(self.connection).await?;
        // The check reads the table itself. A run that is out of time has no time for it.
        let left_over = match change.left_over(run) {
            Some(sql) if state != RunState::Stopped => {
                let transaction = self.connection.begin().await?;
                transaction.batch(LOOK).await?;
                let left: i64 = transaction.query_one(&sql, &[]).await?.get("rows");
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
            long_transaction,
            refresh: progress.writer.refresh,
            refreshed: progress.refreshed,
            duration: self.started.elapsed(),
        };
        let totals = repaired.to_json(&change.rows);
        if !change.stamps_nothing() {
            let transaction = self.connection.begin().await?;
            past::mark(&transaction, self.role, change.rows.table, run).await?;
            transaction.commit().await?;
        }
        journal::close(self.connection, run, state, Some(&totals)).await?;
        Ok(repaired)
    }

    async fn sums(&self, run: i64, change: &Change) -> Result<Sums, db::Error> {
        let row = self.connection.query_one(&change.sums(), &[&run]).await?;
        let count = |name: &str| row.try_get::<_, i64>(name).map(i64::unsigned_abs);
        let done = Totals::from_row(&row)?;
        Ok(Sums { done, changed: count("changed")?, gone: count("gone")?, waiting: count("waiting")? })
    }

    /// A session that has one of these rows locked; looking at a few rows is enough.
    async fn holder(progress: &Progress<'_>, held: &[i64]) -> Result<Option<Holder>, db::Error> {
        let some = &held[..held.len().min(10)];
        let Writer { connection, .. } = &progress.writer;
        let row = connection.query_opt(&progress.writer.change().holder(), &[&progress.run, &some]).await?;
        Ok(row.map(|row| Holder::from_row(&row)))
    }

    fn tell(&self, progress: &Progress<'_>) {
        let Progress { run, done, total, rate, .. } = progress;
        let (per_second, eta) = rate.at(*done, *total);
        // At the start, the rate does not include the pauses yet.
        let batches = total.saturating_sub(*done).div_ceil(u64::from(self.pacing.batch_size));
        let pauses = self.pacing.sleep_between_batches.saturating_mul(u32::try_from(batches).unwrap_or(u32::MAX));
        let eta = eta.map(|eta| eta.max(pauses));
        self.observer.tell(RepairEvent::RepairProgress {
            run: *run,
            repair: self.task.name.clone(),
            unit: "rows".into(),
            done: *done,
            total: *total,
            per_second,
            eta,
        });
    }
}
