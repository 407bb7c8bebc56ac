//! Inspecting, executing and closing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::access::{may_change, may_write_history, owner};
use super::event::RepairEvent;
use super::execute::Execution;
use super::finding::Finding;
use super::gate::{self, Inspected};
use super::journal::{self, Opening};
use super::lag::Replicas;
use super::lines::Line;
use super::look::{OnLine, look};
use super::outcome::{Pacing, Repaired};
use super::rows::Rows;
use super::runs::{self, Run, RunState};
use super::task::Task;
use super::{RepairError, Repairs, change::Detail};
use crate::db::{self, Connection, Connector, Database, LockTimeout, Observer, Patience, RunLock};
use crate::engine::Witness;

/// How long to wait for the server to end a repair that was just killed. After that, the repair counts as running.
const PATIENCE: Duration = Duration::from_secs(2);

/// Rows per second, for estimates: less than `cargo bench --bench repair` measures.
const ROWS_PER_SECOND: u64 = 10_000;

/// Runs the repairs of one set on one database.
pub struct Repairer {
    pub(super) set: String,
    pub(super) repairs: Repairs,
    pub(super) connector: Connector,
    pub(super) observer: Observer<RepairEvent>,
    pub(super) witness: Option<Arc<dyn Witness>>,
}

/// The result of an execution or of an undo.
#[derive(Clone, Debug)]
pub enum Executed {
    /// There are no rows to change. Nothing was written.
    NothingToDo(Finding),
    /// The finding of the inspection, and the result.
    Done(Finding, Box<Repaired>),
}

impl Repairer {
    /// The repairs of `set` on `database`. Cancelling `cancel` stops a repair cleanly, even within a statement; events go to
    /// `observer`.
    pub fn new(
        set: &str,
        repairs: Repairs,
        database: Database,
        cancel: CancellationToken,
        observer: impl Fn(RepairEvent) + Send + Sync + 'static,
    ) -> Self {
        let observer = Observer::new(observer);
        let connector = Connector::new(database, cancel)
            .on_notice(observer.for_part(RepairEvent::Notice))
            .on_wait(observer.for_part(RepairEvent::Waiting));
        Self { set: set.to_owned(), repairs, connector, observer, witness: None }
    }

    /// Shows every execution that changes something to this one, before and after.
    #[must_use]
    pub fn witnessed_by(mut self, witness: Arc<dyn Witness>) -> Self {
        self.witness = Some(witness);
        self
    }

    /// Ends statements that have waited for a lock for this long; the default is ten minutes. Batches roll back much
    /// earlier, and follow their own pacing.
    pub fn wait_at_most(&self, limit: Duration) {
        self.connector.wait_at_most(limit);
    }

    /// The repairs.
    #[must_use]
    pub fn repairs(&self) -> &Repairs {
        &self.repairs
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &Database {
        self.connector.database()
    }

    /// Calls `each` with the newest runs, or all of them, newest first, while they are read. Returns how many runs there are.
    /// Writes nothing.
    ///
    /// # Errors
    ///
    /// [`RepairError`].
    pub async fn runs(&self, newest: Option<i64>, each: &mut (dyn FnMut(Run) + Send)) -> Result<u64, RepairError> {
        let connection = self.connector.clone().read_only().connect("migrate: repair runs").await?;
        db::refuse_superuser(&connection, &[], &[], db::Purpose::Look).await?;
        journal::may_read(&connection).await?;
        // If no session holds the lock of repairs, a run recorded as running was killed.
        let at_work = db::holder(&connection, &db::REPAIR.session).await?.is_some();
        let mut tell = |mut run: Run| {
            if run.state == RunState::Running && !at_work {
                run.state = RunState::Interrupted;
            }
            each(run);
        };
        let all = runs::runs(&connection, newest, &mut tell).await?;
        connection.close().await;
        Ok(all)
    }

    /// What a repair would do. Calls `on_line` with every line while it is read; the finding keeps as many as fit on a page.
    /// Writes nothing: the session is read-only.
    ///
    /// # Errors
    ///
    /// [`RepairError`].
    pub async fn look(
        &self,
        name: &str,
        arguments: &Value,
        pacing: &Pacing,
        on_line: &mut (dyn FnMut(&Rows, &Line) + Send),
    ) -> Result<Finding, RepairError> {
        let connection = self.to_look().await?;
        let task = Task::of_repair(&connection, &self.repairs, name, arguments).await?;
        let finding = self.look_at(&connection, &task, pacing, on_line).await?;
        connection.close().await;
        Ok(finding)
    }

    /// Inspects, and applies the finding if its digest is `expected` (or none is given). A second repair at the same time is
    /// refused.
    ///
    /// # Errors
    ///
    /// [`RepairError`]. Committed batches stay; the next execution with the same arguments continues.
    pub async fn execute(
        &self,
        name: &str,
        arguments: &Value,
        expected: Option<&str>,
        pacing: &Pacing,
    ) -> Result<Executed, RepairError> {
        let started = Instant::now();
        self.repairs.repair(name, arguments)?;
        let (lock, session) = self.acquire(pacing.lock_wait).await?;
        let result = match Task::of_repair(&session, &self.repairs, name, arguments).await {
            Ok(task) => Box::pin(self.change_rows(&session, &task, expected, pacing, started)).await,
            Err(error) => Err(error),
        };
        self.after().await;
        session.close().await;
        lock.release().await;
        result
    }

    /// Closes an unfinished run, so that no execution continues it. Its changes stay, and can be undone unless its journal is
    /// incomplete. Returns the run as it was, and whether it can be undone.
    ///
    /// # Errors
    ///
    /// [`RepairError`], also if the run is finished.
    pub async fn close(&self, run: i64, lock_wait: Duration) -> Result<(Run, bool), RepairError> {
        let (lock, session) = self.acquire(lock_wait).await?;
        let closed = async {
            journal::may_write(&session).await?;
            let found = runs::run(&session, run).await?;
            if !found.state.is_unfinished() {
                let state = found.state.as_str();
                return Err(RepairError::refused(format!("run {run} is {state}: there is nothing to close")));
            }
            journal::prepare(&session, None).await?;
            journal::close(&session, run, RunState::Closed, None).await?;
            let can_be_undone = found.rows_done > 0 && journal::lost(&session, run).await?.is_none();
            Ok((found, can_be_undone))
        }
        .await;
        session.close().await;
        lock.release().await;
        closed
    }

    /// About how long changing this finding's rows would take, on a server with little other load.
    #[must_use]
    pub fn estimate(finding: &Finding, pacing: &Pacing) -> Duration {
        let rows = finding.totals.rows;
        let pauses = rows.div_ceil(u64::from(pacing.batch_size)).saturating_sub(1);
        let pauses = pacing.sleep_between_batches.saturating_mul(u32::try_from(pauses).unwrap_or(u32::MAX));
        Duration::from_secs(rows.div_ceil(ROWS_PER_SECOND)).saturating_add(pauses)
    }

    pub(super) async fn to_look(&self) -> Result<Connection, RepairError> {
        let connection = self.connector.clone().read_only().connect("migrate: repair, dry run").await?;
        db::refuse_superuser(&connection, &self.repairs.tables(), &[], db::Purpose::Look).await?;
        journal::may_read(&connection).await?;
        Ok(connection)
    }

    pub(super) async fn look_at(
        &self,
        connection: &Connection,
        task: &Task,
        pacing: &Pacing,
        on_line: OnLine<'_>,
    ) -> Result<Finding, RepairError> {
        connection.limit_lock_wait(pacing.lock_wait).await?;
        let mut finding = look(connection, task, Detail::Lines, None, pacing.refresh, on_line).await?;
        finding.unfinished = runs::unfinished(connection, &self.set, &task.name, &task.arguments).await?;
        finding.beside = runs::unfinished_beside(connection, &self.set, &task.name, &task.arguments).await?;
        finding.long_transaction = task.long_transaction(connection).await?;
        Ok(finding)
    }

    pub(super) async fn acquire(&self, lock_wait: Duration) -> Result<(RunLock, Connection), RepairError> {
        let patience = Patience::new(PATIENCE.min(lock_wait)).quiet_at_first();
        match RunLock::acquire(&self.connector, &db::REPAIR, "migrate: repair", patience).await {
            // The holder of the lock writes history and journal.
            Ok((lock, session)) => match may_write_history(&session).await {
                Ok(()) => Ok((lock, session)),
                Err(error) => {
                    session.close().await;
                    lock.release().await;
                    Err(error.into())
                }
            },
            Err(LockTimeout::TimedOut { holder, .. }) => {
                let connection = self.connector.clone().read_only().connect("migrate: repair").await?;
                db::refuse_superuser(&connection, &[], &[], db::Purpose::Look).await?;
                let run = runs::at_work(&connection).await?.map(Box::new);
                connection.close().await;
                Err(RepairError::Busy { run, holder })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Inspects and applies, or continues what an earlier execution began.
    pub(super) async fn change_rows(
        &self,
        session: &Connection,
        task: &Task,
        expected: Option<&str>,
        pacing: &Pacing,
        started: Instant,
    ) -> Result<Executed, RepairError> {
        let rows = &task.change.rows;
        journal::may_write(session).await?;
        Replicas::new(pacing.max_lag).can_be_seen(session).await?;
        let role = owner(session, rows.table, rows.derived).await?;
        let role = role.as_deref();
        may_change(session, rows, role).await?;
        journal::interrupt_killed_runs(session).await?;
        if let Some(beside) = runs::unfinished_beside(session, &self.set, &task.name, &task.arguments).await?
            && pacing.beside != Some(beside.id)
        {
            return Err(RepairError::Unfinished { run: Box::new(beside) });
        }
        let unfinished = runs::unfinished(session, &self.set, &task.name, &task.arguments).await?;
        let (finding, authorised) = if let Some(unfinished) = unfinished {
            journal::prepare(session, role).await?;
            let transaction = session.begin().await?;
            transaction.limit_lock_wait(pacing.lock_wait).await?;
            let finding = look(&transaction, task, pacing.detail(), None, pacing.refresh, &mut |_, _| {}).await?;
            transaction.rollback().await;
            self.before_rows(task, unfinished.id, &finding).await?;
            let authorised = gate::resume(session, &unfinished, expected, &finding, task.change.clone()).await?;
            self.observer.tell(RepairEvent::RepairResumed {
                run: unfinished.id,
                repair: task.name.clone(),
                done: unfinished.done,
                rows: unfinished.total,
            });
            (Finding { unfinished: Some(unfinished), ..finding }, authorised)
        } else {
            let inspected = self.inspect(session, task, pacing, role).await?;
            if inspected.finding.totals.rows == 0 && !task.closes {
                let mut finding = inspected.forget().await;
                finding.long_transaction = task.long_transaction(session).await?;
                return Ok(Executed::NothingToDo(finding));
            }
            self.before_rows(task, inspected.run, &inspected.finding).await?;
            let (finding, authorised) = inspected.authorise(expected).await?;
            let (run, repair, rows) = (authorised.run(), task.name.clone(), finding.totals.rows);
            self.observer.tell(RepairEvent::RepairStarted { run, repair, rows });
            (finding, authorised)
        };
        let execution = Execution { connection: session, task, pacing, role, observer: &self.observer, started };
        let mut repaired = Box::pin(execution.apply(&authorised)).await?;
        if let Some(since) = task.changed_since(session).await? {
            (repaired.changed, repaired.gone) = since;
        }
        Ok(Executed::Done(finding, Box::new(repaired)))
    }

    /// Writes candidates and before-images into a journal, in one pass. The journal commits when it is authorised.
    async fn inspect<'c>(
        &self,
        session: &'c Connection,
        task: &Task,
        pacing: &Pacing,
        role: Option<&'c str>,
    ) -> Result<Inspected<'c>, RepairError> {
        // In this transaction, so that a rollback also removes the tables.
        let transaction = session.begin().await?;
        transaction.limit_lock_wait(pacing.lock_wait).await?;
        journal::prepare(&transaction, role).await?;
        let Task { name, arguments, undoes, change, .. } = task;
        let hashed = json!(change.hashed);
        let opening = Opening { set: &self.set, repair: name, arguments, undoes: *undoes, hashed: Some(&hashed) };
        let run = journal::open(&transaction, &opening).await?;
        let finding = look(&transaction, task, pacing.detail(), Some(run), pacing.refresh, &mut |_, _| {}).await?;
        Ok(Inspected { transaction, run, undoes: *undoes, finding, change: change.clone(), role })
    }
}
