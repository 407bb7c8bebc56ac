//! The undo of an insertion: each row is deleted that is as the run left it.

use std::time::Instant;

use serde_json::json;

use super::RepairError;
use super::hint::with_arguments;
use super::insertion::{Move, Moved, ONE_PASS, Way};
use super::inserts::Inserts;
use super::journal;
use super::outcome::Pacing;
use super::repairer::Repairer;
use super::runs::{self, Run};
use super::undo::UNDO;
use crate::db::{self, Connection, Hint};

impl Repairer {
    /// Undoes a run, if that has inserted rows: deletes each that is as the run left it, or tells what would be deleted. None if
    /// the run is of another kind.
    ///
    /// # Errors
    ///
    /// [`RepairError`].
    pub async fn undo_insertion(
        &self,
        run: i64,
        execute: bool,
        expected: Option<&str>,
        pacing: &Pacing,
    ) -> Result<Option<Moved>, RepairError> {
        let started = Instant::now();
        let connection = self.to_look().await?;
        let Some(inserts) = self.inserted_by(&connection, run).await? else { return Ok(None) };
        let transaction = connection.begin_with(ONE_PASS).await?;
        let row = transaction.query_one(&inserts.fill(include_str!("insertion_standing.sql")), &[&run]).await?;
        transaction.rollback().await;
        let count = |name: &str| row.try_get::<_, i64>(name).map(i64::unsigned_abs).map_err(db::Error::from);
        let [rows, changed, gone] = [count("rows")?, count("changed")?, count("gone")?];
        let duration = started.elapsed();
        connection.close().await;
        if !execute {
            return Ok(Some(Moved {
                run: None,
                undoes: Some(run),
                table: inserts.table,
                rows,
                changed,
                gone,
                duration,
            }));
        }
        let (lock, session) = self.acquire(pacing.lock_wait).await?;
        let moved = async {
            let way = Way::Out { undoes: run };
            let role = self.prepared(&session, &inserts, way).await?;
            let arguments = json!({ "run": run });
            let unfinished = runs::unfinished(&session, &self.set, UNDO, &arguments).await?;
            let moving = Move { session: &session, inserts: &inserts, way, role: role.as_deref(), pacing, started };
            self.moved(&moving, (UNDO, &arguments), unfinished, expected).await
        };
        let moved = Box::pin(moved).await;
        self.after().await;
        session.close().await;
        lock.release().await;
        // What was changed or gone before is no part of the undo's own journal.
        moved.map(|moved| Some(Moved { changed: moved.changed + changed, gone: moved.gone + gone, ..moved }))
    }

    /// What a run has inserted, if it has.
    async fn inserted_by(&self, connection: &Connection, run: i64) -> Result<Option<Inserts>, RepairError> {
        let found = runs::run(connection, run).await?;
        let inserts = |name: &str| self.repairs.inserts().find(|inserts| inserts.name == name).cloned();
        if let Some(undoes) = found.undoes {
            let first = runs::run(connection, undoes).await?;
            if inserts(&first.repair).is_some() {
                return Err(cannot_be_undone(run, first));
            }
        }
        let Some(inserts) = inserts(&found.repair) else { return Ok(None) };
        if let Some(set) = found.set.filter(|set| *set != self.set) {
            return Err(RepairError::refused(format!("run {run} is a run of set {set}, and this is set {}", self.set)));
        }
        if let Some((there, of)) = journal::lost(connection, run).await? {
            return Err(RepairError::refused_with_hint(
                format!("the journal of run {run} has {there} of {of} rows, so it cannot be undone"),
                "restore migrate.repair_change from a backup",
            ));
        }
        Ok(Some(inserts))
    }
}

/// Why the undo of an insertion is not undone itself: rows are inserted from where they come from.
fn cannot_be_undone(run: i64, first: Run) -> RepairError {
    let Run { id, repair: name, arguments, .. } = first;
    RepairError::refused_with_hint(
        format!("run {run} has deleted what run {id} of {name} had inserted, and cannot be undone itself"),
        Hint::of(move |program| {
            let again = program.command(&name).map(|command| with_arguments(command, &arguments));
            format!("insert what is missing again: {} --execute", again.unwrap_or_else(|| name.clone()))
        }),
    )
}
