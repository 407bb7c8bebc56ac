//! The inspection: one pass over the table, in an open transaction.

use tokio_postgres::Row;

use super::RepairError;
use super::change::{Detail, LOOK};
use super::derived::Refresh;
use super::finding::Finding;
use super::lines::{Line, Totals};
use super::rows::Rows;
use super::task::Task;
use crate::db::{self, Connection};

/// Called with each line of a finding while it is read. The finding does not keep all of them.
pub(super) type OnLine<'a> = &'a mut (dyn FnMut(&Rows, &Line) + Send);

/// One pass over the rows; with a run, it also writes the run's journal. Lines go to `on_line`: all of them might not fit
/// into memory.
pub(super) async fn look(
    connection: &Connection,
    task: &Task,
    detail: Detail,
    journal_of: Option<i64>,
    refresh: bool,
    on_line: OnLine<'_>,
) -> Result<Finding, RepairError> {
    connection.batch(LOOK).await?;
    let hashed = format!("{} {}", task.name, task.arguments);
    let mut finding = Finding::default();
    let mut read = Ok(());
    let mut each = |row: &Row| {
        if read.is_ok() {
            read = take(row, task, &mut finding, on_line);
        }
    };
    let sql = task.change.look(detail, journal_of);
    match journal_of {
        // A cursor cannot run a statement that writes.
        Some(_) => connection.each_row(&sql, &[&hashed], &mut each).await?,
        // The reader of the lines may be slow, such as a pager. With a cursor, the server does not wait for it.
        None => connection.each_row_of_cursor(&sql, &[&hashed], &mut each).await?,
    }
    read?;
    let change = &task.change;
    finding.refresh = Refresh::of(change.rows.derived, connection, refresh, change.restores_times()).await?;
    if let Some(since) = task.changed_since(connection).await? {
        (finding.changed_since, finding.gone_since) = since;
    }
    Ok(finding)
}

/// A line, or the total, which has the digest.
fn take(row: &Row, task: &Task, finding: &mut Finding, on_line: OnLine<'_>) -> Result<(), RepairError> {
    let totals = Totals::from_row(row)?;
    if let Some(digest) = row.try_get("digest").map_err(db::Error::from)? {
        (finding.totals, finding.digest) = (totals, digest);
        return converges(task, row);
    }
    let line = Line::from_row(row, totals)?;
    on_line(&task.change.rows, &line);
    finding.lines.add(line);
    Ok(())
}

/// Refuses a rule whose corrected rows still meet its condition: each run would subtract again. `row` is the total's line.
fn converges(task: &Task, row: &Row) -> Result<(), RepairError> {
    let count = |name: &str| row.try_get::<_, i64>(name).map_err(db::Error::from);
    let example = |name: &str| row.try_get::<_, Option<String>>(name).map_err(db::Error::from);
    let (still, of) = (count("still")?, count("rows")?);
    if still == 0 {
        return Ok(());
    }
    let mut examples = [example("first_still")?, example("last_still")?].map(Option::unwrap_or_default).to_vec();
    examples.dedup();
    Err(RepairError::refused_with_hint(
        format!(
            "the rule of {} does not converge: {still} of {of} rows would still meet its condition after the correction, \
             for example {} {}",
            task.name,
            task.change.rows.key.name,
            examples.join(" and ")
        ),
        "change the repair, so that a corrected row no longer meets its condition",
    ))
}
