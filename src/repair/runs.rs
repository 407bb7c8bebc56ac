//! The recorded runs. A missing table of runs, or of the journal, counts as empty.

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::RepairError;
use crate::db::{self, Connection, in_calendar};

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Running; or killed, if no session holds the lock of repairs.
    Running,
    /// Interrupted by a signal, or killed.
    Interrupted,
    /// It reached its time limit, or could not acquire a lock in time.
    Stopped,
    /// An error ended it.
    Failed,
    /// It tried all rows, and left some that other sessions had locked.
    Incomplete,
    /// It is finished.
    Done,
    /// Another run has undone it.
    Undone,
    /// The operator closed it before its end, so that no execution continues it.
    Closed,
}

impl RunState {
    const ALL: [Self; 8] = [
        Self::Running,
        Self::Interrupted,
        Self::Stopped,
        Self::Failed,
        Self::Incomplete,
        Self::Done,
        Self::Undone,
        Self::Closed,
    ];

    /// Its text in the table and in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Incomplete => "incomplete",
            Self::Done => "done",
            Self::Undone => "undone",
            Self::Closed => "closed",
        }
    }

    fn parse(text: &str) -> Self {
        Self::ALL.into_iter().find(|state| state.as_str() == text).unwrap_or(Self::Done)
    }

    /// Whether the same command would continue it.
    #[must_use]
    pub fn is_unfinished(self) -> bool {
        !matches!(self, Self::Done | Self::Undone | Self::Closed)
    }
}

/// A run of a repair, as it is recorded.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Its number.
    pub id: i64,
    /// The set of migrations that it belongs to; none if an earlier build recorded it.
    #[serde(rename = "run_set")]
    pub set: Option<String>,
    /// Which repair.
    pub repair: String,
    /// What selected its rows.
    pub arguments: Value,
    /// Its state.
    pub state: RunState,
    /// When it began, by the database's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// When it was done.
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    /// Digest of what was inspected and authorised.
    pub digest: Option<String>,
    /// Rows it found.
    pub rows_found: i64,
    /// Rows that are changed, according to its journal.
    pub rows_done: i64,
    /// Its totals.
    pub totals: Option<Value>,
    /// The run that it undoes.
    pub undoes: Option<i64>,
    /// The database's role.
    pub run_by: String,
    /// The machine or container, and the client address that the server saw.
    pub run_from: Option<String>,
    /// Version of the program.
    pub tool_version: Option<String>,
}

/// The set of the run `r`; null where the table of an earlier build has no such column.
const SET: &str = "pg_catalog.to_jsonb(r) ->> 'set_name'::text";

/// The beginning of a query for runs. Large values are cut: another program may have written them.
fn select_runs(there: There) -> String {
    let small = |column: &str| {
        format!(
            "CASE WHEN pg_catalog.octet_length({column}::text) > 4096
                  THEN pg_catalog.jsonb_build_object('too_long', pg_catalog.octet_length({column}::text)) ELSE {column} END"
        )
    };
    format!(
        "SELECT r.id, pg_catalog.left({SET}, 200) AS set_name, pg_catalog.left(r.repair, 200) AS repair, {} AS arguments,
                pg_catalog.left(r.state, 200) AS state, coalesce({}, 'epoch') AS started_at, {} AS finished_at,
                pg_catalog.left(r.digest, 200) AS digest, r.rows_found, {} AS totals, r.undoes,
                pg_catalog.left(r.run_by, 200) AS run_by, pg_catalog.left(r.run_from, 200) AS run_from,
                pg_catalog.left(r.tool_version, 200) AS tool_version, c.changed
         FROM migrate.repair_run r
         CROSS JOIN LATERAL {} c",
        small("r.arguments"),
        in_calendar("r.started_at"),
        in_calendar("r.finished_at"),
        small("r.totals"),
        there.of_run()
    )
}

impl Run {
    fn from_row(row: &Row) -> Result<Self, db::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            set: row.try_get("set_name")?,
            repair: row.try_get("repair")?,
            arguments: row.try_get("arguments")?,
            state: RunState::parse(row.try_get("state")?),
            started_at: row.try_get("started_at")?,
            finished_at: row.try_get("finished_at")?,
            digest: row.try_get("digest")?,
            rows_found: row.try_get("rows_found")?,
            rows_done: row.try_get("changed")?,
            totals: row.try_get("totals")?,
            undoes: row.try_get("undoes")?,
            run_by: row.try_get("run_by")?,
            run_from: row.try_get("run_from")?,
            tool_version: row.try_get("tool_version")?,
        })
    }
}

/// An unfinished run.
#[derive(Clone, Debug, Serialize)]
pub struct Unfinished {
    /// Its number.
    pub id: i64,
    /// Which repair.
    pub repair: String,
    /// Its state.
    pub state: RunState,
    /// Rows it found.
    pub total: u64,
    /// Rows that are done.
    pub done: u64,
    /// Rows that are in its journal.
    pub journalled: u64,
    /// What selected its rows.
    pub arguments: Value,
    /// Digest of what was inspected and authorised.
    pub digest: Option<String>,
}

/// Which tables exist. A missing table counts as empty.
#[derive(Clone, Copy)]
pub(super) struct There {
    pub runs: bool,
    pub changes: bool,
}

impl There {
    /// The counts of the journal for the run `r`: `rows`, rows that are `changed`, and rows that are `done`.
    pub fn of_run(self) -> &'static str {
        if self.changes {
            "(SELECT pg_catalog.count(*) AS rows, pg_catalog.count(c.applied_at) AS changed,
                     pg_catalog.count(*) FILTER (WHERE c.applied_at IS NOT NULL OR c.left_because IS NOT NULL) AS done
              FROM migrate.repair_change c
              WHERE c.run_id = r.id)"
        } else {
            "(SELECT 0::bigint AS rows, 0::bigint AS changed, 0::bigint AS done)"
        }
    }
}

/// Checks whether both tables exist.
pub(super) async fn there(connection: &Connection) -> Result<There, db::Error> {
    const THERE: &str = "
        SELECT pg_catalog.to_regclass('migrate.repair_run') IS NOT NULL AS runs,
               pg_catalog.to_regclass('migrate.repair_change') IS NOT NULL AS changes";
    let row = connection.query_one(THERE, &[]).await?;
    Ok(There { runs: row.try_get("runs")?, changes: row.try_get("changes")? })
}

/// Calls `each` with the newest runs, or all, newest first; returns how many runs there are.
pub(super) async fn runs(
    connection: &Connection,
    newest: Option<i64>,
    each: &mut (dyn FnMut(Run) + Send),
) -> Result<u64, db::Error> {
    let there = there(connection).await?;
    if !there.runs {
        return Ok(0);
    }
    let sql = format!("{} ORDER BY r.id DESC LIMIT $1", select_runs(there));
    let mut damaged = None;
    let mut tell = |row: &Row| match Run::from_row(row) {
        Ok(run) => each(run),
        Err(error) => damaged = damaged.take().or(Some(error)),
    };
    connection.each_row_of_cursor(&sql, &[&newest], &mut tell).await?;
    if let Some(error) = damaged {
        return Err(error);
    }
    let all = connection.query_one("SELECT pg_catalog.count(*) AS runs FROM migrate.repair_run", &[]).await?;
    Ok(all.try_get::<_, i64>("runs")?.unsigned_abs())
}

/// One run.
pub(super) async fn run(connection: &Connection, id: i64) -> Result<Run, RepairError> {
    let there = there(connection).await?;
    if there.runs {
        let sql = format!("{} WHERE r.id = $1", select_runs(there));
        if let Some(row) = connection.query_opt(&sql, &[&id]).await? {
            return Ok(Run::from_row(&row)?);
        }
    }
    Err(RepairError::NoSuchRun { run: id })
}

/// The beginning of a query for unfinished runs.
fn select_unfinished(there: There) -> String {
    format!(
        "SELECT r.id, r.repair, r.state, r.rows_found, r.digest, r.arguments, c.done, c.rows
         FROM migrate.repair_run r
         CROSS JOIN LATERAL {} c
         WHERE r.state IN ('running', 'interrupted', 'stopped', 'failed', 'incomplete')",
        there.of_run()
    )
}

/// The newest unfinished run that meets a condition on `r`.
async fn newest_unfinished(
    connection: &Connection,
    condition: &str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<Option<Unfinished>, db::Error> {
    let there = there(connection).await?;
    if !there.runs {
        return Ok(None);
    }
    let sql = format!("{} AND {condition} ORDER BY r.id DESC LIMIT 1", select_unfinished(there));
    let Some(row) = connection.query_opt(&sql, params).await? else { return Ok(None) };
    Ok(Some(Unfinished {
        id: row.try_get("id")?,
        repair: row.try_get("repair")?,
        state: RunState::parse(row.try_get("state")?),
        total: row.try_get::<_, i64>("rows_found")?.unsigned_abs(),
        digest: row.try_get("digest")?,
        done: row.try_get::<_, i64>("done")?.unsigned_abs(),
        journalled: row.try_get::<_, i64>("rows")?.unsigned_abs(),
        arguments: row.try_get("arguments")?,
    }))
}

/// The run that this repair with these arguments would continue.
pub(super) async fn unfinished(
    connection: &Connection,
    set: &str,
    repair: &str,
    arguments: &Value,
) -> Result<Option<Unfinished>, db::Error> {
    let condition = format!("r.repair = $1 AND r.arguments = $2 AND coalesce({SET}, $3) = $3");
    newest_unfinished(connection, &condition, &[&repair, arguments, &set]).await
}

/// An unfinished run of the same repair that this command would not continue: one with other arguments, or an undo of a run
/// of this repair.
pub(super) async fn unfinished_beside(
    connection: &Connection,
    set: &str,
    repair: &str,
    arguments: &Value,
) -> Result<Option<Unfinished>, db::Error> {
    // A forged row may undo itself. `o.id < k.by_run` keeps the recursion from looping.
    let condition = format!(
        "NOT (r.repair = $1 AND r.arguments = $2)
           AND coalesce({SET}, $3) = $3
           AND (r.repair = $1
                OR EXISTS (
                    WITH RECURSIVE chain AS (
                        SELECT r.undoes AS id, r.id AS by_run
                        UNION ALL
                        SELECT o.undoes, o.id FROM chain k JOIN migrate.repair_run o ON o.id = k.id AND o.id < k.by_run
                    )
                    SELECT FROM chain k
                    JOIN migrate.repair_run o ON o.id = k.id AND o.repair = $1
                    WHERE r.undoes IS NOT NULL
                ))"
    );
    newest_unfinished(connection, &condition, &[&repair, arguments, &set]).await
}

/// The run that is recorded as running.
pub(super) async fn at_work(connection: &Connection) -> Result<Option<Unfinished>, db::Error> {
    newest_unfinished(connection, "r.state = 'running'", &[]).await
}
