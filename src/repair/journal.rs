//! Writing the history of repairs in the schema `migrate`: one row per run, one row per change.

use std::time::Duration;

use serde_json::Value;

use super::RepairError;
use super::lines::Totals;
use super::runs::{RunState, there};
use crate::db::{self, Connection, Rights, ServerFacts, ident};

/// How long recording a failure may take.
const RECORDING_PATIENCE: Duration = Duration::from_secs(2);

/// Checks that the server accepts writes and that this role may write the journal.
pub(super) async fn may_write(connection: &Connection) -> Result<(), RepairError> {
    let facts = ServerFacts::read(connection).await?;
    if facts.in_recovery {
        return Err(RepairError::refused_with_hint(
            "this server is a standby, which accepts no writes",
            "connect to the primary server",
        ));
    }
    if !Rights::read(connection).await?.may_write_history {
        let (who, database) = (ident(&facts.role), ident(&facts.database));
        let grant = match schema_owner(connection).await? {
            Some(owner) => format!(
                "as {owner}, the owner of that schema, run: GRANT USAGE, CREATE ON SCHEMA migrate TO {who}; GRANT SELECT, INSERT, \
                 UPDATE, DELETE ON ALL TABLES IN SCHEMA migrate TO {who}"
            ),
            None => format!("as the owner of the database, run: GRANT CREATE ON DATABASE {database} TO {who}"),
        };
        let message = format!("role {} may not write the journal of repairs in the schema migrate", facts.role);
        return Err(RepairError::refused_with_hint(message, grant));
    }
    Ok(())
}

/// Checks that this role may read the journals of earlier runs.
pub(super) async fn may_read(connection: &Connection) -> Result<(), RepairError> {
    let (facts, rights) = (ServerFacts::read(connection).await?, Rights::read(connection).await?);
    match schema_owner(connection).await? {
        Some(owner) if !rights.may_read_history => {
            let who = ident(&facts.role);
            Err(RepairError::refused_with_hint(
                format!(
                    "role {} may not read the schema migrate, which holds the journals of earlier repairs",
                    facts.role
                ),
                format!(
                    "as {owner}, the owner of that schema, run: GRANT USAGE ON SCHEMA migrate TO {who}; GRANT SELECT ON ALL TABLES IN \
                     SCHEMA migrate TO {who}"
                ),
            ))
        }
        _ => Ok(()),
    }
}

async fn schema_owner(connection: &Connection) -> Result<Option<String>, db::Error> {
    const OWNER: &str = "
        SELECT pg_catalog.pg_get_userbyid(n.nspowner)::text AS owner
        FROM pg_catalog.pg_namespace n WHERE n.nspname = 'migrate'";
    Ok(connection.query_opt(OWNER, &[]).await?.map(|row| row.get("owner")))
}

/// Creates the tables, if they do not exist.
pub(super) async fn prepare(connection: &Connection, role: Option<&str>) -> Result<(), db::Error> {
    let script = include_str!("journal.sql");
    // Suppresses the notices "already exists, skipping".
    connection.batch(&format!("SET client_min_messages TO warning; {script} RESET client_min_messages")).await?;
    // Corrections run as the owner of the table, which must read the journal. The next repair may run as that role, too.
    match role {
        Some(role) => db::share_history(connection, role).await,
        None => Ok(()),
    }
}

/// What a new run records.
pub(super) struct Opening<'a> {
    pub set: &'a str,
    pub repair: &'a str,
    pub arguments: &'a Value,
    pub undoes: Option<i64>,
    /// The columns that its journal has a hash of.
    pub hashed: Option<&'a Value>,
}

/// Opens a run and returns its number.
pub(super) async fn open(connection: &Connection, opening: &Opening<'_>) -> Result<i64, db::Error> {
    const HAS_SET: &str = "
        SELECT EXISTS (
            SELECT FROM pg_catalog.pg_attribute
            WHERE attrelid = pg_catalog.to_regclass('migrate.repair_run')::oid AND attname = 'set_name' AND NOT attisdropped
        ) AS has_set";
    const NAME_SET: &str = "UPDATE migrate.repair_run SET set_name = $2 WHERE id = $1";
    const OPEN: &str = "
        INSERT INTO migrate.repair_run (id, repair, arguments, undoes, hashed, run_from, tool_version)
        SELECT greatest(pg_catalog.max(r.id), (SELECT pg_catalog.max(c.run_id) FROM migrate.repair_change c), 0::bigint) + 1, $1, $2,
               $3, $6, pg_catalog.concat_ws(', ', $4::text, pg_catalog.host(pg_catalog.inet_client_addr())), $5
        FROM migrate.repair_run r
        RETURNING id";
    let Opening { set, repair, arguments, undoes, hashed } = opening;
    let version = env!("CARGO_PKG_VERSION");
    let row = connection.query_one(OPEN, &[repair, arguments, undoes, &this_machine(), &version, hashed]).await?;
    let run: i64 = row.try_get("id")?;
    if connection.query_one(HAS_SET, &[]).await?.try_get("has_set")? {
        connection.execute(NAME_SET, &[&run, set]).await?;
    }
    Ok(run)
}

/// The name of this machine, or of the container.
fn this_machine() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok())?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Records what the inspection found, in the transaction of the inspection.
pub(super) async fn found(connection: &Connection, run: i64, rows: u64, digest: &str) -> Result<(), db::Error> {
    const FOUND: &str = "UPDATE migrate.repair_run SET rows_found = $2, digest = $3 WHERE id = $1";
    connection.execute(FOUND, &[&run, &rows.cast_signed(), &digest]).await?;
    Ok(())
}

/// Records that an interrupted run is running again.
pub(super) async fn reopen(connection: &Connection, run: i64) -> Result<(), db::Error> {
    connection.execute("UPDATE migrate.repair_run SET state = 'running' WHERE id = $1", &[&run]).await?;
    Ok(())
}

/// Records the state of a run, even when the program was told to stop.
pub(super) async fn close(
    connection: &Connection,
    run: i64,
    state: RunState,
    totals: Option<&Value>,
) -> Result<(), db::Error> {
    const CLOSE: &str = "
        UPDATE migrate.repair_run
        SET state = $2,
            totals = coalesce($3, totals),
            finished_at = CASE WHEN $2 IN ('done', 'undone', 'closed') THEN pg_catalog.clock_timestamp() END
        WHERE id = $1";
    connection.shielded().execute(CLOSE, &[&run, &state.as_str(), &totals]).await?;
    Ok(())
}

/// Records the state of a run that an error ended. A failure to record it is only logged: the caller reports the first error,
/// and the server may be gone.
pub(super) async fn close_after(connection: &Connection, run: i64, error: &RepairError) {
    let state = match error {
        RepairError::Database(db::Error::Interrupted) => RunState::Interrupted,
        RepairError::Lock(_) => RunState::Stopped,
        _ => RunState::Failed,
    };
    let rollback = async {
        if let Ok(transaction) = connection.shielded().begin().await {
            transaction.rollback().await;
        }
    };
    let _ = tokio::time::timeout(RECORDING_PATIENCE, rollback).await;
    // Does not wait again for a server that is gone.
    match tokio::time::timeout(RECORDING_PATIENCE, close(connection, run, state, None)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("the end of run {run} could not be recorded: {error}"),
        Err(_) => tracing::debug!("the end of run {run} could not be recorded in time"),
    }
}

/// Marks the run that this undo reverts, so that no execution continues it. If that run was an undo itself, the run that it
/// reverted is in force again.
pub(super) async fn undone(connection: &Connection, run: i64) -> Result<(), db::Error> {
    // Of a chain of undos, every second one is in force.
    const UNDONE: &str = "
        WITH RECURSIVE chain AS (
            SELECT r.id, r.undoes, 0 AS depth FROM migrate.repair_run r WHERE r.id = $1
            UNION ALL
            SELECT r.id, r.undoes, c.depth + 1 FROM chain c JOIN migrate.repair_run r ON r.id = c.undoes AND r.id < c.id
        )
        UPDATE migrate.repair_run r
        SET state = CASE WHEN c.depth % 2 = 0 THEN 'undone' ELSE 'done' END,
            finished_at = coalesce(r.finished_at, pg_catalog.clock_timestamp())
        FROM chain c
        WHERE r.id = c.id";
    connection.execute(UNDONE, &[&run]).await?;
    Ok(())
}

/// The sums of a run's journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub done: Totals,
    pub changed: u64,
    pub gone: u64,
    pub waiting: u64,
}

/// The first row of a run that is not done.
pub(super) async fn first_open(connection: &Connection, run: i64) -> Result<Option<i64>, db::Error> {
    const FIRST: &str = "
        SELECT pg_catalog.min(c.n) AS first FROM migrate.repair_change c
        WHERE c.run_id = $1 AND c.applied_at IS NULL AND c.left_because IS NULL";
    Ok(connection.query_one(FIRST, &[&run]).await?.try_get("first")?)
}

/// The caller holds the lock of repairs, so a run recorded as running was killed.
pub(super) async fn interrupt_killed_runs(connection: &Connection) -> Result<(), db::Error> {
    if there(connection).await?.runs {
        connection.batch("UPDATE migrate.repair_run SET state = 'interrupted' WHERE state = 'running'").await?;
    }
    Ok(())
}

/// The number of rows that the run `r` had changed when its state was last recorded.
pub(super) const CHANGED: &str = "CASE WHEN pg_catalog.jsonb_typeof(r.totals -> 'rows'::text) = 'number' THEN (r.totals ->> 'rows'::text)::numeric ELSE 0::numeric END";

/// If a run's journal lacks rows that the run found or changed: how many rows it has, and how many it should have.
pub(super) async fn lost(connection: &Connection, run: i64) -> Result<Option<(u64, u64)>, db::Error> {
    let sql = format!(
        "SELECT least(c.rows, c.changed) AS there, r.rows_found
         FROM migrate.repair_run r
         CROSS JOIN LATERAL {} c
         WHERE r.id = $1 AND (c.rows < r.rows_found OR c.changed::numeric < {CHANGED})",
        there(connection).await?.of_run()
    );
    let row = connection.query_opt(&sql, &[&run]).await?;
    Ok(row.map(|row| (row.get::<_, i64>("there").unsigned_abs(), row.get::<_, i64>("rows_found").unsigned_abs())))
}

/// When a run began, as text of the server.
pub(super) async fn began(connection: &Connection, run: i64) -> Result<String, db::Error> {
    const BEGAN: &str = "SELECT started_at::pg_catalog.text AS began FROM migrate.repair_run WHERE id = $1";
    Ok(connection.query_one(BEGAN, &[&run]).await?.try_get("began")?)
}

/// The columns that a run has hashed; none if an earlier build wrote its journal.
pub(super) async fn hashed(connection: &Connection, run: i64) -> Result<Option<Value>, db::Error> {
    const HASHED: &str =
        "SELECT pg_catalog.to_jsonb(r) -> 'hashed'::text AS hashed FROM migrate.repair_run r WHERE r.id = $1";
    Ok(connection.query_one(HASHED, &[&run]).await?.try_get("hashed")?)
}

/// Records that this transaction has changed rows whose derived data is not refreshed yet. These rows carry its start time.
pub(super) async fn to_be_refreshed(transaction: &Connection, run: i64) -> Result<(), db::Error> {
    const WIDEN: &str = "
        UPDATE migrate.repair_run
        SET rollup_from = least(rollup_from, pg_catalog.now()), rollup_to = greatest(rollup_to, pg_catalog.now())
        WHERE id = $1";
    transaction.execute(WIDEN, &[&run]).await?;
    Ok(())
}

/// The window that contains every row of this run whose derived data is not refreshed, as text of the server. The first window
/// of an execution starts a second before its first transaction, the last one ends a second after the last transaction.
pub(super) async fn not_refreshed(
    transaction: &Connection,
    run: i64,
    first: bool,
    last: bool,
) -> Result<Option<(String, String)>, db::Error> {
    const WINDOW: &str = "
        SELECT (rollup_from - CASE WHEN $2 THEN interval '1 second' ELSE interval '0' END)::text AS since,
               (rollup_to + CASE WHEN $3 THEN interval '1 second' ELSE interval '1 microsecond' END)::text AS until
        FROM migrate.repair_run
        WHERE id = $1 AND rollup_from IS NOT NULL";
    let Some(row) = transaction.query_opt(WINDOW, &[&run, &first, &last]).await? else { return Ok(None) };
    Ok(Some((row.try_get("since")?, row.try_get("until")?)))
}

/// Records that all derived data is refreshed, if this transaction commits.
pub(super) async fn refreshed(transaction: &Connection, run: i64) -> Result<(), db::Error> {
    let done = "UPDATE migrate.repair_run SET rollup_from = NULL, rollup_to = NULL WHERE id = $1";
    transaction.execute(done, &[&run]).await?;
    Ok(())
}
