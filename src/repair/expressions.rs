//! The parts of a repair's statements. The row of the table is `u`, the row of the journal `c`.

use std::fmt::Write as _;

use super::columns::{self, Present};
use super::mentions::with_columns;
use super::rows::{Column, Rows};

/// Whether the journal's row `c` belongs to a run of this repair, or to a run that is not recorded any more, which may be one.
pub(super) fn journal_of(repair: &str, runs_are_recorded: bool) -> String {
    if runs_are_recorded {
        format!(
            "NOT EXISTS (SELECT FROM migrate.repair_run r WHERE r.id = c.run_id AND r.repair <> '{}')",
            repair.replace('\'', "''")
        )
    } else {
        "true".to_owned()
    }
}

/// The condition on `u` for rows that are wrong and that no run other than `run` has repaired, according to the journal's rows
/// that meet `known_by`.
pub(super) fn found(eligible: &str, rows: &Rows, known_by: Option<&str>, run: Option<i64>) -> String {
    let mut found = format!("({eligible})");
    if let (Some(stamp), Some(known_by)) = (rows.stamps.first(), known_by) {
        // A row that holds the corrected values was repaired. Its time may have been set again, and a journal restored from a
        // backup of the middle of the run may not have it marked.
        let mut same = Vec::new();
        for (Column { name, sql_type }, _) in &rows.corrects {
            same.push(format!("u.{name} IS NOT DISTINCT FROM (c.after ->> '{name}'::text)::{sql_type}"));
        }
        for Column { name, sql_type } in &rows.rests_on {
            same.push(format!("u.{name} IS NOT DISTINCT FROM (c.before ->> '{name}'::text)::{sql_type}"));
        }
        let _ = write!(
            found,
            " AND NOT EXISTS (
                 SELECT FROM migrate.repair_change c
                 WHERE c.key = u.{}::text AND (c.applied_at = u.{stamp} OR {same}) AND {known_by}{}
             )",
            rows.key.name,
            run.map(|run| format!(" AND c.run_id <> {run}")).unwrap_or_default(),
            same = same.join(" AND "),
        );
    }
    found
}

/// Whether the row `u` still equals the after-image in the journal's row `c`, in these columns and in those hashed `then`.
pub(super) fn as_left(columns: &[Column], then: Option<&[Present]>) -> String {
    let mut as_left = format!("{} = c.after", record(columns, "u"));
    if let Some(then) = then {
        let _ = write!(as_left, " AND (c.others IS NULL OR c.others = {})", columns::hash(then));
    }
    as_left
}

/// An expression on the row `u`, evaluated on the before-image in the journal's row `c` instead.
pub(super) fn of_journal(expression: &str, columns: &[Column]) -> String {
    with_columns(expression, |name| {
        let column = columns.iter().find(|column| column.name == name)?;
        Some(format!("(c.before ->> '{name}'::text)::{}", column.sql_type))
    })
}

/// The before-image of a row in the journal, for these columns.
pub(super) fn given_back(columns: &[Column]) -> String {
    let pairs: Vec<String> =
        columns.iter().map(|Column { name, .. }| format!("'{name}', c.before -> '{name}'::text")).collect();
    pairs.join(", ")
}

pub(super) fn record(columns: &[Column], alias: &str) -> String {
    let pairs: Vec<String> = columns.iter().map(|Column { name, .. }| format!("'{name}', {alias}.{name}")).collect();
    format!("pg_catalog.jsonb_build_object({})", pairs.join(", "))
}

/// Some rows of run `$1`, by their numbers. Each is looked up by itself: without statistics, the planner might read the run's
/// whole journal for every batch.
pub(super) fn these(numbers: &str) -> String {
    format!(
        "c.ctid = ANY (ARRAY(
                   SELECT t.at
                   FROM pg_catalog.unnest({numbers}::bigint[]) AS x (n)
                   CROSS JOIN LATERAL (
                       SELECT j.ctid AS at FROM migrate.repair_change j WHERE j.run_id = $1 AND j.n = x.n OFFSET 0
                   ) t
               ))"
    )
}

pub(super) fn joins(rows: &Rows) -> &'static str {
    rows.owner.map_or("", |owner| owner.joins)
}

/// The time that a row belongs to.
pub(super) fn at(rows: &Rows) -> String {
    format!("u.{at} AS at", at = rows.at)
}

/// The columns that every source with lines has for a row.
pub(super) fn shared(rows: &Rows) -> String {
    let at = rows.at;
    format!(
        "{}::text AS owner, ((u.{at} AT TIME ZONE 'UTC')::date)::text AS day, u.{at} AS at",
        rows.owner.map_or("NULL", |owner| owner.expression),
    )
}
