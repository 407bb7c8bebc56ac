//! Applying one migration: given way where it must, watched where it waits, and its errors told apart.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;

use super::event::Event;
use super::invalid_index::{self, Found};
use super::migration::Mode;
use super::session::{Session, With};
use super::{Error, Migration, Migrator, Obstacle, UpOptions, adopt, watch};
use crate::db::{self, Connection, LockTimeout};

/// First pause before a migration that gave way tries again; doubled up to [`LONGEST_RETRY_PAUSE`].
const FIRST_RETRY_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(5);

impl Migrator {
    /// Applies one migration. One that cannot have its locks soon gives way to the application and tries again.
    pub(super) async fn apply(
        &self,
        connection: &Connection,
        migration: &Migration,
        with: With<'_>,
        options: &UpOptions,
    ) -> Result<(), Error> {
        let (version, name) = (migration.version(), migration.name().to_owned());
        self.observer.event(Event::MigrationStarted { version, name: name.clone(), again: with.again });
        let started = Instant::now();
        let mut pause = FIRST_RETRY_PAUSE;
        let blocker = Mutex::new(None);
        for attempts in 1.. {
            // Whoever was in the way once may be gone; from the second try on it is worth a look.
            let noted = (attempts > 1).then_some(&blocker);
            match Box::pin(self.apply_watched(connection, migration, with, noted)).await? {
                Ok(()) => break,
                Err(error) if gives_way(&error) && started.elapsed() + pause < options.lock_wait => {
                    let reason = error.to_string();
                    let holder = blocker.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    self.observer.event(Event::MigrationRetried {
                        version,
                        name: name.clone(),
                        reason,
                        attempts,
                        holder,
                    });
                    connection.pause(pause).await?;
                    pause = (pause * 2).min(LONGEST_RETRY_PAUSE);
                    // A build that gave way has left its index behind, which the next try would be content with.
                    if let Mode::NoTransaction { index: Some(index) } = migration.mode()
                        && let Found::InvalidIndex { qualified_name } =
                            invalid_index::look_up(connection, index).await?
                    {
                        invalid_index::drop_invalid(connection, &qualified_name).await?;
                    }
                }
                Err(error) => {
                    return Err(self.migration_error(
                        migration,
                        error,
                        with,
                        blocker.into_inner().ok().flatten(),
                        options,
                    ));
                }
            }
        }
        let duration = started.elapsed();
        self.observer.event(Event::MigrationApplied { version, name, duration });
        Ok(())
    }

    /// Applies one migration, once. A statement outside a transaction is watched while it waits for others; the outer
    /// error says that it would have waited for ever.
    async fn apply_watched(
        &self,
        connection: &Connection,
        migration: &Migration,
        with: With<'_>,
        noted: Option<&Mutex<Option<db::Holder>>>,
    ) -> Result<Result<(), db::Error>, Error> {
        let mut session = Session::new(connection, with);
        let pid: i32 = connection.query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await?.get(0);
        if *migration.mode() == Mode::Transaction {
            let applying = session.apply(&self.set, migration);
            let Some(noted) = noted else { return Ok(applying.await) };
            return tokio::select! {
                result = applying => Ok(result),
                () = watch::note_blocker(&self.connector, pid, noted) => Err(Error::Interrupted),
            };
        }
        let started = Instant::now();
        let applying = session.apply(&self.set, migration);
        tokio::pin!(applying);
        let watched = tokio::select! {
            result = &mut applying => return Ok(result),
            watched = watch::watch(&self.connector, pid, &self.observer) => watched,
        };
        if let Err(error) = &watched {
            tracing::debug!("the statement is not watched any more: {error}");
        }
        // Whatever became of the watch, the statement is waited for; if it was cancelled, that does not take long.
        let result = applying.await;
        match (result, watched) {
            (Err(_), Ok(holder)) => Err(Error::Lock(LockTimeout::TimedOut {
                what: "a session that itself waits for the migration lock inside the server",
                waited: Duration::from_secs(started.elapsed().as_secs()),
                holder: Some(Box::new(holder)),
            })),
            (result, _) => Ok(result),
        }
    }

    fn migration_error(
        &self,
        migration: &Migration,
        error: db::Error,
        with: With<'_>,
        holder: Option<db::Holder>,
        options: &UpOptions,
    ) -> Error {
        let file = migration.file();
        match error {
            db::Error::Interrupted => Error::Interrupted,
            db::Error::Server(report) if report.sqlstate == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE.code() => {
                let hooks = self.set.hooks_before(migration.version()).iter();
                let skipped = hooks.map(|hook| hook.name().to_owned()).filter(|hook| options.skip_hooks.contains(hook));
                Error::Refused { file, version: migration.version(), report, skipped: skipped.collect() }
            }
            source => {
                let position = match &source {
                    db::Error::Server(report) => report.position,
                    _ => None,
                };
                let line = position.map(|position| line_of(migration.sql(), position));
                let obstacle = match (holder, with.ledger) {
                    (Some(holder), _) if gives_way(&source) => Some(Obstacle::Holder(holder)),
                    (_, Some(table)) if already_there(&source) => {
                        let statement = adopt::record(&self.set, migration, table) + ";";
                        Some(Obstacle::Unrecorded { statement })
                    }
                    _ => None,
                };
                Error::Migration { file, line, source, obstacle: obstacle.map(Box::new) }
            }
        }
    }
}

/// Errors that say "somebody was in the way", after which the same migration may well succeed.
fn gives_way(error: &db::Error) -> bool {
    error.is(&SqlState::LOCK_NOT_AVAILABLE) || error.is(&SqlState::T_R_DEADLOCK_DETECTED)
}

/// Something of that name exists.
fn already_there(error: &db::Error) -> bool {
    [SqlState::DUPLICATE_TABLE, SqlState::DUPLICATE_OBJECT, SqlState::DUPLICATE_FUNCTION, SqlState::DUPLICATE_COLUMN]
        .iter()
        .any(|state| error.is(state))
}

/// The line of a character position; both count from 1.
fn line_of(sql: &str, position: u32) -> usize {
    sql.chars().take(position.saturating_sub(1) as usize).filter(|c| *c == '\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_counted_in_characters_and_lines_from_one() {
        assert_eq!(line_of("ä\nb", 1), 1);
        assert_eq!(line_of("ä\nb", 3), 2);
    }
}
