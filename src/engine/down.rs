//! Going back: taking versions back, newest first.

use std::time::Instant;

use migrate_layout::Script;
use tokio_postgres::error::SqlState;

use super::apply::{Try, failed_at, masked};
use super::data::{self, Judged};
use super::down_error::DownError;
use super::down_plan::{self, DownOptions, DownPlan, DownStep};
use super::event::Event;
use super::mode::{Alone, Mode};
use super::record::{self, AlsoIn, Around};
use super::session::{LOCK_TIMEOUT, READ_AS_WRITTEN};
use super::tool;
use super::{Error, Migrator, UpOptions, Version, fitness, history, invalid_index, owner, repeat, sql};
use crate::db::{self, Connection, Patience, Rights, RunLock, ServerFacts};

/// What going back has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownSummary {
    /// Version of the database now.
    pub version: Version,
    /// Versions taken back by this run.
    pub migrations: usize,
}

/// What one version is taken back with.
struct Work<'a> {
    step: &'a DownStep,
    script: &'a Script,
    judged: Judged,
    /// Takes it out of the histories.
    record: String,
    role: Option<&'a str>,
}

/// What the server says of a table or column that is gone.
const MISSING: [SqlState; 2] = [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN];

/// When a plan is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Before the lock is held: another run may be at work between one question and the next.
    First,
    /// For good.
    Locked,
}

impl Migrator {
    /// What [`Self::down`] would take back, with the data that it would lose. Writes nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::down`], but for what loses data: [`DownPlan::check_losses`] tells.
    pub async fn preview_down(&self, options: &DownOptions) -> Result<DownPlan, Error> {
        let connection = self.connector.clone().read_only().connect("migrate: down").await?;
        let facts = self.look_at_server(&connection).await?;
        let plan = self.down_plan(&connection, &facts, options, Look::Locked).await?;
        connection.close().await;
        Ok(plan)
    }

    /// Takes versions back, newest first, each with its record. One run at a time: others wait.
    ///
    /// # Errors
    ///
    /// [`Error`]. Versions taken back before the error stay so; the one it happened in is as it was.
    pub async fn down(&self, options: &DownOptions) -> Result<DownSummary, Error> {
        self.wait_at_most(options.lock_wait);
        self.connector.choose_anew().await;
        let started = Instant::now();
        let connection = self.connector.clone().read_only().connect("migrate: down").await?;
        let facts = self.look_at_server(&connection).await?;
        let shown = self.down_plan(&connection, &facts, options, Look::First).await;
        connection.close().await;
        let shown = shown?;
        shown.check_losses(options)?;
        if shown.steps.is_empty() {
            return Ok(self.finish_down(DownSummary { version: shown.current, migrations: 0 }, started));
        }
        let patience = Patience::new(options.lock_wait);
        let mut locks = self.set.run_locks();
        if let Some(table) = shown.tool.clone().or_else(|| self.set.tool_table(facts.schema.as_deref())) {
            locks.others = tool::locks(&table, &facts.database);
        }
        let (lock, session) = RunLock::acquire(&self.connector, &locks, "migrate: down", patience).await?;
        let result = tokio::select! {
            result = Box::pin(self.down_locked(&session, &lock, &shown, options, started)) => result,
            never = lock.keep(&self.connector) => match never {},
        };
        self.after().await;
        session.close().await;
        lock.release().await;
        result
    }

    async fn down_locked(
        &self,
        connection: &Connection,
        lock: &RunLock,
        shown: &DownPlan,
        options: &DownOptions,
        started: Instant,
    ) -> Result<DownSummary, Error> {
        let facts = ServerFacts::read(connection).await?;
        // Another run may have gone back meanwhile: so far, and no further.
        let until = DownOptions { to: Some(options.to.unwrap_or(shown.target)), ..options.clone() };
        let plan = self.down_plan(connection, &facts, &until, Look::Locked).await?;
        if let Some(version) = plan
            .steps
            .iter()
            .map(|step| step.version)
            .find(|version| options.to.is_none() && !shown.steps.iter().any(|step| step.version == *version))
        {
            return Err(DownError::Moved { version }.into());
        }
        plan.check_losses(options)?;
        let mut summary = DownSummary { version: plan.current, migrations: 0 };
        if plan.steps.is_empty() {
            return Ok(self.finish_down(summary, started));
        }
        let role = owner::acting_role(connection, &self.set, &facts).await?;
        self.before_down(&plan, role.as_deref()).await?;
        history::prepare(connection, &self.set).await?;
        if let Some(role) = &role {
            db::share_history(connection, role).await?;
        }
        self.observer.tell(plan.event());
        let mut renamed = false;
        for (at, step) in plan.steps.iter().enumerate() {
            lock.check().await?;
            self.begins().await?;
            self.take_back(connection, &plan, step, renamed, role.as_deref(), options).await?;
            self.ends(connection).await?;
            renamed |= step.migration.down().is_some_and(|(script, _)| data::renames(script));
            summary.migrations += 1;
            summary.version = plan.steps.get(at + 1).map_or(plan.target, |next| next.version);
        }
        Ok(self.finish_down(summary, started))
    }

    fn finish_down(&self, summary: DownSummary, started: Instant) -> DownSummary {
        let DownSummary { version, migrations } = summary;
        self.observer.tell(Event::DownFinished { version, migrations, duration: started.elapsed() });
        summary
    }

    /// Plans, looks at the data, and makes sure that this role can carry the plan out.
    async fn down_plan(
        &self,
        connection: &Connection,
        facts: &ServerFacts,
        options: &DownOptions,
        look: Look,
    ) -> Result<DownPlan, Error> {
        let history = self.history(connection, history::Extent::Whole).await?;
        self.refuse_misplaced(connection, facts, &history, false).await?;
        self.judge(connection, &history).await?;
        let mut plan = DownPlan::new(&self.set, &history, options)?;
        if plan.steps.is_empty() {
            return Ok(plan);
        }
        down_plan::refuse_later_entries(connection, &self.set, &plan).await?;
        db::check_history(connection).await?;
        owner::acting_role(connection, &self.set, facts).await?;
        fitness::check_rights(facts, &Rights::read(connection).await?)?;
        for step in plan.steps.iter().filter(|step| step.recorded_in.is_some()) {
            down_plan::refuse_closed(connection, facts, &plan, step).await?;
        }
        let mut renamed = false;
        for step in &mut plan.steps {
            let Some((script, _)) = step.migration.down() else { continue };
            step.losses = match data::judge(connection, script, renamed).await {
                Ok(judged) => judged.losses,
                // Another run has taken it back since the history was read. It is looked at again when nobody can.
                Err(error) if look == Look::First && MISSING.iter().any(|state| error.is(state)) => break,
                Err(error) => return Err(error.into()),
            };
            renamed |= data::renames(script);
        }
        Ok(plan)
    }

    /// Takes one version back. What cannot get its locks soon rolls back and tries again, so that the application does not wait.
    async fn take_back(
        &self,
        connection: &Connection,
        plan: &DownPlan,
        step: &DownStep,
        renamed: bool,
        role: Option<&str>,
        options: &DownOptions,
    ) -> Result<(), Error> {
        let Some((script, mode)) = step.migration.down() else { return Ok(()) };
        let (version, name) = (step.version, step.name.clone());
        step.hooks_not_undone().for_each(|event| self.observer.tell(event));
        self.observer.tell(Event::DownStarted { version, name: name.clone(), file: step.file.clone() });
        let started = Instant::now();
        let judged = data::judge(connection, script, renamed).await?;
        if let Some(loss) = judged.losses.iter().find(|_| !options.lose_data) {
            let (file, loses) = (step.file.clone(), loss.what.to_string());
            return Err(DownError::DataCame { file, loses }.into());
        }
        let judged = if options.lose_data { Judged::default() } else { judged };
        let work = Work { step, script, judged, record: self.unrecord(plan, step), role };
        let options = UpOptions { lock_wait: options.lock_wait, ..UpOptions::default() };
        let retried = |reason, attempts, holder| {
            let name = name.clone();
            self.observer.tell(Event::MigrationRetried { version, name, reason, attempts, holder });
        };
        if let Mode::NoTransaction { statements } = mode {
            self.take_back_alone(connection, &work, statements, &options, retried).await?;
        } else {
            let attempt = async |this: Try<'_>| {
                let once = async {
                    match mode {
                        Mode::OwnTransaction { record_at } => Ok(work.in_own_transaction(connection, *record_at).await),
                        _ => self.take_back_in_transaction(connection, plan, &work).await,
                    }
                };
                self.noting(connection, this, Box::pin(once)).await
            };
            let start = script.text.len() - sql::without_mark(&script.text).len();
            let done = self.patiently(connection, &options, retried, attempt).await?;
            done.map_err(|(error, holder)| self.down_failed(&work, start, error, holder))?;
        }
        let recorded_in = step.recorded_in.clone();
        self.observer.tell(Event::TakenBack { version, name, recorded_in, duration: started.elapsed() });
        Ok(())
    }

    /// The statements that take a version out of our history, and out of that of the other tool.
    fn unrecord(&self, plan: &DownPlan, step: &DownStep) -> String {
        let ours = record::history_delete(&self.set, &step.migration);
        let also = match (&plan.tool, &plan.ledger) {
            (Some(table), _) => Some(AlsoIn::Tool(table)),
            (None, Some(table)) => Some(AlsoIn::Ledger(table)),
            (None, None) => None,
        };
        let theirs = also.filter(|_| step.recorded_in.is_some());
        let theirs = theirs.map(|also| record::also_delete(&self.set, &step.migration, also, step.previous.as_ref()));
        // What a way back drops may be of their making; they are applied again after the next run's versions.
        let repeatables = self.set.repeatables().iter().filter(|repeatable| !repeatable.is_compared);
        let again = repeatables.map(|repeatable| repeat::forget(&self.set, repeatable)).collect::<Vec<_>>();
        [Some(ours), theirs].into_iter().flatten().chain(again).collect::<Vec<_>>().join(";\n")
    }

    /// The file and its record in one transaction.
    async fn take_back_in_transaction(
        &self,
        connection: &Connection,
        plan: &DownPlan,
        work: &Work<'_>,
    ) -> Result<Result<(), db::Error>, Error> {
        let transaction = connection.begin().await?;
        let result: Result<bool, db::Error> = async {
            transaction.batch(&[READ_AS_WRITTEN, LOCK_TIMEOUT].join(";\n")).await?;
            let run = async {
                if let Some(guard) = work.judged.guard() {
                    transaction.batch(&guard).await?;
                }
                transaction.batch(sql::without_mark(&work.script.text)).await
            };
            transaction.as_role(work.role, run).await?;
            transaction.batch(&work.record).await?;
            let history = history::History::read(&transaction, &self.set, history::Extent::Run).await?;
            Ok(history.is_recorded(work.step.version))
        }
        .await;
        match result {
            Ok(false) => Ok(transaction.commit().await),
            Ok(true) => {
                transaction.rollback().await;
                let table = plan.ledger.clone().unwrap_or_default();
                Err(DownError::StillRecorded { version: work.step.version, table }.into())
            }
            Err(error) => {
                transaction.rollback().await;
                Ok(Err(error))
            }
        }
    }

    /// Step by step, then the record. A kill in between leaves those that have run, and runs them again.
    async fn take_back_alone(
        &self,
        connection: &Connection,
        work: &Work<'_>,
        statements: &[Alone],
        options: &UpOptions,
        retried: impl Fn(String, u32, Option<db::Holder>),
    ) -> Result<(), Error> {
        let guard = work.judged.guard();
        let recorded_with = statements.last().filter(|step| step.in_transaction);
        for statement in statements {
            if let Some(index) = &statement.index {
                // An interrupted build has left it, and IF NOT EXISTS would accept it.
                invalid_index::drop_invalid(connection, index, options.lock_wait).await?;
            }
            let record = recorded_with.filter(|last| *last == statement).map(|_| work.record.as_str());
            let around = Around { role: work.role, guard: guard.as_deref(), record };
            let attempt = async |this: Try<'_>| {
                if let (false, Some(index)) = (this.is_first, &statement.index) {
                    invalid_index::drop_invalid(connection, index, options.lock_wait).await?;
                }
                // A step in a transaction looks again in that. One that builds an index takes nothing away.
                if let Some(guard) = guard.as_deref().filter(|_| !statement.in_transaction && statement.index.is_none())
                    && let Err(error) = connection.batch(guard).await
                {
                    return Ok(Err(error));
                }
                Box::pin(self.run_watched(connection, &work.step.file, statement, around)).await
            };
            let done = self.patiently(connection, options, &retried, attempt).await?;
            done.map_err(|(error, holder)| self.down_failed(work, statement.start, error, holder))?;
        }
        if recorded_with.is_some() {
            return Ok(());
        }
        connection.batch(&work.record).await.map_err(|error| self.down_failed(work, 0, error, None))
    }

    fn down_failed(&self, work: &Work<'_>, start: usize, error: db::Error, holder: Option<db::Holder>) -> Error {
        let file = work.step.file.clone();
        let error = masked(work.script, error);
        match &error {
            db::Error::Server(report) if data::found_by_guard(report).is_some() => {
                let loses = data::found_by_guard(report).unwrap_or_default();
                DownError::DataCame { file, loses }.into()
            }
            db::Error::Server(report) if error.is(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE) => {
                let (version, report) = (work.step.version, report.clone());
                Error::Refused { file, version, report, skipped: Vec::new() }
            }
            db::Error::Server(report) if error.is(&SqlState::DEPENDENT_OBJECTS_STILL_EXIST) => {
                let made_by = self.made_by(report.detail.as_deref().unwrap_or_default());
                DownError::Needed { file, report: report.clone(), made_by }.into()
            }
            _ => failed_at(work.script, start, error, holder),
        }
    }

    /// The repeatable file that makes one of the objects that a report names.
    fn made_by(&self, detail: &str) -> Option<String> {
        let said: Vec<String> =
            detail.split([' ', '\n', '(', ',', '.']).map(|word| word.trim_matches('"').to_owned()).collect();
        let makes = |repeatable: &&super::Repeatable| {
            sql::statements(repeatable.sql()).any(|statement| {
                let words: Vec<_> = statement.tokens().take(10).collect();
                let kinds = ["VIEW", "FUNCTION", "PROCEDURE", "TRIGGER", "POLICY", "TYPE", "RULE"];
                words.first().is_some_and(|word| word.is("CREATE"))
                    && words.iter().any(|word| kinds.iter().any(|kind| word.is(kind)))
                    && words.iter().skip(2).filter_map(super::Token::name).take(4).any(|name| {
                        !kinds.iter().any(|kind| name.eq_ignore_ascii_case(kind))
                            && name != "public"
                            && said.contains(&name)
                    })
            })
        };
        self.set.repeatables().iter().find(makes).map(super::Repeatable::file)
    }
}

impl Work<'_> {
    /// A file that begins and ends a transaction itself. If that is all it does, its record is part of the transaction.
    async fn in_own_transaction(&self, connection: &Connection, record_at: Option<usize>) -> Result<(), db::Error> {
        let text = &*self.script.text;
        let (Some(guard), Some(at)) = (self.judged.guard(), record_at) else {
            if let Some(guard) = self.judged.guard() {
                connection.batch(&guard).await?;
            }
            return record::as_own_transaction(connection, text, record_at, &self.record, self.role).await;
        };
        // Behind the BEGIN, so that what was found empty stays so.
        let begun = sql::statements(text).next().map_or(0, |begin| begin.end());
        let guarded = format!("{}; {guard}{}", &text[..begun], &text[begun..]);
        let more = guarded.len() - text.len();
        let ran = record::as_own_transaction(connection, &guarded, Some(at + more), &self.record, self.role).await;
        ran.map_err(|error| match error {
            // The position is counted in what was sent.
            db::Error::Server(mut report) => {
                let added = u32::try_from(guard.chars().count() + 2).unwrap_or_default();
                let begun = u32::try_from(text[..begun].chars().count()).unwrap_or_default();
                report.position = report.position.map(|at| if at > begun + added { at - added } else { at });
                db::Error::Server(report)
            }
            error => error,
        })
    }
}
