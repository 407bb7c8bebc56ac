//! What is to be done with which rows, and looking at them.

use serde_json::Value;

use super::RepairError;
use super::execute::{big, straggler};
use super::finding::{Finding, Line, RollupThere, Totals};
use super::journal;
use super::registry::AnyRepair;
use super::repair::Rows;
use super::statements::{Change, Detail, LOOK};
use crate::db::{self, Connection, Holder};
use crate::usage::Pipeline;

/// What is to be done with which rows.
pub(super) struct Task<'a> {
    pub name: &'a str,
    pub arguments: Value,
    pub change: Change,
    pub undoes: Option<i64>,
    /// The run to be undone is unfinished: that it is not gone on with is something to do in itself.
    pub closes: bool,
    pub cutoff: Option<String>,
}

impl Task<'_> {
    pub async fn straggler(&self, connection: &Connection) -> Result<Option<Holder>, db::Error> {
        match &self.cutoff {
            Some(cutoff) => straggler(connection, &self.change, cutoff).await,
            None => Ok(None),
        }
    }
}

pub(super) async fn repair_task(
    connection: &Connection,
    repair: &dyn AnyRepair,
    arguments: &Value,
) -> Result<Task<'static>, RepairError> {
    repair.check(connection, arguments).await?;
    repair.rows().check()?;
    let cutoff = repair.cutoff(arguments)?;
    if let Some(cutoff) = &cutoff
        && let Some(run) = journal::forgotten(connection, repair.name(), cutoff).await?
    {
        return Err(RepairError::refused_with_hint(
            format!(
                "run {run} has repaired rows before this cutoff, and its journal is gone: they would be corrected again"
            ),
            format!("give a cutoff from before run {run}; migrate repair runs says when it was"),
        ));
    }
    let known_as = journal::is_there(connection).await?.then(|| repair.name());
    Ok(Task {
        name: repair.name(),
        arguments: arguments.clone(),
        change: Change::repair(repair.rows(), repair.eligible(arguments)?, known_as),
        undoes: None,
        closes: false,
        cutoff,
    })
}

/// One pass over the rows, in the open transaction; with a run, into its journal as well.
pub(super) async fn look(
    connection: &Connection,
    task: &Task<'_>,
    detail: Detail,
    journal_of: Option<i64>,
) -> Result<Finding, RepairError> {
    connection.batch(LOOK).await?;
    let stands_for = format!("{} {}", task.name, task.arguments);
    let rows = connection.query(&task.change.look(detail, journal_of), &[&stands_for]).await?;
    let mut finding = Finding {
        lines: Vec::new(),
        totals: Totals::default(),
        digest: String::new(),
        changed_since: 0,
        gone_since: 0,
        rollup: RollupThere::None,
        unfinished: None,
        straggler: None,
    };
    for row in &rows {
        let totals = Totals {
            rows: row.get::<_, i64>(2).unsigned_abs(),
            before: big(row.get(3)),
            after: big(row.get(4)),
            counted: row.get::<_, i64>(5).unsigned_abs(),
        };
        match row.get(8) {
            Some(digest) => (finding.totals, finding.digest) = (totals, digest),
            None => finding.lines.push(Line {
                owner: row.get(0),
                day: row.get(1),
                totals,
                first: row.get(6),
                last: row.get(7),
            }),
        }
    }
    if task.change.rows.feeds_rollup {
        finding.rollup = rollup_there(connection).await?;
    }
    if let Some(run) = task.undoes {
        let row = connection.query_one(&Change::since(&task.change.rows), &[&run]).await?;
        finding.changed_since = row.get::<_, i64>(0).unsigned_abs();
        finding.gone_since = row.get::<_, i64>(1).unsigned_abs();
    }
    Ok(finding)
}

/// Which hourly rollup there is.
pub(super) async fn rollup_there(connection: &Connection) -> Result<RollupThere, db::Error> {
    Ok(match Pipeline::read(connection).await? {
        None => RollupThere::None,
        Some(pipeline) if pipeline.is_ours() => RollupThere::Ours,
        Some(_) => RollupThere::Older,
    })
}

/// Whoever owns the table, if that is another role, and one that this session may become. Triggers on the table are then
/// not run with the rights of somebody mightier.
pub(super) async fn owner(connection: &Connection, table: &str) -> Result<Option<String>, RepairError> {
    const OWNER: &str = "
        SELECT r.rolname::text
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
        WHERE c.oid = to_regclass($1)
          AND r.rolname <> current_user
          AND pg_has_role(session_user, r.oid,
                          CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)";
    Ok(connection.query_opt(OWNER, &[&table]).await?.map(|row| row.get(0)))
}

/// Whether the rows, and what is made of them, may be changed: asked before anything is, so that it does not turn out in the
/// middle.
pub(super) async fn may_change(connection: &Connection, rows: &Rows, role: Option<&str>) -> Result<(), RepairError> {
    const MAY: &str = "
        SELECT t.name, coalesce($1, current_user::text)
        FROM unnest($2::text[]) t (name)
        WHERE to_regclass(t.name) IS NOT NULL
          AND NOT (has_table_privilege(coalesce($1, current_user::text), to_regclass(t.name), 'SELECT')
                   AND has_table_privilege(coalesce($1, current_user::text), to_regclass(t.name), 'UPDATE'))
        LIMIT 1";
    let mut tables = vec![rows.table];
    if rows.feeds_rollup {
        tables.push("task_usage_hourly");
    }
    let Some(row) = connection.query_opt(MAY, &[&role, &tables]).await? else { return Ok(()) };
    let (table, role): (String, String) = (row.get(0), row.get(1));
    Err(RepairError::refused_with_hint(
        format!("role {role} may not read and update table {table}"),
        "connect as the role that owns these tables, or as a member of it: GRANT <owner> TO <role>",
    ))
}
