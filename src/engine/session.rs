//! The session that migrates, as refinery drives it: one version at a time.

use refinery::SchemaVersion;
use refinery_core::AsyncMigrate;
use refinery_core::traits::r#async::{AsyncQuery, AsyncTransaction};
use time::OffsetDateTime;
use tokio_postgres::error::SqlState;

use super::invalid_index;
use super::migration::Mode;
use super::{Migration, Set, Version, adopt, history, sql};
use crate::db::{Connection, Error, ServerReport};

/// How long a migration may stand in the queue for a strong lock, with the application queueing behind it, before it
/// gives way and tries again. Well under the second after which PostgreSQL looks for deadlocks: where a migration and
/// the application have locked each other out, it is the migration that steps back, and no write of the application
/// fails.
pub(super) const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout TO '300ms'";

/// How the server is to read a file: as it was read when the set was put together. It is told so before each file,
/// whatever an earlier one has set.
pub(super) const READ_AS_WRITTEN: &str = "SET client_encoding TO 'UTF8'; SET standard_conforming_strings TO on";

/// What goes along with a migration.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct With<'a> {
    /// The role that it runs as, if not the session's own.
    pub role: Option<&'a str>,
    /// The ledger of an older migrator, in which it is recorded too.
    pub ledger: Option<&'a str>,
    /// Why it is applied although that migrator has applied it before.
    pub again: Option<&'a str>,
}

/// Applies migrations through refinery, which verifies the history and writes its row.
pub(super) struct Session<'c> {
    connection: &'c Connection,
    set: &'c Set,
    with: With<'c>,
    mode: Mode,
    /// Records the migration in the older ledger; empty if there is none.
    also: String,
    /// refinery wraps errors into its own; the one that counts is kept here.
    failure: Option<Error>,
}

impl<'c> Session<'c> {
    pub fn new(connection: &'c Connection, set: &'c Set, with: With<'c>) -> Self {
        Self { connection, set, with, mode: Mode::Transaction, also: String::new(), failure: None }
    }

    /// Applies one migration and records it, both or neither.
    pub async fn apply(&mut self, migration: &Migration) -> Result<(), Error> {
        let set = self.set;
        let version = migration.version();
        let known: Vec<_> = set
            .migrations()
            .iter()
            .filter(|known| known.version() <= version)
            .map(|known| known.inner().clone())
            .collect();
        self.mode = migration.mode().clone();
        self.also = self.with.ledger.map(|table| adopt::record_unless_there(set, migration, table)).unwrap_or_default();
        self.failure = None;
        let target = refinery::Target::Version(version as SchemaVersion);
        match self.migrate(&known, true, true, false, target, &history::table(set)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failure.take().unwrap_or_else(|| Error::Conversion { reason: error.to_string() })),
        }
    }

    async fn run(&mut self, queries: &[&str]) -> Result<(), Error> {
        match (&self.mode, queries) {
            (_, []) => Ok(()),
            (Mode::NoTransaction { index }, [statement, record @ ..]) => {
                self.connection.batch(READ_AS_WRITTEN).await?;
                self.connection.batch(sql::without_mark(statement)).await?;
                if let Some(index) = index {
                    // With IF NOT EXISTS the statement succeeds beside a broken index of that name.
                    match invalid_index::look_up(self.connection, index).await? {
                        invalid_index::Found::ValidIndex => {}
                        other => return Err(unusable_index(&index.name, &other)),
                    }
                }
                // One message is one transaction.
                self.connection.batch(&[record, &[&self.also]].concat().join(";\n")).await
            }
            (Mode::Transaction, [statements, record @ ..]) => {
                let transaction = self.connection.begin().await?;
                let result = async {
                    transaction.batch(&[READ_AS_WRITTEN, LOCK_TIMEOUT].join(";\n")).await?;
                    transaction.as_role(self.with.role, transaction.batch(sql::without_mark(statements))).await?;
                    transaction.batch(&[record, &[&self.also]].concat().join(";\n")).await
                }
                .await;
                match result {
                    Ok(()) => transaction.commit().await,
                    Err(error) => {
                        transaction.rollback().await;
                        Err(error)
                    }
                }
            }
        }
    }
}

fn unusable_index(name: &str, found: &invalid_index::Found) -> Error {
    Error::Server(Box::new(ServerReport {
        sqlstate: SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE.code().to_owned(),
        message: format!("the statement succeeded, but index {name} cannot be used: {found}"),
        detail: Some("IF NOT EXISTS is content with any relation of that name.".to_owned()),
        hint: Some("Run it again with the hook invalid-index-cleanup.".to_owned()),
        context: None,
        position: None,
        routine: None,
    }))
}

impl AsyncTransaction for Session<'_> {
    type Error = Error;

    async fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(
        &'a mut self,
        queries: T,
    ) -> Result<usize, Self::Error> {
        let queries: Vec<&str> = queries.filter(|query| !query.is_empty()).collect();
        self.run(&queries).await.map_err(|error| self.keep(error))?;
        Ok(queries.len())
    }
}

impl AsyncQuery<Vec<refinery::Migration>> for Session<'_> {
    async fn query<'a>(&'a mut self, query: &'a str) -> Result<Vec<refinery::Migration>, Error> {
        let rows = self.connection.query(query, &[]).await.map_err(|error| self.keep(error))?;
        let mut applied = Vec::new();
        for row in rows {
            let checksum: String = row.get(3);
            // A damaged row was refused when the plan was made; here it only must not pass for another.
            let recorded = checksum.parse().map_err(|_| {
                let reason = format!("checksum {checksum:?} in the history is not a number");
                self.keep(Error::Conversion { reason })
            })?;
            let version = row.get(0);
            let checksum = match self.set.migration(Version::from(version)) {
                Some(migration) if migration.was_recorded_as(Some(recorded)) => migration.checksum(),
                _ => recorded,
            };
            applied.push(refinery::Migration::applied(version, row.get(1), OffsetDateTime::UNIX_EPOCH, checksum));
        }
        Ok(applied)
    }
}

impl AsyncMigrate for Session<'_> {
    /// The table has been made together with the rest of the bookkeeping.
    fn assert_migrations_table_query(_: &str) -> String {
        String::new()
    }
}

impl Session<'_> {
    /// Keeps the error for [`Session::apply`] and gives refinery one to carry.
    fn keep(&mut self, error: Error) -> Error {
        let carried = Error::Conversion { reason: error.to_string() };
        self.failure = Some(error);
        carried
    }
}
