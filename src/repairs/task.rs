//! What is to be done with which rows, and looking at them.

use serde_json::Value;
use tokio_postgres::Row;

use super::RepairError;
use super::columns::{self, Present};
use super::execute::{big, straggler};
use super::expressions::journal_of;
use super::finding::{Finding, Line, Lines, RollupThere, Totals};
use super::past;
use super::registry::AnyRepair;
use super::repair::Rows;
use super::runs;
use super::statements::{Change, Detail, LOOK};
use crate::db::{self, Connection, Holder, Purpose};
use crate::usage::{CALLED, Pipeline, WRITTEN};

/// The tables of the journal.
pub(super) const JOURNAL: [&str; 2] = ["migrate.repair_run", "migrate.repair_change"];

/// What is to be done with which rows.
pub(super) struct Task<'a> {
    pub name: &'a str,
    pub arguments: Value,
    pub change: Change,
    pub undoes: Option<i64>,
    /// The columns that the journal of the run to be undone has a hash of.
    pub then: Option<Vec<Present>>,
    /// The run to be undone is unfinished: that it is not gone on with is something to do in itself.
    pub closes: bool,
    pub cutoff: Option<String>,
}

impl Task<'_> {
    /// For an undo, rows that somebody has changed since that run, and rows that are gone.
    pub async fn changed_since(&self, connection: &Connection) -> Result<Option<(u64, u64)>, db::Error> {
        let Some(run) = self.undoes else { return Ok(None) };
        let row = connection.query_one(&Change::since(&self.change.rows, self.then.as_deref()), &[&run]).await?;
        Ok(Some((row.get::<_, i64>(0).unsigned_abs(), row.get::<_, i64>(1).unsigned_abs())))
    }

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
    let (rows, cutoff) = (repair.rows(), repair.cutoff(arguments)?);
    past::is_known(connection, repair.name(), rows.table, arguments, cutoff.as_deref()).await?;
    let there = runs::there(connection).await?;
    let known_by = there.changes.then(|| journal_of(repair.name(), there.runs));
    let present = columns::of_table(connection, rows.table).await?;
    Ok(Task {
        name: repair.name(),
        arguments: arguments.clone(),
        change: Change::repair(rows, &present, repair.eligible(arguments)?, known_by),
        then: None,
        undoes: None,
        closes: false,
        cutoff,
    })
}

/// Somebody who is told each line of a finding while it is read. Not all of them are kept.
pub(super) type OnLine<'a> = &'a mut (dyn FnMut(&Rows, &Line) + Send);

/// One pass over the rows, in the open transaction; with a run, into its journal as well.
pub(super) async fn look(
    connection: &Connection,
    task: &Task<'_>,
    detail: Detail,
    journal_of: Option<i64>,
) -> Result<Finding, RepairError> {
    look_and_tell(connection, task, detail, journal_of, &mut |_, _| {}).await
}

/// The same, and tells the lines. There may be more of them than memory.
pub(super) async fn look_and_tell(
    connection: &Connection,
    task: &Task<'_>,
    detail: Detail,
    journal_of: Option<i64>,
    on_line: OnLine<'_>,
) -> Result<Finding, RepairError> {
    connection.batch(LOOK).await?;
    let stands_for = format!("{} {}", task.name, task.arguments);
    let mut finding = Finding {
        lines: Lines::default(),
        totals: Totals::default(),
        digest: String::new(),
        changed_since: 0,
        gone_since: 0,
        rollup: RollupThere::None,
        unfinished: None,
        beside: None,
        straggler: None,
    };
    let mut converges = Ok(());
    let mut each = |row: &Row| {
        let totals = Totals {
            rows: row.get::<_, i64>(2).unsigned_abs(),
            before: big(row.get(3)),
            after: big(row.get(4)),
            counted: row.get::<_, i64>(5).unsigned_abs(),
        };
        if let Some(digest) = row.get(8) {
            (finding.totals, finding.digest) = (totals, digest);
            converges = self::converges(task, row);
        } else {
            let line = Line { owner: row.get(0), day: row.get(1), totals, first: row.get(6), last: row.get(7) };
            on_line(&task.change.rows, &line);
            finding.lines.add(line);
        }
    };
    let sql = task.change.look(detail, journal_of);
    match journal_of {
        // What writes cannot be behind a cursor.
        Some(_) => connection.each_row(&sql, &[&stands_for], &mut each).await?,
        // Whoever is told may take its time, as a pager does: the server must not wait for it in the middle of an answer.
        None => connection.each_row_of_cursor(&sql, &[&stands_for], &mut each).await?,
    }
    converges?;
    if task.change.rows.feeds_rollup {
        finding.rollup = rollup_there(connection).await?;
    }
    if let Some(since) = task.changed_since(connection).await? {
        (finding.changed_since, finding.gone_since) = since;
    }
    Ok(finding)
}

/// A rule that its own correction does not satisfy would take away more with every run. `row` is the line of the total.
fn converges(task: &Task<'_>, row: &Row) -> Result<(), RepairError> {
    let still: i64 = row.try_get(9).map_err(db::Error::from)?;
    if still == 0 {
        return Ok(());
    }
    let name = task.name;
    let of = row.try_get::<_, i64>(2).map_err(db::Error::from)?;
    let [first, last]: [Option<String>; 2] =
        [row.try_get(10).map_err(db::Error::from)?, row.try_get(11).map_err(db::Error::from)?];
    let mut examples = vec![first.unwrap_or_default(), last.unwrap_or_default()];
    examples.dedup();
    Err(RepairError::refused_with_hint(
        format!(
            "the rule of {name} does not converge: {still} of {of} rows would still meet its condition after the correction, \
             for example {} {}",
            task.change.rows.key.name,
            examples.join(" and ")
        ),
        "change the repair, so that a corrected row no longer meets its condition",
    ))
}

/// Which hourly rollup there is.
pub(super) async fn rollup_there(connection: &Connection) -> Result<RollupThere, db::Error> {
    Ok(match Pipeline::read(connection).await? {
        None => RollupThere::None,
        Some(pipeline) if pipeline.is_ours() => RollupThere::Ours,
        Some(_) => RollupThere::Older,
    })
}

/// Whether what is written into history and journal runs nobody's code.
pub(super) async fn may_write_history(connection: &Connection) -> Result<(), db::Error> {
    db::refuse_superuser(connection, &JOURNAL, &[], Purpose::Write).await?;
    db::check_history(connection).await
}

/// Whoever owns the table, if that is another role, and one that this session may become. Triggers on the table are then
/// not run with the rights of another role; a superuser, who could not keep them from it, is refused.
pub(super) async fn owner(connection: &Connection, table: &str) -> Result<Option<String>, RepairError> {
    let tables = [&[table], &WRITTEN[..]].concat();
    db::refuse_superuser(connection, &tables, &CALLED, Purpose::Write).await?;
    Ok(db::acting_role(connection, table).await?)
}

/// What a window of the rollup, and the entry of a bucket into its queue, take.
const OF_THE_ROLLUP: [(&str, &str); 6] = [
    ("agent_task_queue", "SELECT"),
    ("agent", "SELECT"),
    ("issue", "SELECT"),
    ("task_usage_hourly", "SELECT, INSERT, UPDATE, DELETE"),
    ("task_usage_hourly_dirty", "SELECT, INSERT, UPDATE, DELETE"),
    ("task_usage_hourly_invalidation", "SELECT, DELETE"),
];

/// Whether the rows, and what is made of them, may be changed: asked before anything is, so that it does not turn out in the
/// middle.
pub(super) async fn may_change(connection: &Connection, rows: &Rows, role: Option<&str>) -> Result<(), RepairError> {
    const MAY: &str = "
        SELECT t.name, coalesce($1, current_user::pg_catalog.text) AS role, pg_catalog.string_agg(p.name, ', ') AS missing
        FROM ROWS FROM (pg_catalog.unnest($2::pg_catalog.text[]), pg_catalog.unnest($3::pg_catalog.text[]))
            AS t (name, privileges)
        CROSS JOIN LATERAL pg_catalog.string_to_table(t.privileges, ', ') AS p (name)
        WHERE pg_catalog.to_regclass(t.name) IS NOT NULL
          AND NOT pg_catalog.has_table_privilege(
              coalesce($1, current_user::pg_catalog.text)::pg_catalog.name, pg_catalog.to_regclass(t.name)::oid, p.name)
        GROUP BY t.name
        ORDER BY t.name
        LIMIT 1";
    let mut needed = vec![(rows.table, "SELECT, UPDATE")];
    if rows.feeds_rollup {
        needed.extend(OF_THE_ROLLUP);
    }
    let (tables, privileges): (Vec<&str>, Vec<&str>) = needed.into_iter().unzip();
    let Some(row) = connection.query_opt(MAY, &[&role, &tables, &privileges]).await? else { return Ok(()) };
    let [table, role, missing]: [String; 3] = ["name", "role", "missing"].map(|name| row.get(name));
    Err(RepairError::refused_with_hint(
        format!("role {role} has no right to {missing} on table {table}"),
        "connect as the role that owns these tables, or as a member of it: GRANT <owner> TO <role>",
    ))
}
