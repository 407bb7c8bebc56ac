//! What the statements of a repair are put together from. The table is `u`, the journal's row `c`.

use std::fmt::Write as _;

use super::columns::{self, Present};
use super::mentions::with_columns;
use super::rows::{Column, Rows};

/// Whether the journal's row `c` is of a run of this repair. A run that is not recorded any more may be.
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

/// The condition on `u` for rows that are wrong, and that no run but `run` has repaired, going by the rows of the journal that
/// are `known_by`.
pub(super) fn found(eligible: &str, rows: &Rows, known_by: Option<&str>, run: Option<i64>) -> String {
    let mut found = format!("({eligible})");
    if let (Some(stamp), Some(known_by)) = (rows.stamps.first(), known_by) {
        // What says what it was to be corrected to has been, also where somebody has set its time anew, or where the journal
        // does not know it, because it was restored from a backup that was taken in the middle of the run.
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

/// Whether the row `u` is as the journal's row `c` says it was left, in these columns, and in those that were hashed `then`.
pub(super) fn as_left(columns: &[Column], then: Option<&[Present]>) -> String {
    let mut as_left = format!("{} = c.after", record(columns, "u"));
    if let Some(then) = then {
        let _ = write!(as_left, " AND (c.others IS NULL OR c.others = {})", columns::hash(then));
    }
    as_left
}

/// An expression about the row `u`, about what the journal's row `c` has of it instead.
pub(super) fn of_journal(expression: &str, columns: &[Column]) -> String {
    with_columns(expression, |name| {
        let column = columns.iter().find(|column| column.name == name)?;
        Some(format!("(c.before ->> '{name}'::text)::{}", column.sql_type))
    })
}

/// What the journal has of a row from before its change, in those columns.
pub(super) fn given_back(columns: &[Column]) -> String {
    let pairs: Vec<String> =
        columns.iter().map(|Column { name, .. }| format!("'{name}', c.before -> '{name}'::text")).collect();
    pairs.join(", ")
}

pub(super) fn record(columns: &[Column], alias: &str) -> String {
    let pairs: Vec<String> = columns.iter().map(|Column { name, .. }| format!("'{name}', {alias}.{name}")).collect();
    format!("pg_catalog.jsonb_build_object({})", pairs.join(", "))
}

/// Some rows of run `$1`, by their numbers. Looked up one by one: a planner without statistics might read the run's whole
/// journal and filter it, for every batch.
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

/// When a row belongs to.
pub(super) fn at(rows: &Rows) -> String {
    format!("u.{at} AS at", at = rows.at)
}

/// What every source with lines says about a row.
pub(super) fn shared(rows: &Rows) -> String {
    let at = rows.at;
    format!(
        "{}::text AS owner, ((u.{at} AT TIME ZONE 'UTC')::date)::text AS day, u.{at} AS at",
        rows.owner.map_or("NULL", |owner| owner.expression),
    )
}
