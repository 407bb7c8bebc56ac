//! What earlier runs of the same repair have done, as far as it can be known.
//!
//! A row that was repaired carries the time of its repair. With a later cutoff it would meet the condition once more; that
//! it was repaired stands in the journal. Where a journal is incomplete, or gone, nobody can tell such rows from wrong ones,
//! and the later cutoff is refused. That there was a run at all is known from `migrate.repair_run`, and, should the whole
//! schema be lost, from a line in the comment on the table itself, which is dropped, dumped and restored with its rows.

use serde_json::Value;
use tokio_postgres::error::SqlState;

use super::RepairError;
use super::journal;
use super::runs;
use crate::db::{self, Connection, Transaction};

/// How a line of the comment begins.
const MARK: &str = "migrate: ";

/// A run, as its own table knows it.
struct Past {
    run: i64,
    /// Its start, as [`BEGAN`] writes times: their order as text is their order in time.
    began: String,
    /// Rows it found, and those of them that are in the journal.
    found: i64,
    journalled: i64,
    /// Not all that it found is in the journal, or not all that it changed.
    lost: bool,
    arguments: Value,
}

/// A run, as the comment on the table knows it.
struct Mark<'a> {
    run: i64,
    began: &'a str,
    found: i64,
}

/// The text of a time. Nobody can have begun outside of it.
const BEGAN: &str = "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'";

/// Refuses where rows that were repaired could be taken for wrong ones: `repair` is about to look at `table` with these
/// arguments.
pub(super) async fn is_known(
    connection: &Connection,
    repair: &str,
    table: &str,
    arguments: &Value,
    cutoff: Option<&str>,
) -> Result<(), RepairError> {
    const CUTOFF: &str = "SELECT pg_catalog.to_char($1::pg_catalog.text::pg_catalog.timestamptz AT TIME ZONE 'UTC', ";
    const COMMENT: &str =
        "SELECT coalesce(pg_catalog.obj_description(pg_catalog.to_regclass($1)::oid, 'pg_class'::pg_catalog.name), '')";
    let cutoff: Option<String> = match cutoff {
        Some(cutoff) => Some(connection.query_one(&format!("{CUTOFF}{BEGAN})"), &[&cutoff]).await?.get(0)),
        None => None,
    };
    let past = read(connection, repair).await?;
    for run in &past {
        // Without a cutoff, the same rule finds no row that it has corrected.
        let concerns = cutoff.as_ref().map_or(run.arguments != *arguments, |cutoff| run.began < *cutoff);
        if concerns && run.lost {
            let Past { run, began, found, journalled, .. } = run;
            let message = format!(
                "run {run} of {repair} has repaired rows before this cutoff, and its journal has {journalled} of {found}: \
                 rows that it has corrected would be corrected again"
            );
            return Err(lost(message, *run, began));
        }
    }
    let Some(cutoff) = cutoff else { return Ok(()) };
    let comment: String = connection.query_one(COMMENT, &[&table]).await?.get(0);
    for Mark { run, began, found } in marks(&comment, repair) {
        let recorded = past.iter().any(|past| past.run == run && past.began == began && past.journalled >= found);
        if began < cutoff.as_str() && !recorded {
            let message = format!(
                "{table} was repaired before this cutoff, by run {run} of {repair} ({found} rows), and its record is gone: rows \
                 that it has corrected would be corrected again"
            );
            return Err(lost(message, run, began));
        }
    }
    Ok(())
}

fn lost(message: String, run: i64, began: &str) -> RepairError {
    RepairError::refused_with_hint(
        message,
        format!(
            "restore migrate.repair_run and migrate.repair_change from a backup; or give a cutoff of at most {began}, the \
             beginning of run {run}"
        ),
    )
}

async fn read(connection: &Connection, repair: &str) -> Result<Vec<Past>, db::Error> {
    let there = runs::there(connection).await?;
    if !there.runs {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT r.id, pg_catalog.to_char(r.started_at AT TIME ZONE 'UTC', {BEGAN}) AS began, r.rows_found, r.arguments, c.rows,
                c.rows < r.rows_found OR c.changed::numeric < {} AS lost
         FROM migrate.repair_run r
         CROSS JOIN LATERAL {} c
         WHERE r.repair = $1 AND pg_catalog.isfinite(r.started_at)
         ORDER BY r.id",
        journal::CHANGED,
        there.of_run()
    );
    let rows = connection.query(&sql, &[&repair]).await?;
    let past = rows.iter().map(|row| {
        Ok(Past {
            run: row.try_get("id")?,
            began: row.try_get("began")?,
            found: row.try_get("rows_found")?,
            journalled: row.try_get("rows")?,
            lost: row.try_get("lost")?,
            arguments: row.try_get("arguments")?,
        })
    });
    past.collect()
}

/// The lines of the comment that tell of this repair.
fn marks<'a>(comment: &'a str, repair: &'a str) -> impl Iterator<Item = Mark<'a>> {
    comment.lines().filter_map(move |line| {
        let rest = line.strip_prefix(MARK)?.strip_prefix(repair)?.strip_prefix(" run ")?;
        let (run, rest) = rest.split_once(" began ")?;
        let (began, rest) = rest.split_once(" and found ")?;
        let found = rest.strip_suffix(" rows")?;
        Some(Mark { run: run.parse().ok()?, began, found: found.parse().ok()? })
    })
}

/// Notes in the comment on the table that this run changes rows. Left out where the session may not comment on it, or where
/// somebody else has locked the table: then the run's own table is all that tells of it, until the run ends, when this is
/// asked for again.
pub(super) async fn mark(
    transaction: &Transaction<'_>,
    role: Option<&str>,
    table: &str,
    run: i64,
) -> Result<(), db::Error> {
    // Comments on a table wait for index builds and for VACUUM.
    transaction.batch("SAVEPOINT mark; SET LOCAL lock_timeout TO '1s'").await?;
    match write_mark(transaction, role, table, run).await {
        Err(error) if error.is(&SqlState::LOCK_NOT_AVAILABLE) => {
            tracing::debug!("run {run} is not noted in the comment on {table}: {error}");
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
