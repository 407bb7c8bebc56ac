//! What to change, and in which rows.

use serde_json::Value;

use super::RepairError;
use super::change::Change;
use super::columns::{self, Present};
use super::expressions::journal_of;
use super::past;
use super::registry::Repairs;
use super::runs;
use crate::db::{self, Connection, Holder};

/// What to change, and in which rows.
pub(super) struct Task {
    pub name: String,
    pub arguments: Value,
    pub change: Change,
    pub undoes: Option<i64>,
    /// The columns that the journal of the run to be undone has a hash of.
    pub then: Option<Vec<Present>>,
    /// The run to be undone is unfinished. The undo then has work even without rows: it closes that run.
    pub closes: bool,
    pub cutoff: Option<String>,
}

impl Task {
    /// The task of this repair with these flags.
    pub async fn of_repair(
        connection: &Connection,
        repairs: &Repairs,
        name: &str,
        arguments: &Value,
    ) -> Result<Self, RepairError> {
        let (rows, repair) = repairs.repair(name, arguments)?;
        repair.check(connection).await?;
        rows.check()?;
        let cutoff = repair.cutoff();
        past::is_known(connection, name, rows.table, arguments, cutoff.as_deref()).await?;
        let there = runs::there(connection).await?;
        let known_by = there.changes.then(|| journal_of(name, there.runs));
        let present = columns::of_table(connection, rows.table).await?;
        Ok(Self {
            name: name.to_owned(),
            arguments: arguments.clone(),
            change: Change::repair(rows, &present, repair.eligible(), known_by),
            then: None,
            undoes: None,
            closes: false,
            cutoff,
        })
    }

    /// For an undo: how many rows were changed since that run, and how many were deleted.
    pub async fn changed_since(&self, connection: &Connection) -> Result<Option<(u64, u64)>, db::Error> {
        let Some(run) = self.undoes else { return Ok(None) };
        let row = connection.query_one(&Change::since(&self.change.rows, self.then.as_deref()), &[&run]).await?;
        Ok(Some((row.try_get::<_, i64>("changed")?.unsigned_abs(), row.try_get::<_, i64>("gone")?.unsigned_abs())))
    }

    /// The oldest transaction that writes the table and began before the cutoff.
    pub async fn long_transaction(&self, connection: &Connection) -> Result<Option<Holder>, db::Error> {
        match &self.cutoff {
            Some(cutoff) => self.change.find_long_transaction(connection, cutoff).await,
            None => Ok(None),
        }
    }
}
