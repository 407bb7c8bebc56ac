//! Applying one migration and recording it, both or neither.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Migration, Set, adopt, history};
use crate::db::{Connection, Error};

/// How long a migration may stand in the queue for a strong lock, with the application queueing behind it, before it
/// rolls back and tries again. Well under the second after which PostgreSQL looks for deadlocks: where a migration and
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

/// Runs a file and records it in one transaction.
pub(super) async fn in_transaction(
    connection: &Connection,
    set: &Set,
    migration: &Migration,
    with: With<'_>,
) -> Result<(), Error> {
    let record = record(set, migration, with)?;
    let transaction = connection.begin().await?;
    let result = async {
        transaction.batch(&[READ_AS_WRITTEN, LOCK_TIMEOUT].join(";\n")).await?;
        transaction.as_role(with.role, transaction.batch(migration.sql())).await?;
        transaction.batch(&record).await
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

/// Runs the one statement of a file that does without a transaction. To be recorded once its effect is there.
pub(super) async fn statement(connection: &Connection, migration: &Migration) -> Result<(), Error> {
    connection.batch(READ_AS_WRITTEN).await?;
    connection.batch(migration.sql()).await
}

/// Records what was applied without a transaction.
pub(super) async fn applied(
    connection: &Connection,
    set: &Set,
    migration: &Migration,
    with: With<'_>,
) -> Result<(), Error> {
    // One message is one transaction.
    connection.batch(&record(set, migration, with)?).await
}

/// The statements that record a migration: in our history, in the form that refinery gives a row, and in the ledger of an
/// older migrator.
fn record(set: &Set, migration: &Migration, with: With<'_>) -> Result<String, Error> {
    let at = OffsetDateTime::now_utc().format(&Rfc3339);
    let at = at.map_err(|error| Error::Conversion { reason: format!("the time of this computer: {error}") })?;
    let ours = history::insert(set, &[migration], &format!("'{at}'"));
    let theirs = with.ledger.map(|table| adopt::record_unless_there(set, migration, table));
    Ok([Some(ours), theirs].into_iter().flatten().collect::<Vec<_>>().join(";\n"))
}
