//! Rows that are brought into a table from elsewhere, and taken out again: with the gate, the journal and the runs of repairs.
//!
//! What is to be inserted stands in a temporary table of the session, `pg_temp.insertion`, under the table's own column names. The
//! journal gives every row its key before the first one is inserted, so that an interrupted run continues without that table. An
//! undo deletes each row that is as the run left it.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Serialize;
use serde_json::{Value, json};
use tokio_postgres::error::SqlState;

use super::RepairError;
use super::access::{may, owner};
use super::event::RepairEvent;
use super::gate::{self, Authorised, Moving};
use super::inserts::Inserts;
use super::journal::{self, Opening};
use super::outcome::Pacing;
use super::rate::Rate;
use super::repairer::Repairer;
use super::runs::{self, RunState, Unfinished};
use crate::db::{self, Connection, Hint};

/// Whoever knows what to insert.
#[async_trait]
pub trait Candidates: Send {
    /// Makes `pg_temp.insertion` in this session. Not called when an interrupted run continues.
    ///
    /// # Errors
    ///
    /// [`RepairError`]: then nothing is inserted.
    async fn make(&mut self, connection: &Connection) -> Result<(), RepairError>;
}

/// What an insertion would do.
#[derive(Clone, Debug)]
pub struct WouldInsert {
    /// Rows.
    pub rows: u64,
    /// The hash of them and of the arguments.
    pub digest: String,
    /// A run with the same arguments that an execution would continue.
    pub unfinished: Option<Unfinished>,
}

/// What a run has inserted or deleted, in all its executions; or what an undo would delete.
#[derive(Clone, Debug, Serialize)]
pub struct Moved {
    /// The run; none if nothing was written.
    pub run: Option<i64>,
    /// The run that it undoes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undoes: Option<i64>,
    /// The table.
    pub table: &'static str,
    /// Rows that it has inserted, or deleted.
    pub rows: u64,
    /// Rows that somebody else has inserted or changed meanwhile, which stay as they are.
    pub changed: u64,
    /// Rows that were to be deleted, and are gone.
    pub gone: u64,
    /// How long this execution took.
    #[serde(serialize_with = "db::as_seconds")]
    pub duration: Duration,
}

/// Where the rows go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    In,
    Out { undoes: i64 },
}

/// One execution.
pub(super) struct Move<'a> {
    pub session: &'a Connection,
    pub inserts: &'a Inserts,
    pub way: Way,
    pub role: Option<&'a str>,
    pub pacing: &'a Pacing,
    pub started: Instant,
}

/// How long a batch waits for a row that another session is inserting or deleting; and its plan, which must not depend on
/// statistics, since a new journal has none.
const BATCH: &str =
    "SET LOCAL lock_timeout TO '100ms'; SET LOCAL synchronous_commit TO off; SET LOCAL enable_seqscan TO off;
    SET LOCAL jit TO off; SET LOCAL";
/// A whole journal against the whole table, once: each is read once.
pub(super) const ONE_PASS: &str = "SET LOCAL enable_nestloop TO off; SET LOCAL jit TO off";
const PAUSE: Duration = Duration::from_millis(200);

impl Inserts {
    /// How many candidates this session has, and their digest.
    async fn look(&self, connection: &Connection, arguments: &Value) -> Result<(u64, String), db::Error> {
        const LOOK: &str = "
            SELECT pg_catalog.count(*) AS rows,
                   pg_catalog.left(pg_catalog.md5(pg_catalog.concat($1::text, pg_catalog.count(*), pg_catalog.sum(
                       pg_catalog.hashtextextended(c::text, 0)::numeric))), 12) AS digest
            FROM pg_temp.insertion c";
        let row = connection.query_one(LOOK, &[&format!("{} {arguments}", self.name)]).await?;
        Ok((row.try_get::<_, i64>("rows")?.unsigned_abs(), row.try_get("digest")?))
    }
}

impl Repairer {
    /// What an insertion would do, of the candidates of this session. Writes nothing.
    ///
    /// # Errors
    ///
    /// The server's error.
    pub async fn would_insert(
        &self,
        connection: &Connection,
        inserts: &Inserts,
        arguments: &Value,
    ) -> Result<WouldInsert, RepairError> {
        journal::may_read(connection).await?;
        let (rows, digest) = inserts.look(connection, arguments).await?;
        let unfinished = runs::unfinished(connection, &self.set, inserts.name, arguments).await?;
        Ok(WouldInsert { rows, digest, unfinished })
    }

    /// Inserts the candidates, if their digest is `expected` (or none is given); or continues a run with the same arguments.
    ///
    /// # Errors
    ///
    /// [`RepairError`]. Committed batches stay; the next execution with the same arguments continues.
    pub async fn insert(
        &self,
        inserts: &Inserts,
        arguments: &Value,
        candidates: &mut dyn Candidates,
        expected: Option<&str>,
        pacing: &Pacing,
    ) -> Result<Moved, RepairError> {
        let started = Instant::now();
        let (lock, session) = self.acquire(pacing.lock_wait).await?;
        let moved = async {
            let role = self.prepared(&session, inserts, Way::In).await?;
            let unfinished = runs::unfinished(&session, &self.set, inserts.name, arguments).await?;
            let moving = Move { session: &session, inserts, way: Way::In, role: role.as_deref(), pacing, started };
            if unfinished.is_none() {
                candidates.make(&session).await?;
            }
            self.moved(&moving, (inserts.name, arguments), unfinished, expected).await
        };
        let moved = Box::pin(moved).await;
        self.after().await;
        session.close().await;
        lock.release().await;
        moved
    }

    /// Checks rights, before anything is written. The role that owns the table, if it is another one.
    pub(super) async fn prepared(
        &self,
        session: &Connection,
        inserts: &Inserts,
        way: Way,
    ) -> Result<Option<String>, RepairError> {
        journal::may_write(session).await?;
        let role = owner(session, inserts.table, None).await?;
        let needed = if way == Way::In { "SELECT, INSERT" } else { "SELECT, DELETE" };
        may(session, vec![(inserts.table, needed)], role.as_deref()).await?;
        journal::interrupt_killed_runs(session).await?;
        Ok(role)
    }

    /// Opens or continues the run, and goes through its journal.
    pub(super) async fn moved(
        &self,
        moving: &Move<'_>,
        (repair, arguments): (&str, &Value),
        unfinished: Option<Unfinished>,
        expected: Option<&str>,
    ) -> Result<Moved, RepairError> {
        let (session, inserts) = (moving.session, moving.inserts);
        if let Some(beside) = runs::unfinished_beside(session, &self.set, repair, arguments).await?
            && moving.way == Way::In
        {
            let (run, done, total) = (beside.id, db::grouped(beside.done), db::grouped(beside.total));
            return Err(RepairError::refused_with_hint(
                format!("run {run} of {repair} with other arguments is unfinished, with {done} of {total} rows done"),
                Hint::of(move |program| {
                    let close = program.command(&format!("repair close {run}")).map(|close| format!(": {close}"));
                    format!("continue it with its own arguments; or close it{}", close.unwrap_or_default())
                }),
            ));
        }
        let authorised = if let Some(unfinished) = unfinished {
            let (run, done, rows) = (unfinished.id, unfinished.done, unfinished.total);
            self.observer.tell(RepairEvent::RepairResumed { run, repair: repair.to_owned(), done, rows });
            self.before_move(moving, (repair, arguments), run, rows).await?;
            gate::resume_moving(session, &unfinished, expected).await?
        } else {
            let transaction = session.begin().await?;
            journal::prepare(&transaction, moving.role).await?;
            let undoes = if let Way::Out { undoes } = moving.way { Some(undoes) } else { None };
            let opening = Opening { set: &self.set, repair, arguments, undoes, hashed: None };
            let run = journal::open(&transaction, &opening).await?;
            let (rows, digest) = if let Some(undoes) = undoes {
                transaction.batch(ONE_PASS).await?;
                let sql = inserts.fill(include_str!("insertion_remove.sql"));
                (transaction.execute(&sql, &[&run, &undoes]).await?, String::new())
            } else {
                let sql = inserts.fill(include_str!("insertion_add.sql"));
                (transaction.execute(&sql, &[&run]).await?, inserts.look(&transaction, arguments).await?.1)
            };
            let is_open = match undoes {
                Some(undoes) => runs::run(&transaction, undoes).await?.state.is_unfinished(),
                None => false,
            };
            if rows == 0 && !is_open {
                transaction.rollback().await;
                let (table, duration) = (inserts.table, moving.started.elapsed());
                return Ok(Moved { run: None, undoes, table, rows: 0, changed: 0, gone: 0, duration });
            }
            self.before_move(moving, (repair, arguments), run, rows).await?;
            let authorised = gate::moving(transaction, (run, undoes), rows, &digest, expected).await?;
            self.observer.tell(RepairEvent::RepairStarted { run, repair: repair.to_owned(), rows });
            authorised
        };
        match self.go_through(moving, repair, &authorised).await {
            Ok(moved) => Ok(moved),
            Err(error) => {
                let run = authorised.run();
                journal::close_after(session, run, &error).await;
                let done = self.sums(moving, run).await.map_or(0, |moved| moved.rows);
                Err(RepairError::Stopped { run, done, total: authorised.what().total, source: Box::new(error) })
            }
        }
    }

    /// Batch after batch, from the first row that is not done.
    async fn go_through(
        &self,
        moving: &Move<'_>,
        repair: &str,
        authorised: &Authorised<Moving>,
    ) -> Result<Moved, RepairError> {
        let (run, Moving { done, total }) = (authorised.run(), *authorised.what());
        let (settings, sql) = moving.statements();
        let batch = i64::from(moving.pacing.batch_size);
        let rate = Rate::from(done);
        let mut done = done;
        let mut from = journal::first_open(moving.session, run).await?.unwrap_or(i64::MAX);
        let tell = |done| {
            let (per_second, eta) = rate.at(done, total);
            let (repair, unit) = (repair.to_owned(), "rows".into());
            self.observer.tell(RepairEvent::RepairProgress { run, repair, unit, done, total, per_second, eta });
        };
        tell(done);
        while from <= total.cast_signed() {
            done += moving.batch((&settings, &sql), run, from, from + batch).await?;
            from += batch;
            tell(done);
            moving.session.pause(moving.pacing.sleep_between_batches).await?;
        }
        let moved = self.sums(moving, run).await?;
        let totals =
            json!({ "rows": moved.rows, "changed_since_found": moved.changed, "gone_since_found": moved.gone });
        journal::close(moving.session, run, RunState::Done, Some(&totals)).await?;
        Ok(moved)
    }

    async fn sums(&self, moving: &Move<'_>, run: i64) -> Result<Moved, RepairError> {
        const SUMS: &str = "
            SELECT pg_catalog.count(c.applied_at) AS rows,
                   pg_catalog.count(*) FILTER (WHERE c.left_because = 'changed') AS changed,
                   pg_catalog.count(*) FILTER (WHERE c.left_because = 'gone') AS gone
            FROM migrate.repair_change c WHERE c.run_id = $1";
        let row = moving.session.query_one(SUMS, &[&run]).await?;
        let count = |name: &str| row.try_get::<_, i64>(name).map(i64::unsigned_abs).map_err(db::Error::from);
        Ok(Moved {
            run: Some(run),
            undoes: if let Way::Out { undoes } = moving.way { Some(undoes) } else { None },
            table: moving.inserts.table,
            rows: count("rows")?,
            changed: count("changed")?,
            gone: count("gone")?,
            duration: moving.started.elapsed(),
        })
    }
}

impl Move<'_> {
    /// The settings of a batch and its statement. What is inserted is joined with its batch; what is deleted is looked for row by
    /// row, through an index.
    pub fn statements(&self) -> (String, String) {
        let (sql, plan) = match self.way {
            Way::In => (include_str!("insertion_put.sql"), "enable_nestloop TO off"),
            Way::Out { .. } => {
                (include_str!("insertion_take.sql"), "enable_hashjoin TO off; SET LOCAL enable_mergejoin TO off")
            }
        };
        (format!("{BATCH} {plan}"), self.inserts.fill(sql))
    }

    /// One transaction. What another session is inserting or deleting is waited for, without keeping others waiting.
    async fn batch(&self, (settings, sql): (&str, &str), run: i64, from: i64, to: i64) -> Result<u64, RepairError> {
        let since = Instant::now();
        loop {
            let transaction = self.session.begin().await?;
            let work = async {
                transaction.batch(settings).await?;
                transaction.as_role(self.role, transaction.execute(sql, &[&run, &from, &to])).await
            };
            let error = match work.await {
                Ok(rows) => {
                    transaction.commit().await?;
                    return Ok(rows);
                }
                Err(error) => error,
            };
            transaction.rollback().await;
            let gives_way = error.is(&SqlState::LOCK_NOT_AVAILABLE) || error.is(&SqlState::T_R_DEADLOCK_DETECTED);
            if !gives_way || since.elapsed() >= self.pacing.lock_wait {
                return Err(error.into());
            }
            self.session.pause(PAUSE).await?;
        }
    }
}
