//! Applying one migration: given way where it must, watched where it waits, and its errors told apart.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use migrate_layout::Script;
use tokio_postgres::error::SqlState;

use super::event::Event;
use super::invalid_index;
use super::mode::{Alone, Mode};
use super::record::{self, Around, With};
use super::{Error, Migration, Migrator, Obstacle, UpOptions, watch};
use crate::db::{self, Connection};

/// First pause before a migration that rolled back tries again; doubled up to [`LONGEST_RETRY_PAUSE`].
const FIRST_RETRY_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(5);

/// What a migration stopped at.
struct Stopped {
    error: db::Error,
    holder: Option<db::Holder>,
    /// Where in the script the text began that was sent.
    start: usize,
}

/// A first try that takes longer than this may be waiting. Most are over by then, and need nobody to look.
const FIRST_LOOK: Duration = Duration::from_millis(50);

/// One try of several.
#[derive(Clone, Copy)]
pub(super) struct Try<'a> {
    pub is_first: bool,
    /// Whoever is in the way, once that is known.
    noted: &'a Mutex<Option<db::Holder>>,
}

impl Migrator {
    /// Applies one migration. One that cannot get its locks soon rolls back and tries again, so that the application does not wait.
    pub(super) async fn apply(
        &self,
        connection: &Connection,
        migration: &Migration,
        with: With<'_>,
        options: &UpOptions,
    ) -> Result<(), Error> {
        let (version, name, file) = (migration.version(), migration.name().to_owned(), migration.file());
        let again = with.again.map(str::to_owned);
        self.observer.tell(Event::MigrationStarted { version, name: name.clone(), file, again });
        let started = Instant::now();
        let applied = match migration.mode() {
            Mode::NoTransaction { statements } => {
                Box::pin(self.apply_alone(connection, migration, statements, with, options)).await?
            }
            Mode::Transaction | Mode::OwnTransaction { .. } => {
                let once = async || match migration.mode() {
                    Mode::OwnTransaction { record_at } => {
                        record::in_own_transaction(connection, &self.set, migration, *record_at, with).await
                    }
                    _ => record::in_transaction(connection, &self.set, migration, with).await,
                };
                let attempt =
                    async |this: Try<'_>| self.noting(connection, this, Box::pin(async { Ok(once().await) })).await;
                let applied = self.patiently(connection, options, self.retried(migration), attempt).await?;
                let start = migration.up().text.len() - migration.sql().len();
                applied.map_err(|(error, holder)| Stopped { error, holder, start })
            }
        };
        match applied {
            Ok(()) => {
                let duration = started.elapsed();
                self.observer.tell(Event::MigrationApplied { version, name, duration });
                Ok(())
            }
            Err(stopped) => Err(self.migration_error(migration, stopped, with, options)),
        }
    }

    /// Tells that a migration rolled back, and is tried again.
    fn retried(&self, migration: &Migration) -> impl Fn(String, u32, Option<db::Holder>) {
        let (version, name) = (migration.version(), migration.name().to_owned());
        move |reason, attempts, holder| {
            let name = name.clone();
            self.observer.tell(Event::MigrationRetried { version, name, reason, attempts, holder });
        }
    }

    /// Applies a migration statement by statement, and records it when the last one has succeeded.
    async fn apply_alone(
        &self,
        connection: &Connection,
        migration: &Migration,
        statements: &[Alone],
        with: With<'_>,
        options: &UpOptions,
    ) -> Result<Result<(), Stopped>, Error> {
        let record = match record::record(&self.set, migration, with) {
            Ok(record) => record,
            Err(error) => return Ok(Err(Stopped { error, holder: None, start: 0 })),
        };
        let recorded_with = statements.last().filter(|step| step.in_transaction);
        for statement in statements {
            let record = recorded_with.filter(|last| *last == statement).map(|_| record.as_str());
            let around = Around { role: with.role, guard: None, record };
            let attempt = async |this: Try<'_>| {
                // A try that could not get its lock has left its index behind, which IF NOT EXISTS would accept.
                if let (false, Some(index)) = (this.is_first, &statement.index) {
                    invalid_index::drop_invalid(connection, index, options.lock_wait).await?;
                }
                Box::pin(self.run_watched(connection, &migration.up().path, statement, around)).await
            };
            let done = self.patiently(connection, options, self.retried(migration), attempt).await?;
            if let Err((error, holder)) = done {
                return Ok(Err(Stopped { error, holder, start: statement.start }));
            }
        }
        let recorded = if recorded_with.is_some() { Ok(()) } else { record::applied(connection, &record).await };
        Ok(recorded.map_err(|error| Stopped { error, holder: None, start: 0 }))
    }

    /// Tries until it is done, or the time that the operator has is over. What cannot get its locks soon rolls back and
    /// pauses in between. In the end, the error and who was in the way.
    pub(super) async fn patiently(
        &self,
        connection: &Connection,
        options: &UpOptions,
        retried: impl Fn(String, u32, Option<db::Holder>),
        attempt: impl AsyncFn(Try<'_>) -> Result<Result<(), db::Error>, Error>,
    ) -> Result<Result<(), (db::Error, Option<db::Holder>)>, Error> {
        let started = Instant::now();
        let mut pause = FIRST_RETRY_PAUSE;
        let blocker = Mutex::new(None);
        let mut attempts = 0;
        loop {
            attempts += 1;
            let error = match attempt(Try { is_first: attempts == 1, noted: &blocker }).await? {
                Ok(()) => return Ok(Ok(())),
                Err(error) => error,
            };
            let holder = blocker.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if !gives_way(&error) || started.elapsed() + pause >= options.lock_wait {
                return Ok(Err((error, holder)));
            }
            retried(error.to_string(), attempts, holder);
            connection.pause(pause).await?;
            pause = (pause * 2).min(LONGEST_RETRY_PAUSE);
        }
    }

    /// Does the work, and notes meanwhile whom it waits for.
    pub(super) async fn noting(
        &self,
        connection: &Connection,
        this: Try<'_>,
        work: impl Future<Output = Result<Result<(), db::Error>, Error>>,
    ) -> Result<Result<(), db::Error>, Error> {
        let (pid, lock) = (connection.pid(), self.set.run_locks().run);
        let looking = async {
            if this.is_first {
                tokio::time::sleep(FIRST_LOOK).await;
            }
            watch::note_blocker(&self.connector, pid, lock, this.noted).await;
        };
        tokio::select! {
            result = work => result,
            () = looking => Err(Error::Interrupted),
        }
    }

    /// Runs one step of a file that is in no transaction, once. It is watched while it waits for others; the outer error says that it
    /// would never have ended.
    pub(super) async fn run_watched(
        &self,
        connection: &Connection,
        file: &str,
        statement: &Alone,
        around: Around<'_>,
    ) -> Result<Result<(), db::Error>, Error> {
        let (pid, lock) = (connection.pid(), self.set.run_locks().run);
        let given_up = Mutex::new(None);
        let running = record::step(connection, statement, around);
        tokio::pin!(running);
        let result = tokio::select! {
            result = &mut running => result,
            watched = watch::watch(&self.connector, pid, lock, &self.observer, &given_up) => {
                if let Err(error) = watched {
                    tracing::debug!("the statement is not watched any more: {error}");
                }
                // Whatever became of the watch, the statement is waited for; if it was cancelled, that is soon.
                running.await
            }
        };
        // The statement can end before the watch has heard that its cancelling it has worked.
        let given_up = given_up.into_inner().unwrap_or_else(PoisonError::into_inner);
        match (result, given_up) {
            (Err(error), Some(holder)) => {
                tracing::debug!("given up: {error}");
                if let Some(index) = &statement.index {
                    invalid_index::leave_nothing(connection, index).await?;
                }
                Err(Error::Entangled { file: file.to_owned(), holder: Box::new(holder) })
            }
            // Not valid, and yet it refuses rows, if it is unique.
            (Err(error @ db::Error::Server(_)), None) => {
                if let Some(index) = &statement.index
                    && let Err(left) = invalid_index::leave_nothing(connection, index).await
                {
                    self.observer.tell(Event::Notice(left_behind(&index.name, &left)));
                }
                Ok(Err(error))
            }
            (Err(error), None) => Ok(Err(error)),
            (Ok(()), _) => Self::must_be_usable(connection, file, statement).await,
        }
    }

    /// With IF NOT EXISTS, a statement succeeds beside a broken index of that name, too.
    async fn must_be_usable(
        connection: &Connection,
        file: &str,
        statement: &Alone,
    ) -> Result<Result<(), db::Error>, Error> {
        let Some(index) = &statement.index else { return Ok(Ok(())) };
        match invalid_index::look_up(connection, index).await {
            Ok(invalid_index::Found::ValidIndex) => Ok(Ok(())),
            Ok(found) => {
                let (file, index) = (file.to_owned(), index.name.clone());
                Err(Error::UnusableIndex { file, index, found: found.to_string() })
            }
            Err(error) => Ok(Err(error)),
        }
    }

    fn migration_error(
        &self,
        migration: &Migration,
        Stopped { error, holder, start }: Stopped,
        with: With<'_>,
        options: &UpOptions,
    ) -> Error {
        let file = migration.file();
        match masked(migration.up(), error) {
            db::Error::Interrupted => Error::Interrupted,
            db::Error::Server(report) if report.sqlstate == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE.code() => {
                let hooks = self.set.hooks_before(migration.version()).iter();
                let skipped = hooks.map(|hook| hook.name().to_owned()).filter(|hook| options.skip_hooks.contains(hook));
                Error::Refused { file, version: migration.version(), report, skipped: skipped.collect() }
            }
            source => {
                let line = line_of_error(migration.up(), start, &source);
                let obstacle = match (holder, with.ledger) {
                    (Some(holder), _) if gives_way(&source) => Some(Obstacle::Holder(holder)),
                    (_, also) if already_there(&source) => {
                        let statement = also.map(|also| record::also_in(&self.set, migration, also) + ";");
                        match (migration.mode().may_leave_a_part(), statement) {
                            (true, statement) => Some(Obstacle::Begun { statement }),
                            (false, statement) => statement.map(|statement| Obstacle::Unrecorded { statement }),
                        }
                    }
                    _ => None,
                };
                let undone = migration.mode().is_all_or_nothing();
                Error::Migration { file, line, source, obstacle: obstacle.map(Box::new), undone }
            }
        }
    }
}

/// Whoever the build has waited for may use the table, so that not even what is left of it can be dropped.
fn left_behind(index: &str, error: &db::LockTimeout) -> db::Notice {
    db::Notice {
        severity: "WARNING".to_owned(),
        message: format!("the unfinished index {index} stays behind, invalid: its table is in use ({error})"),
        detail: Some("No query uses it. The next run drops it and builds it again.".to_owned()),
        hint: None,
    }
}

/// What made a file fail that neither asks for a hook nor is recorded elsewhere.
pub(super) fn failed(script: &Script, error: db::Error, holder: Option<db::Holder>) -> Error {
    failed_at(script, 0, error, holder)
}

/// The same where the server was sent the script from this byte on.
pub(super) fn failed_at(script: &Script, start: usize, error: db::Error, holder: Option<db::Holder>) -> Error {
    let error = masked(script, error);
    if matches!(error, db::Error::Interrupted) {
        return Error::Interrupted;
    }
    let obstacle = holder.filter(|_| gives_way(&error)).map(|holder| Box::new(Obstacle::Holder(holder)));
    Error::Migration {
        file: script.path.clone(),
        line: line_of_error(script, start, &error),
        source: error,
        obstacle,
        undone: true,
    }
}

/// The error without the values that the environment has put into the script.
pub(super) fn masked(script: &Script, error: db::Error) -> db::Error {
    let Some(hidden) = &script.hidden else { return error };
    let db::Error::Server(mut report) = error else { return error };
    report.message = hidden.mask(&report.message);
    for part in [&mut report.detail, &mut report.hint, &mut report.context] {
        *part = part.as_ref().map(|part| hidden.mask(part));
    }
    db::Error::Server(report)
}

/// Errors that say that another session was in the way, after which the same migration may well succeed.
fn gives_way(error: &db::Error) -> bool {
    error.is(&SqlState::LOCK_NOT_AVAILABLE) || error.is(&SqlState::T_R_DEADLOCK_DETECTED)
}

/// Something of that name exists.
fn already_there(error: &db::Error) -> bool {
    db::ALREADY_THERE.iter().any(|state| error.is(state))
}

/// The line of a file that the server points at, when it was sent the script from this byte on.
fn line_of_error(script: &Script, start: usize, error: &db::Error) -> Option<usize> {
    let db::Error::Server(report) = error else { return None };
    report.position.map(|position| line_of(script, start, position))
}

/// The line of a character position; both count from 1.
fn line_of(script: &Script, start: usize, position: u32) -> usize {
    let sent = &script.text[start..];
    let byte = sent.char_indices().nth(position.saturating_sub(1) as usize).map_or(sent.len(), |(byte, _)| byte);
    script.line_at(start + byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_counted_in_characters_and_lines_from_one() {
        let line_of = |text, position| line_of(&Script::own("a", text), 0, position);
        assert_eq!(line_of("ä\nb", 1), 1);
        assert_eq!(line_of("ä\nb", 3), 2);
        assert_eq!(line_of("ä\r\nb\rc", 4), 2);
        assert_eq!(line_of("ä\r\nb\rc", 6), 3);
        assert_eq!(line_of("a", 9), 1);
    }
}
