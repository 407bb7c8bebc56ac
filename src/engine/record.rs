//! Applying one migration and recording it, both or neither.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_postgres::error::SqlState;

use super::mode::Alone;
use super::session::{LOCK_TIMEOUT, READ_AS_WRITTEN, STEP_BACK_SOON, WAIT_AGAIN};
use super::tool::{self, ToolTable};
use super::{Migration, Set, sql};
use crate::db::{self, Connection, Error, Transaction};

/// What goes along with a migration.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct With<'a> {
    /// The role that it runs as, if not the session's own.
    pub role: Option<&'a str>,
    /// The ledger of an older migrator, in which it is recorded too.
    pub ledger: Option<AlsoIn<'a>>,
    /// Why it is applied although that migrator has applied it before.
    pub again: Option<&'a str>,
}

/// Where a migration is recorded besides our own history.
#[derive(Clone, Copy, Debug)]
pub(super) enum AlsoIn<'a> {
    /// The ledger that the set describes, in this table.
    Ledger(&'a str),
    /// The history table of the tool that the files were written for.
    Tool(&'a ToolTable),
}

/// Runs a file and records it in one transaction.
pub(super) async fn in_transaction(
    connection: &Connection,
    set: &Set,
    migration: &Migration,
    with: With<'_>,
) -> Result<(), Error> {
    let record = record(set, migration, with)?;
    let transaction = connection.begin_with(&[READ_AS_WRITTEN, LOCK_TIMEOUT].join("; ")).await?;
    // The file is a message of its own, so that the server counts the position of an error from its beginning.
    if let Err(error) = transaction.as_role(with.role, transaction.batch(migration.sql())).await {
        transaction.rollback().await;
        return Err(error);
    }
    commit(transaction, &record).await
}

/// Commits what a file has done, with its record. An error in the record is in no line of the file.
async fn commit(transaction: Transaction<'_>, record: &str) -> Result<(), Error> {
    if let Err(error) = read_as_written(&transaction, record).await {
        transaction.rollback().await;
        return Err(error);
    }
    transaction.commit_with(&format!("RESET ROLE; {record}")).await.map_err(Error::without_position)
}

/// Has the server read a record as it is written, where that takes a message: what the file has set may be in force. Only
/// the encoding and the rule for backslashes change what a record says.
async fn read_as_written(connection: &Connection, record: &str) -> Result<(), Error> {
    if record.is_ascii() && !record.contains('\\') { Ok(()) } else { connection.batch(READ_AS_WRITTEN).await }
}

/// Records what was applied without a transaction.
pub(super) async fn applied(connection: &Connection, record: &str) -> Result<(), Error> {
    read_as_written(connection, record).await?;
    connection.batch(record).await.map_err(Error::without_position)
}

/// Runs a file that begins and ends a transaction itself. If that is all it does, its record is part of the transaction, and
/// it can be tried again; otherwise the record follows.
pub(super) async fn in_own_transaction(
    connection: &Connection,
    set: &Set,
    migration: &Migration,
    record_at: Option<usize>,
    with: With<'_>,
) -> Result<(), Error> {
    let record = record(set, migration, with)?;
    as_own_transaction(connection, &migration.up().text, record_at, &record, with.role).await
}

/// The same for any text and any record of it.
pub(super) async fn as_own_transaction(
    connection: &Connection,
    text: &str,
    record_at: Option<usize>,
    record: &str,
    role: Option<&str>,
) -> Result<(), Error> {
    let role = role.map(|role| format!("; SET ROLE {}", db::ident(role))).unwrap_or_default();
    // A file that is more than one transaction may have committed a part, and waits for its locks as long as the run may.
    let patience = if record_at.is_some() { STEP_BACK_SOON } else { "" };
    connection.batch(&format!("{READ_AS_WRITTEN}{patience}{role}")).await?;
    let ran = match record_at {
        Some(at) => connection.batch(&format!("{};{record};{}", sql::without_mark(&text[..at]), &text[at..])).await,
        None => connection.batch(sql::without_mark(text)).await,
    };
    let ended = if ran.is_err() { leave_transaction(connection).await } else { Ok(()) };
    let patience = if record_at.is_some() { WAIT_AGAIN } else { "" };
    connection.batch(&format!("RESET ROLE{patience}")).await?;
    ran?;
    ended?;
    if record_at.is_none() { applied(connection, record).await } else { Ok(()) }
}

/// Ends the transaction that a file has begun, after an error. It has ended by itself if the error was in its `COMMIT`, and
/// a `ROLLBACK` alone would then bring a warning.
async fn leave_transaction(connection: &Connection) -> Result<(), Error> {
    match connection.batch("BEGIN; ROLLBACK").await {
        Err(error) if error.is(&SqlState::IN_FAILED_SQL_TRANSACTION) => connection.batch("ROLLBACK").await,
        ended => ended,
    }
}

/// Runs one step of a file that is in no transaction: a statement outside of one, or several in one of their own, as `role`
/// and between what else belongs to it.
pub(super) async fn step(connection: &Connection, step: &Alone, around: Around<'_>) -> Result<(), Error> {
    if !step.in_transaction {
        connection.batch(READ_AS_WRITTEN).await?;
        return connection.batch(&step.sql).await;
    }
    let transaction = connection.begin().await?;
    let result = async {
        transaction.batch(&[READ_AS_WRITTEN, LOCK_TIMEOUT].join(";\n")).await?;
        let run = async {
            if let Some(guard) = around.guard {
                transaction.batch(guard).await?;
            }
            transaction.batch(&step.sql).await
        };
        transaction.as_role(around.role, run).await
    }
    .await;
    match (result, around.record) {
        (Ok(()), Some(record)) => commit(transaction, record).await,
        (Ok(()), None) => transaction.commit().await,
        (Err(error), _) => {
            transaction.rollback().await;
            Err(error)
        }
    }
}

/// What belongs to a step that runs in a transaction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Around<'a> {
    /// The role that it runs as, if not the session's own.
    pub role: Option<&'a str>,
    /// What must hold before.
    pub guard: Option<&'a str>,
    /// What records the whole file, behind its last step.
    pub record: Option<&'a str>,
}

/// The statements that record a migration: in our history, in the form that refinery gives a row, and in the ledger of an
/// older migrator. One message of them is one transaction.
pub(super) fn record(set: &Set, migration: &Migration, with: With<'_>) -> Result<String, Error> {
    let at = OffsetDateTime::now_utc().format(&Rfc3339);
    let at = at.map_err(|error| Error::Conversion { reason: format!("the time of this computer: {error}") })?;
    // A baseline stands for all files up to its own, which are then never applied.
    let stands_for = |other: &&Migration| other.version() <= migration.version() && !other.is_baseline();
    let mut recorded = vec![migration];
    if migration.is_baseline() {
        recorded.extend(set.migrations().iter().filter(stands_for));
    }
    let ours = history_row(set, &recorded, &format!("'{at}'"));
    let theirs = with.ledger.map(|also| match also {
        AlsoIn::Ledger(table) => ledger_rows_unless_there(set, migration, table),
        AlsoIn::Tool(table) => tool::insert(table, migration),
    });
    Ok([Some(ours), theirs].into_iter().flatten().collect::<Vec<_>>().join(";\n"))
}

/// The table that holds the history of a set: of the versions that are numbers.
pub(super) fn history_table(set: &Set) -> String {
    format!("migrate.history_{}", set.name().replace('-', "_"))
}

/// The table that holds the history of versions that have names.
pub(super) fn file_history_table(set: &Set) -> String {
    format!("migrate.file_history_{}", set.name().replace('-', "_"))
}

/// The table that a migration is recorded in, and its version there, as SQL.
fn place(set: &Set, migration: &Migration) -> (String, String) {
    match migration.number() {
        Some(number) => (history_table(set), number.to_string()),
        None => (file_history_table(set), quoted(&migration.version().to_string())),
    }
}

/// For a row that a person puts into the history.
pub(super) const NOW: &str = "pg_catalog.now()";

/// The statements that record migrations as applied at a time, which is SQL.
pub(super) fn history_row(set: &Set, migrations: &[&Migration], at: &str) -> String {
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for migration in migrations {
        let (table, version) = place(set, migration);
        let (name, checksum) = (quoted(migration.name()), migration.checksum());
        rows.entry(table).or_default().push(format!("({version}, {name}, {at}, '{checksum}')"));
    }
    let insert = |(table, rows): (String, Vec<String>)| {
        format!("INSERT INTO {table} (version, name, applied_on, checksum) VALUES {}", rows.join(", "))
    };
    rows.into_iter().map(insert).collect::<Vec<_>>().join(";\n")
}

/// The statement that deletes a version from the history.
pub(super) fn history_delete(set: &Set, migration: &Migration) -> String {
    let (table, version) = place(set, migration);
    format!("DELETE FROM {table} WHERE version = {version}")
}

/// The statement that takes a migration out of the history of another tool. `previous` is what that then ends with.
pub(super) fn also_delete(set: &Set, migration: &Migration, also: AlsoIn<'_>, previous: Option<&Migration>) -> String {
    match also {
        AlsoIn::Ledger(table) => {
            let entries = set.ledger().map(|ledger| ledger.entries(migration.version(), migration.name()));
            let entries: Vec<_> = entries.unwrap_or_default().iter().map(|entry| quoted(entry)).collect();
            format!("DELETE FROM {table} WHERE version = ANY (ARRAY[{}]::text[])", entries.join(", "))
        }
        AlsoIn::Tool(table) => tool::delete(table, migration, previous),
    }
}

/// The statement that records a migration in the ledger of an older migrator.
pub(super) fn also_in(set: &Set, migration: &Migration, also: AlsoIn<'_>) -> String {
    match also {
        AlsoIn::Ledger(table) => {
            let entries = set.ledger().map(|ledger| ledger.entries(migration.version(), migration.name()));
            ledger_insert(table, &entries.unwrap_or_default())
        }
        AlsoIn::Tool(table) => tool::insert(table, migration),
    }
}

/// The same for a migration that may be recorded there already.
fn ledger_rows_unless_there(set: &Set, migration: &Migration, table: &str) -> String {
    let entries = set.ledger().map(|ledger| ledger.entries(migration.version(), migration.name())).unwrap_or_default();
    format!(
        "INSERT INTO {table} (version) SELECT e FROM pg_catalog.unnest(ARRAY[{}]) e \
         WHERE NOT EXISTS (SELECT FROM {table} l WHERE l.version = e)",
        entries.iter().map(|entry| quoted(entry)).collect::<Vec<_>>().join(", ")
    )
}

/// The statement that adds entries to a ledger.
pub(super) fn ledger_insert(table: &str, entries: &[String]) -> String {
    let values: Vec<_> = entries.iter().map(|entry| format!("({})", quoted(entry))).collect();
    format!("INSERT INTO {table} (version) VALUES {}", values.join(", "))
}

fn quoted(entry: &str) -> String {
    format!("'{}'", entry.replace('\'', "''"))
}
