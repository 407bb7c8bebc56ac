//! Protection against repairing rows twice.
//!
//! A repaired row carries the time of its repair, so with a later cutoff it would meet the condition again. The journal
//! excludes it. If a journal is incomplete or lost, such rows look like wrong ones, and the later cutoff is refused. Runs are
//! recorded in `migrate.repair_run` and, in case the whole schema is lost, in a line of the comment on the repaired table,
//! which is dropped, dumped and restored with its rows.

use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::RepairError;
use super::journal;
use super::runs::{self, There};
use crate::db::{self, Connection, Transaction};

/// The prefix of such a line.
const MARK: &str = "migrate: ";

/// A run, as recorded in the comment on the table.
struct Mark<'a> {
    run: i64,
    began: &'a str,
    found: i64,
}

/// The text format of a run's start. It sorts like the time.
const BEGAN: &str = "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'";

/// Refuses if `repair`, with these arguments, could take rows of `table` that were repaired already for wrong ones.
pub(super) async fn is_known(
    connection: &Connection,
    repair: &str,
    table: &str,
    arguments: &Value,
    cutoff: Option<&str>,
) -> Result<(), RepairError> {
    const COMMENT: &str = "SELECT coalesce(pg_catalog.obj_description(pg_catalog.to_regclass($1)::oid, 'pg_class'::pg_catalog.name), '') AS comment";
    let there = runs::there(connection).await?;
    if let Some(row) = lost_run(connection, there, repair, arguments, cutoff).await? {
        let (run, found, journalled): (i64, i64, i64) = (row.get("id"), row.get("rows_found"), row.get("rows"));
        let message = format!(
            "run {run} of {repair} has repaired rows before this cutoff, and its journal has {journalled} of {found}: rows \
             that it has corrected would be corrected again"
        );
        return Err(lost(message, run, row.get("began")));
    }
    let Some(cutoff) = cutoff else { return Ok(()) };
    let comment: String =
        connection.query_one(COMMENT, &[&table]).await?.try_get("comment").map_err(db::Error::from)?;
    let marks: Vec<Mark> = marks(&comment, repair).collect();
    if let Some(at) = unrecorded(connection, there, repair, &marks, cutoff).await?
        && let Some(Mark { run, began, found }) = marks.get(at)
    {
        let message = format!(
            "{table} was repaired before this cutoff, by run {run} of {repair} ({found} rows), and its record is gone: rows \
             that it has corrected would be corrected again"
        );
        return Err(lost(message, *run, began));
    }
    Ok(())
}

/// The first run that matters here and whose journal is incomplete. Without a cutoff, a rule never finds rows that it has
/// corrected itself, so only runs with other arguments matter.
async fn lost_run(
    connection: &Connection,
    there: There,
    repair: &str,
    arguments: &Value,
    cutoff: Option<&str>,
) -> Result<Option<Row>, db::Error> {
    if !there.runs {
        return Ok(None);
    }
    let sql = format!(
        "SELECT r.id, pg_catalog.to_char(r.started_at AT TIME ZONE 'UTC', {BEGAN}) AS began, r.rows_found, c.rows
         FROM migrate.repair_run r
         CROSS JOIN LATERAL {} c
         WHERE r.repair = $1
           AND pg_catalog.isfinite(r.started_at)
           AND CASE WHEN $3::text IS NULL THEN r.arguments <> $2::jsonb ELSE r.started_at < $3::text::timestamptz END
           AND (c.rows < r.rows_found OR c.changed::numeric < {})
         ORDER BY r.id
         LIMIT 1",
        there.of_run(),
        journal::CHANGED
    );
    connection.query_opt(&sql, &[&repair, arguments, &cutoff]).await
}

/// The index of the first mark from before the cutoff whose run is not recorded with all its rows.
async fn unrecorded(
    connection: &Connection,
    there: There,
    repair: &str,
    marks: &[Mark<'_>],
    cutoff: &str,
) -> Result<Option<usize>, db::Error> {
    if marks.is_empty() {
        return Ok(None);
    }
    let recorded = if there.runs {
        format!(
            "EXISTS (
                 SELECT FROM migrate.repair_run r
                 CROSS JOIN LATERAL {} c
                 WHERE r.id = m.run AND r.repair = $1 AND c.rows >= m.found
                   AND pg_catalog.to_char(r.started_at AT TIME ZONE 'UTC', {BEGAN}) = m.began
             )",
            there.of_run()
        )
    } else {
        "$1::text IS NULL".to_owned()
    };
    let sql = format!(
        "SELECT m.n
         FROM ROWS FROM (pg_catalog.unnest($2::bigint[]), pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::bigint[]))
             WITH ORDINALITY AS m (run, began, found, n)
         WHERE m.began < pg_catalog.to_char($5::text::timestamptz AT TIME ZONE 'UTC', {BEGAN})
           AND NOT {recorded}
         ORDER BY m.n
         LIMIT 1"
    );
    let ids: Vec<i64> = marks.iter().map(|mark| mark.run).collect();
    let began: Vec<&str> = marks.iter().map(|mark| mark.began).collect();
    let found: Vec<i64> = marks.iter().map(|mark| mark.found).collect();
    let row = connection.query_opt(&sql, &[&repair, &ids, &began, &found, &cutoff]).await?;
    Ok(row.and_then(|row| usize::try_from(row.get::<_, i64>("n") - 1).ok()))
}

fn lost(message: String, run: i64, began: &str) -> RepairError {
    RepairError::refused_with_hint(
        message,
        format!(
            "restore migrate.repair_run and migrate.repair_change from a backup; or give a cutoff of at most {began}, the \
             start of run {run}"
        ),
    )
}

/// The lines of the comment that record runs of this repair.
fn marks<'a>(comment: &'a str, repair: &'a str) -> impl Iterator<Item = Mark<'a>> {
    comment.lines().filter_map(move |line| {
        let rest = line.strip_prefix(MARK)?.strip_prefix(repair)?.strip_prefix(" run ")?;
        let (run, rest) = rest.split_once(" began ")?;
        let (began, rest) = rest.split_once(" and found ")?;
        let found = rest.strip_suffix(" rows")?;
        Some(Mark { run: run.parse().ok()?, began, found: found.parse().ok()? })
    })
}

/// Records this run in the comment on the table, unless the session may not comment on it, or another session has locked the
/// table. Then only `migrate.repair_run` records the run until its end, when this is tried again.
pub(super) async fn mark(
    transaction: &Transaction<'_>,
    role: Option<&str>,
    table: &str,
    run: i64,
) -> Result<(), db::Error> {
    // COMMENT waits for index builds and for VACUUM.
    transaction.batch("SAVEPOINT mark; SET LOCAL lock_timeout TO '1s'").await?;
    match write_mark(transaction, role, table, run).await {
        Err(error) if error.is(&SqlState::LOCK_NOT_AVAILABLE) => {
            tracing::debug!("run {run} is not recorded in the comment on {table}: {error}");
            transaction.batch("ROLLBACK TO SAVEPOINT mark").await
        }
        result => result,
    }
}

async fn write_mark(transaction: &Transaction<'_>, role: Option<&str>, table: &str, run: i64) -> Result<(), db::Error> {
    let statement = format!(
        "SELECT pg_catalog.format(
                    'COMMENT ON TABLE %s IS %L', c.oid::pg_catalog.regclass,
                    pg_catalog.concat_ws(E'\\n', pg_catalog.obj_description(c.oid, 'pg_class'::pg_catalog.name), pg_catalog.format(
                        '{MARK}%s run %s began %s and found %s rows', r.repair, r.id,
                        pg_catalog.to_char(r.started_at AT TIME ZONE 'UTC', {BEGAN}), r.rows_found
                    ))
                ) AS statement
         FROM pg_catalog.pg_class c, migrate.repair_run r
         WHERE c.oid = pg_catalog.to_regclass($1)::oid
           AND c.relkind IN ('r', 'p')
           AND r.id = $2
           AND pg_catalog.strpos(
                   coalesce(pg_catalog.obj_description(c.oid, 'pg_class'::pg_catalog.name), ''),
                   pg_catalog.format('{MARK}%s run %s began %s and ', r.repair, r.id,
                                     pg_catalog.to_char(r.started_at AT TIME ZONE 'UTC', {BEGAN}))
               ) = 0
           AND (pg_catalog.pg_has_role(current_user, c.relowner, 'USAGE') OR c.relowner = $3::pg_catalog.text::pg_catalog.regrole::oid)"
    );
    let role_name = role.map(db::ident);
    let Some(row) = transaction.query_opt(&statement, &[&table, &run, &role_name]).await? else { return Ok(()) };
    let statement: String = row.try_get("statement")?;
    transaction.as_role(role, transaction.batch(&statement)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_tells_of_the_runs_of_one_repair() {
        let comment = "Tokens of tasks.\nmigrate: codex-cache run 3 began 2026-11-21T20:00:00.000001Z and found 9710 rows\n\
                       migrate: other run 4 began 2026-11-21T20:00:00.000001Z and found 1 rows\nmigrate: codex-cache run x";
        let found: Vec<_> = marks(comment, "codex-cache").map(|mark| (mark.run, mark.began, mark.found)).collect();
        assert_eq!(found, [(3, "2026-11-21T20:00:00.000001Z", 9710)]);
        assert_eq!(marks("", "codex-cache").count(), 0);
    }
}
