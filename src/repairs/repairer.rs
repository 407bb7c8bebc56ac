//! Looking, executing and undoing.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::columns::{self, Present};
use super::event::{RepairEvent, RepairObserver};
use super::execute::Execution;
use super::finding::{Finding, Line};
use super::gate::{self, Inspected};
use super::journal::{self, Opening};
use super::lag::Replicas;
use super::outcome::{Pacing, Repaired};
use super::rebuild::RebuildContext;
use super::registry::{AnyRebuild, Entry};
use super::repair::Rows;
use super::runs::{self, Run, RunState};
use super::statements::{Change, Detail};
use super::task::{OnLine, Task, look, look_and_tell, may_change, may_write_history, owner, repair_task};
use super::{RepairError, Repairs};
use crate::db::{self, Connection, Connector, Database, LockTimeout, Patience, RunLock};
use crate::engine::{Forecast, Outcome};
use crate::usage;

/// The name of an undo in the journal.
pub const UNDO: &str = "undo";

/// How long a repair that was killed a moment ago is given to end on the server, before it counts as being at work.
const PATIENCE: Duration = Duration::from_secs(2);

/// Rows a second that an estimate counts with. What `cargo bench --bench repair` sees, and some reserve.
const ROWS_PER_SECOND: u64 = 10_000;

/// Runs repairs on one database.
pub struct Repairer {
    repairs: Repairs,
    connector: Connector,
    observer: RepairObserver,
}

/// What executing a repair, or undoing one, has done.
#[derive(Clone, Debug)]
pub enum Executed {
    /// There are no such rows. Nothing was written.
    NothingToDo(Finding),
    /// Rows were gone through: what was found in the beginning, and what came of it.
    Done(Finding, Box<Repaired>),
}

/// What executing a rebuild has done.
#[derive(Clone, Debug)]
pub enum Rebuilt {
    /// There was nothing to do, for this reason. Nothing was written.
    NothingToDo(String),
    /// It was done, under this run.
    Done(i64, Outcome),
}

impl Repairer {
    /// Repairs on `database`. Cancelling `cancel` stops one cleanly, in the middle of a statement too; events go to
    /// `observer`.
    pub fn new(
        repairs: Repairs,
        database: Database,
        cancel: CancellationToken,
        observer: impl Fn(RepairEvent) + Send + Sync + 'static,
    ) -> Self {
        let observer: RepairObserver = Arc::new(observer);
        let (notices, waits) = (Arc::clone(&observer), Arc::clone(&observer));
        let connector = Connector::new(database, cancel)
            .on_notice(db::Observer::new(move |notice| notices(RepairEvent::Notice(notice))))
            .on_wait(db::Observer::new(move |waiting| waits(RepairEvent::Waiting(waiting))));
        Self { repairs, connector, observer }
    }

    /// Ends statements that have waited for somebody else's lock for this long, ten minutes unless it is said. Batches
    /// step back from locks much earlier, and go by their own pacing.
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

    /// Tells the newest runs, or all of them, the newest first, while they are read; and how many there are. Writes nothing.
    ///
    /// # Errors
    ///
    /// When the database cannot be asked.
    pub async fn runs(&self, newest: Option<i64>, each: &mut (dyn FnMut(Run) + Send)) -> Result<u64, RepairError> {
        let connection = self.connector.clone().read_only().connect("migrate: repair runs").await?;
        db::refuse_superuser(&connection, &[], &[], db::Purpose::Look).await?;
        journal::may_read(&connection).await?;
        // If nobody is at work, what says so was killed.
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

    /// What a repair would do. Writes nothing: the server is told to refuse every write of this session.
    ///
    /// # Errors
    ///
    /// [`RepairError`].
    pub async fn look(&self, name: &str, arguments: &Value, lock_wait: Duration) -> Result<Finding, RepairError> {
        self.look_and_tell(name, arguments, lock_wait, &mut |_, _| {}).await
    }

    /// The same, and tells every line of what is found while it is read; a finding keeps as many as a page takes.
    ///
    /// # Errors
    ///
    /// [`RepairError`].
    pub async fn look_and_tell(
        &self,
        name: &str,
        arguments: &Value,
        lock_wait: Duration,
        on_line: &mut (dyn FnMut(&Rows, &Line) + Send),
    ) -> Result<Finding, RepairError> {
        let repair = self.repairs.repair(name)?;
        let connection = self.to_look().await?;
        let task = repair_task(&connection, repair, arguments).await?;
        connection.limit_lock_wait(lock_wait).await?;
        let finding = self.look_at(&connection, &task, on_line).await?;
        connection.close().await;
        Ok(finding)
    }

    /// Inspects, and applies what was found, if it is what `expected` stands for. One repair at a time: another one is
    /// refused.
    ///
    /// # Errors
    ///
    /// [`RepairError`]. Batches that were committed stay; the next execution with the same arguments goes on.
    pub async fn execute(
        &self,
        name: &str,
        arguments: &Value,
        expected: Option<&str>,
        pacing: &Pacing,
    ) -> Result<Executed, RepairError> {
        let started = Instant::now();
        let repair = self.repairs.repair(name)?;
        let (lock, session) = self.acquire(pacing.lock_wait).await?;
        let result = match repair_task(&session, repair, arguments).await {
            Ok(task) => Box::pin(self.change_rows(&session, &task, expected, pacing, started)).await,
            Err(error) => Err(error),
        };
        session.close().await;
        lock.release().await;
        result
    }

    /// What a rebuild would do. Writes nothing.
    ///
    /// # Errors
    ///
    /// [`RepairError`].
    pub async fn forecast(&self, name: &str, arguments: &Value) -> Result<Forecast, RepairError> {
        let rebuild = self.repairs.rebuild(name)?;
        let connection = self.to_look().await?;
        let unfinished = runs::unfinished(&connection, name, arguments).await?.map(|unfinished| unfinished.id);
        let cx = self.rebuild_context(name, unfinished, None, &Pacing::default());
        let forecast = rebuild.inspect(&connection, &cx, arguments).await?;
        connection.close().await;
        Ok(forecast)
    }

    /// Inspects, and rebuilds. Of `pacing`, only the pause and the wait for locks concern a rebuild.
    ///
    /// # Errors
    ///
    /// [`RepairError`]. What was committed stays; the next execution with the same arguments goes on.
    pub async fn rebuild(&self, name: &str, arguments: &Value, pacing: &Pacing) -> Result<Rebuilt, RepairError> {
        let rebuild = self.repairs.rebuild(name)?;
        let (lock, session) = self.acquire(pacing.lock_wait).await?;
        let result = Box::pin(self.run_rebuild(&session, rebuild, arguments, pacing)).await;
        session.close().await;
        lock.release().await;
        result
    }

    /// What undoing a run would do. Writes nothing.
    ///
    /// # Errors
    ///
    /// [`RepairError`].
    pub async fn undo_dry_run(&self, run: i64, lock_wait: Duration) -> Result<(Rows, Finding), RepairError> {
        self.undo_dry_run_and_tell(run, lock_wait, &mut |_, _| {}).await
    }

    /// The same, and tells every line as [`Self::look_and_tell`] does.
    ///
    /// # Errors
    ///
    /// [`RepairError`].
    pub async fn undo_dry_run_and_tell(
        &self,
        run: i64,
        lock_wait: Duration,
        on_line: &mut (dyn FnMut(&Rows, &Line) + Send),
    ) -> Result<(Rows, Finding), RepairError> {
        let connection = self.to_look().await?;
        let task = self.undo_task(&connection, run).await?;
        connection.limit_lock_wait(lock_wait).await?;
        let finding = self.look_at(&connection, &task, on_line).await?;
        connection.close().await;
        Ok((task.change.rows, finding))
    }

    /// Gives every row that still is as the run left it what it had before.
    ///
    /// # Errors
    ///
    /// [`RepairError`].
    pub async fn undo(
        &self,
        run: i64,
        expected: Option<&str>,
        pacing: &Pacing,
    ) -> Result<(Rows, Executed), RepairError> {
        let started = Instant::now();
        let (lock, session) = self.acquire(pacing.lock_wait).await?;
        let result = match self.undo_task(&session, run).await {
            Ok(task) => {
                let executed = Box::pin(self.change_rows(&session, &task, expected, pacing, started)).await;
                executed.map(|executed| (task.change.rows, executed))
            }
            Err(error) => Err(error),
        };
        session.close().await;
        lock.release().await;
        result
    }

    /// Closes a run that has not come to its end, so that nobody goes on with it. What it has changed stays, and can be
    /// undone, unless its journal is incomplete. How it stood, and whether it can be undone.
    ///
    /// # Errors
    ///
    /// [`RepairError`], also if the run has come to its end.
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

    /// About how long changing this finding's rows would take, on a server that does not do much else.
    #[must_use]
    pub fn estimate(finding: &Finding, pacing: &Pacing) -> Duration {
        let rows = finding.totals.rows;
        let pauses = rows.div_ceil(u64::from(pacing.batch_size)).saturating_sub(1);
        let pauses = pacing.sleep_between_batches.saturating_mul(u32::try_from(pauses).unwrap_or(u32::MAX));
        Duration::from_secs(rows.div_ceil(ROWS_PER_SECOND)).saturating_add(pauses)
    }

    async fn to_look(&self) -> Result<Connection, RepairError> {
        let connection = self.connector.clone().read_only().connect("migrate: repair, dry run").await?;
        usage::may_look(&connection).await?;
        journal::may_read(&connection).await?;
        Ok(connection)
    }

    async fn look_at(
        &self,
        connection: &Connection,
        task: &Task<'_>,
        on_line: OnLine<'_>,
    ) -> Result<Finding, RepairError> {
        let mut finding = look_and_tell(connection, task, Detail::Lines, None, on_line).await?;
        finding.unfinished = runs::unfinished(connection, task.name, &task.arguments).await?;
        finding.beside = runs::unfinished_beside(connection, task.name, &task.arguments).await?;
        finding.straggler = task.straggler(connection).await?;
        Ok(finding)
    }

    async fn acquire(&self, lock_wait: Duration) -> Result<(RunLock, Connection), RepairError> {
        let patience = Patience::new(PATIENCE.min(lock_wait)).quiet_at_first();
        match RunLock::acquire(&self.connector, &db::REPAIR, "migrate: repair", patience).await {
            // Whoever holds the lock writes history and journal.
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

    async fn change_rows(
        &self,
        session: &Connection,
        task: &Task<'_>,
        expected: Option<&str>,
        pacing: &Pacing,
        started: Instant,
    ) -> Result<Executed, RepairError> {
        journal::may_write(session).await?;
        Replicas::new(pacing.max_lag).can_be_seen(session).await?;
        let role = owner(session, task.change.rows.table).await?;
        may_change(session, &task.change.rows, role.as_deref()).await?;
        journal::nobody_is_at_work(session).await?;
        if let Some(beside) = runs::unfinished_beside(session, task.name, &task.arguments).await?
            && pacing.beside != Some(beside.id)
        {
            return Err(RepairError::Unfinished { run: Box::new(beside) });
        }
        let unfinished = runs::unfinished(session, task.name, &task.arguments).await?;
        let (finding, authorised, (done, total)) = if let Some(unfinished) = unfinished {
            journal::prepare(session, role.as_deref()).await?;
            let transaction = session.begin().await?;
            transaction.limit_lock_wait(pacing.lock_wait).await?;
            let finding = look(&transaction, task, pacing.detail(), None).await?;
            transaction.rollback().await;
            let finding = Finding { unfinished: Some(unfinished.clone()), ..finding };
            let authorised = gate::resume(session, &unfinished, expected, finding.clone()).await?;
            (self.observer)(RepairEvent::RepairResumed {
                run: unfinished.id,
                repair: task.name.to_owned(),
                done: unfinished.done,
                rows: unfinished.total,
            });
            (finding, authorised, (unfinished.done, unfinished.total))
        } else {
            let inspected = self.inspect(session, task, pacing, role.as_deref()).await?;
            let finding = inspected.finding().clone();
            if finding.totals.rows == 0 && !task.closes {
                let mut finding = inspected.forget().await;
                finding.straggler = task.straggler(session).await?;
                return Ok(Executed::NothingToDo(finding));
            }
            let authorised = inspected.authorise(expected).await?;
            let (run, repair, rows) = (authorised.run(), task.name.to_owned(), finding.totals.rows);
            (self.observer)(RepairEvent::RepairStarted { run, repair, rows });
            (finding, authorised, (0, rows))
        };
        let mut change = task.change.clone();
        if !change.stamps_nothing() {
            change.not_before = Some(journal::began(session, authorised.run()).await?);
        }
        let execution = Execution {
            connection: session,
            change: &change,
            repair: task.name,
            pacing,
            role: role.as_deref(),
            observer: &self.observer,
            started,
            done,
            total,
            cutoff: task.cutoff.as_deref(),
        };
        let mut repaired = Box::pin(execution.apply(authorised)).await?;
        if let Some(since) = task.changed_since(session).await? {
            (repaired.changed, repaired.gone) = since;
        }
        Ok(Executed::Done(finding, Box::new(repaired)))
    }

    /// Candidates and before-images in one pass, into a journal that commits when it is authorised.
    async fn inspect<'c>(
        &self,
        session: &'c Connection,
        task: &Task<'_>,
        pacing: &Pacing,
        role: Option<&'c str>,
    ) -> Result<Inspected<'c>, RepairError> {
        // Where nothing comes of it, the tables are not left behind either.
        let transaction = session.begin().await?;
        transaction.limit_lock_wait(pacing.lock_wait).await?;
        journal::prepare(&transaction, role).await?;
        let Task { name, arguments, undoes, change, .. } = task;
        let hashed = json!(change.hashed);
        let opening = Opening { repair: name, arguments, undoes: *undoes, hashed: Some(&hashed) };
        let run = journal::open(&transaction, &opening).await?;
        let finding = look(&transaction, task, pacing.detail(), Some(run)).await?;
        Ok(Inspected { transaction, run, undoes: *undoes, finding, table: change.rows.table, role })
    }

    /// What undoing a run takes.
    async fn undo_task(&self, connection: &Connection, run: i64) -> Result<Task<'static>, RepairError> {
        // What an undo has done can be undone as well: the rows are those of the repair it began with.
        let mut first = runs::run(connection, run).await?;
        let closes = first.state.is_unfinished();
        while let Some(undoes) = first.undoes {
            if undoes >= first.id {
                let what =
                    format!("run {} is recorded as an undo of run {undoes}, which did not come before it", first.id);
                return Err(RepairError::refused_with_hint(
                    what,
                    "somebody has changed migrate.repair_run: restore that row",
                ));
            }
            first = runs::run(connection, undoes).await?;
        }
        let rows = match self.repairs.get(&first.repair) {
            Some(Entry::Rows(repair)) => repair.rows(),
            Some(Entry::Rebuild(_)) => {
                let what = "which changes no rows that could be given back";
                return Err(RepairError::refused(format!("run {run} was of {}, {what}", first.repair)));
            }
            None => {
                let what = "which this program does not have";
                return Err(RepairError::refused(format!("run {run} was of {}, {what}", first.repair)));
            }
        };
        if let Some((there, found)) = journal::lost(connection, run).await? {
            let left = if there == 0 { "is gone".to_owned() } else { format!("knows {there} of {found} rows") };
            return Err(RepairError::refused_with_hint(
                format!("the journal of run {run} {left}, so it cannot be undone"),
                "restore migrate.repair_change from a backup",
            ));
        }
        let present = columns::of_table(connection, rows.table).await?;
        let then: Option<Vec<Present>> =
            journal::hashed(connection, run).await?.and_then(|hashed| serde_json::from_value(hashed).ok());
        // A column that is gone, or of another type, has no hash to compare with.
        let then = then.filter(|then| !then.is_empty() && then.iter().all(|column| present.contains(column)));
        Ok(Task {
            name: UNDO,
            arguments: json!({ "run": run }),
            change: Change::undo(rows, &present, run, then.as_deref()),
            then,
            undoes: Some(run),
            closes,
            cutoff: None,
        })
    }

    fn rebuild_context(&self, name: &str, run: Option<i64>, role: Option<String>, pacing: &Pacing) -> RebuildContext {
        RebuildContext {
            name: name.to_owned(),
            run,
            role,
            lock_wait: pacing.lock_wait,
            pause: pacing.sleep_between_batches,
            observer: Arc::clone(&self.observer),
            rate: Mutex::new(None),
        }
    }

    async fn run_rebuild(
        &self,
        session: &Connection,
        rebuild: &dyn AnyRebuild,
        arguments: &Value,
        pacing: &Pacing,
    ) -> Result<Rebuilt, RepairError> {
        let name = rebuild.name();
        journal::may_write(session).await?;
        journal::nobody_is_at_work(session).await?;
        let role = owner(session, "task_usage").await?;
        let unfinished = runs::unfinished(session, name, arguments).await?.map(|unfinished| unfinished.id);
        let cx = self.rebuild_context(name, unfinished, role.clone(), pacing);
        let forecast = rebuild.inspect(session, &cx, arguments).await?;
        if !forecast.work {
            return Ok(Rebuilt::NothingToDo(forecast.summary));
        }
        journal::prepare(session, role.as_deref()).await?;
        let authorised = gate::rebuild(session, name, arguments, forecast, unfinished).await?;
        let run = authorised.run();
        let cx = self.rebuild_context(name, Some(run), role, pacing);
        match rebuild.run(session, &cx, arguments, &authorised).await {
            Ok(outcome) => {
                journal::close(session, run, RunState::Done, Some(&Value::Object(outcome.details.clone()))).await?;
                Ok(Rebuilt::Done(run, outcome))
            }
            Err(error) => {
                journal::close_after(session, run, &error).await;
                Err(error)
            }
        }
    }
}
