//! One batch: a transaction that changes rows and marks them in the journal.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use super::RepairError;
use super::batch_sql::BATCH;
use super::change::Change;
use super::derived::Refresh;
use super::gate::{Authorised, Rows};
use super::journal;
use crate::db::{self, Connection, Transaction};

/// Writes the batches of one run.
pub(super) struct Writer<'a> {
    pub connection: &'a Connection,
    pub authorised: &'a Authorised<Rows>,
    /// The role that owns the table, if that is not the session's.
    pub role: Option<&'a str>,
    pub refresh: Refresh,
    pub batch_size: u32,
    pub lock_wait: Duration,
    pub prepared: Prepared,
}

/// What every batch runs. Planning it for each batch would cost a tenth of the run's time.
pub(super) struct Prepared {
    apply_next: Statement,
    keep_all: Statement,
}

impl Prepared {
    pub async fn new(connection: &Connection, change: &Change) -> Result<Self, db::Error> {
        Ok(Self {
            apply_next: connection.prepare(&change.apply_next()).await?,
            keep_all: connection.prepare(&change.keep_all()).await?,
        })
    }
}

/// The result of a batch.
pub(super) struct Batch {
    pub last: i64,
    pub applied: u64,
    pub left: u64,
    pub hours: u64,
    pub held: Vec<i64>,
}

/// Which rows a batch takes.
#[derive(Clone, Copy)]
pub(super) enum Take<'a> {
    /// The next rows after this number.
    Behind(i64),
    /// These rows. Rows that another session has locked are skipped.
    These(&'a [i64]),
}

impl Writer<'_> {
    /// Locked rows are rare, and locking all rows beforehand costs nearly as much as changing them. So the first try waits a
    /// tenth of a second for a lock. If that fails, the batch starts again and skips locked rows. If that fails, too,
    /// another lock than a row's blocks the batch, and all its rows count as held by other sessions.
    pub async fn batch(&self, take: Take<'_>) -> Result<Option<Batch>, RepairError> {
        let is_blocked = |error: &RepairError| match error {
            RepairError::Database(error) => {
                error.is(&SqlState::LOCK_NOT_AVAILABLE) || error.is(&SqlState::T_R_DEADLOCK_DETECTED)
            }
            _ => false,
        };
        let these: Vec<i64> = match take {
            Take::These(these) => these.to_vec(),
            Take::Behind(cursor) => match self.try_batch(take).await {
                Err(error) if is_blocked(&error) => {
                    // A separate transaction; beginning it also ends the failed one.
                    let transaction = self.connection.begin().await?;
                    let limit = i64::from(self.batch_size);
                    let row =
                        transaction.query_one(&Change::next(), &[&self.authorised.run(), &cursor, &limit]).await?;
                    transaction.rollback().await;
                    row.try_get("rows").map_err(db::Error::from)?
                }
                result => return result,
            },
        };
        match self.try_batch(Take::These(&these)).await {
            Err(error) if is_blocked(&error) => {
                // Ends the failed transaction: the next statement must not run in it.
                self.connection.begin().await?.rollback().await;
                let last = these.last().copied();
                Ok(last.map(|last| Batch { last, applied: 0, left: 0, hours: 0, held: these }))
            }
            result => result,
        }
    }

    async fn try_batch(&self, take: Take<'_>) -> Result<Option<Batch>, RepairError> {
        let (run, change) = (self.authorised.run(), self.change());
        let transaction = self.begin().await?;
        transaction.batch(BATCH).await?;
        let (all, mine, changed) = match take {
            Take::Behind(cursor) => {
                let limit = i64::from(self.batch_size);
                let params: [&(dyn ToSql + Sync); 3] = [&run, &cursor, &limit];
                let work = transaction.query_prepared(&self.prepared.apply_next, &params);
                let changed = Changed::read(&transaction.as_role(self.role, work).await?)?;
                (changed.batch.clone(), changed.batch.clone(), changed)
            }
            Take::These(all) => {
                let mine: Vec<i64> = transaction.query_one(&change.lock(), &[&run, &all]).await?.get("rows");
                let sql = change.apply_locked();
                let rows = transaction.as_role(self.role, transaction.query(&sql, &[&run, &mine])).await?;
                (all.to_vec(), mine, Changed::read(&rows)?)
            }
        };
        let Changed { applied, hours, as_meant, on_time, .. } = changed;
        if !on_time {
            transaction.rollback().await;
            return Err(self.clock_set_back(run).await?);
        }
        if !as_meant {
            transaction.rollback().await;
            return Err(RepairError::Overruled { table: change.rows.table });
        }
        let Some(last) = all.last().copied() else {
            transaction.rollback().await;
            return Ok(None);
        };
        let not_applied = without(&all, &applied);
        let gone: Vec<i64> = if not_applied.is_empty() {
            Vec::new()
        } else {
            transaction.query_one(&change.gone(), &[&run, &not_applied]).await?.get("rows")
        };
        let held = without(&without(&all, &mine), &gone);
        let as_changed = without(&without(&mine, &applied), &gone);
        if self.refresh == (Refresh::Left { queue: true })
            && !applied.is_empty()
            && let Some(enqueue) = change.enqueue()
        {
            transaction.as_role(self.role, transaction.execute(&enqueue, &[&run, &applied])).await?;
        }
        match take {
            Take::Behind(cursor) if not_applied.is_empty() => {
                transaction.query_prepared(&self.prepared.keep_all, &[&run, &cursor, &last]).await?;
            }
            _ => {
                transaction.execute(&change.keep(), &[&run, &applied, &as_changed, &gone]).await?;
            }
        }
        if !applied.is_empty() && self.refresh == Refresh::Now {
            journal::to_be_refreshed(&transaction, run).await?;
        }
        transaction.commit().await?;
        Ok(Some(Batch {
            last,
            applied: applied.len() as u64,
            left: (as_changed.len() + gone.len()) as u64,
            hours,
            held,
        }))
    }

    /// Begins a batch's transaction. Derived data has a lock, which is taken here: no other session computes the data from
    /// half of a batch, and older programs, which hold the lock for a session, have finished.
    pub async fn begin(&self) -> Result<Transaction<'_>, RepairError> {
        if let Some(derived) = self.change().rows.derived {
            Ok(derived.begin(self.connection, self.lock_wait).await?)
        } else {
            let transaction = self.connection.begin().await?;
            transaction.limit_lock_wait(self.lock_wait).await?;
            Ok(transaction)
        }
    }

    async fn clock_set_back(&self, run: i64) -> Result<RepairError, db::Error> {
        const NOW: &str = "SELECT pg_catalog.now()::pg_catalog.text AS now";
        let now = self.connection.query_one(NOW, &[]).await?.try_get("now")?;
        let began = self.change().not_before.clone().unwrap_or_default();
        Ok(RepairError::ClockSetBack { run, now, began })
    }

    pub fn change(&self) -> &Change {
        &self.authorised.what().change
    }
}

/// What a batch's statement returns.
struct Changed {
    batch: Vec<i64>,
    applied: Vec<i64>,
    hours: u64,
    as_meant: bool,
    on_time: bool,
}

impl Changed {
    fn read(rows: &[Row]) -> Result<Self, db::Error> {
        let Some(row) = rows.first() else {
            return Err(db::Error::Conversion { reason: "a batch returned nothing".to_owned() });
        };
        Ok(Self {
            batch: row.try_get("batch")?,
            applied: row.try_get("applied")?,
            hours: row.try_get::<_, i64>("hours")?.unsigned_abs(),
            as_meant: row.try_get("as_meant")?,
            on_time: row.try_get("on_time")?,
        })
    }
}

/// The numbers in `all` that are not in `some`. Both are sorted.
fn without(all: &[i64], some: &[i64]) -> Vec<i64> {
    all.iter().copied().filter(|n| some.binary_search(n).is_err()).collect()
}
