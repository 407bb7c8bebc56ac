//! Undoing a run: restores the before-image of each row that was not changed since.

use std::time::Instant;

use serde_json::json;

use super::RepairError;
use super::change::Change;
use super::columns::{self, Present};
use super::finding::Finding;
use super::journal;
use super::lines::Line;
use super::outcome::Pacing;
use super::repairer::{Executed, Repairer};
use super::rows::Rows;
use super::runs;
use super::task::Task;
use crate::db::Connection;

/// The name under which an undo is recorded.
pub const UNDO: &str = "undo";

impl Repairer {
    /// What undoing a run would do. Calls `on_line` with every line, as [`Self::look`] does. Writes nothing.
    ///
    /// # Errors
    ///
    /// [`RepairError`].
    pub async fn undo_dry_run(
        &self,
        run: i64,
        pacing: &Pacing,
        on_line: &mut (dyn FnMut(&Rows, &Line) + Send),
    ) -> Result<(Rows, Finding), RepairError> {
        let connection = self.to_look().await?;
        let task = self.undo_task(&connection, run).await?;
        let finding = self.look_at(&connection, &task, pacing, on_line).await?;
        connection.close().await;
        Ok((task.change.rows, finding))
    }

    /// Restores the before-image of every row that still is as the run left it.
    ///
    /// # Errors
    ///
    /// [`RepairError`].
    pub async fn undo(
        &self,
        run: i64,
        expected: Option<&str>,
        pacing: &Pacing,
    ) -> Result<(Rows, Executed), RepairError> {
        let started = Instant::now();
        let (lock, session) = self.acquire(pacing.lock_wait).await?;
        let result = match self.undo_task(&session, run).await {
            Ok(task) => {
                let executed = Box::pin(self.change_rows(&session, &task, expected, pacing, started)).await;
                executed.map(|executed| (task.change.rows, executed))
            }
            Err(error) => Err(error),
        };
        self.after().await;
        session.close().await;
        lock.release().await;
        result
    }

    /// The task of undoing a run.
    async fn undo_task(&self, connection: &Connection, run: i64) -> Result<Task, RepairError> {
        // An undo can be undone, too: its rows are those of the first run in the chain, which is of a repair.
        let mut first = runs::run(connection, run).await?;
        let closes = first.state.is_unfinished();
        while let Some(undoes) = first.undoes {
            if undoes >= first.id {
                let what =
                    format!("run {} is recorded as an undo of run {undoes}, which is not an earlier run", first.id);
                let hint = "the row in migrate.repair_run was changed: restore it";
                return Err(RepairError::refused_with_hint(what, hint));
            }
            first = runs::run(connection, undoes).await?;
        }
        if let Some(set) = first.set.as_ref().filter(|set| **set != self.set) {
            return Err(RepairError::refused(format!("run {run} is a run of set {set}, and this is set {}", self.set)));
        }
        let listed = self.repairs.list().find(|listed| listed.repair == first.repair);
        let Some(rows) = listed.as_ref().and_then(|listed| listed.rows.clone()) else {
            let what = match listed {
                Some(_) => "which changes no rows, so there is nothing to undo",
                None => "a repair that this program does not have",
            };
            return Err(RepairError::refused(format!("run {run} is a run of {}, {what}", first.repair)));
        };
        if let Some((there, found)) = journal::lost(connection, run).await? {
            let left = if there == 0 { "is lost".to_owned() } else { format!("has {there} of {found} rows") };
            return Err(RepairError::refused_with_hint(
                format!("the journal of run {run} {left}, so it cannot be undone"),
                "restore migrate.repair_change from a backup",
            ));
        }
        let present = columns::of_table(connection, rows.table).await?;
        let then: Option<Vec<Present>> =
            journal::hashed(connection, run).await?.and_then(|hashed| serde_json::from_value(hashed).ok());
        // If a column was dropped or has another type now, there is no hash to compare with.
        let then = then.filter(|then| !then.is_empty() && then.iter().all(|column| present.contains(column)));
        Ok(Task {
            name: UNDO.to_owned(),
            arguments: json!({ "run": run }),
            change: Change::undo(rows, &present, run, then.as_deref()),
            then,
            undoes: Some(run),
            closes,
            cutoff: None,
        })
    }
}
