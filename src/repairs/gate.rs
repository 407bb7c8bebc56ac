//! The gate: nothing is applied that was not inspected and authorised.
//!
//! [`Authorised`] is what every application asks for, and this file is the only place that can make one.

use serde_json::Value;

use super::RepairError;
use super::finding::Finding;
use super::journal;
use super::past;
use super::runs::Unfinished;
use crate::db::{self, Connection, Transaction};
use crate::engine::Forecast;

/// What was found, written into a journal that is not committed yet.
#[must_use = "what is not authorised is not applied, and its journal is rolled back"]
pub(super) struct Inspected<'c> {
    pub transaction: Transaction<'c>,
    pub run: i64,
    pub undoes: Option<i64>,
    pub finding: Finding,
    /// The table of these rows, and who owns it.
    pub table: &'static str,
    pub role: Option<&'c str>,
}

impl Inspected<'_> {
    pub fn finding(&self) -> &Finding {
        &self.finding
    }

    /// Commits the journal, if the operator agrees to what was found: by having said `--execute`, and, where a digest
    /// was given, by that.
    pub async fn authorise(self, expected: Option<&str>) -> Result<Authorised<Finding>, RepairError> {
        let Self { transaction, run, undoes, finding, table, role } = self;
        if let Err(error) = agree(expected, &[Some(finding.digest.as_str())]) {
            transaction.rollback().await;
            return Err(error);
        }
        journal::found(&transaction, run, finding.totals.rows, &finding.digest).await?;
        match undoes {
            Some(undoes) => journal::undone(&transaction, undoes).await?,
            None if finding.totals.rows > 0 => past::mark(&transaction, role, table, run).await?,
            None => {}
        }
        transaction.commit().await?;
        Ok(Authorised { what: finding, run })
    }

    /// There is nothing to do, so nothing is kept.
    pub async fn forget(self) -> Finding {
        self.transaction.rollback().await;
        self.finding
    }
}

/// What may be applied: it was inspected, and whoever may say so has said so. Only the gate makes one:
///
/// ```compile_fail
/// let forged = migrate::repairs::Authorised { what: "all of it", run: 1 };
/// ```
#[derive(Debug)]
pub struct Authorised<T> {
    what: T,
    run: i64,
}

impl<T> Authorised<T> {
    /// What was found.
    pub fn what(&self) -> &T {
        &self.what
    }

    /// The run under which it is written down.
    pub fn run(&self) -> i64 {
        self.run
    }
}

/// Goes on with a run that was inspected and authorised when it began. A digest that is given must be the one of then,
/// or of what is left now.
pub(super) async fn resume(
    connection: &Connection,
    unfinished: &Unfinished,
    expected: Option<&str>,
    now: Finding,
) -> Result<Authorised<Finding>, RepairError> {
    let Unfinished { id, total, journalled, .. } = unfinished;
    if journalled < total {
        return Err(RepairError::refused_with_hint(
            format!("run {id} cannot go on: it has found {total} rows, and its journal has {journalled} of them"),
            format!(
                "restore migrate.repair_change from a backup; or run: migrate repair close {id}, and this command again, \
                 which then begins anew"
            ),
        ));
    }
    agree(expected, &[Some(now.digest.as_str()), unfinished.digest.as_deref()])?;
    journal::reopen(connection, unfinished.id).await?;
    Ok(Authorised { what: now, run: unfinished.id })
}

/// Opens a run of something that keeps no journal of rows, or goes on with one.
pub(super) async fn rebuild(
    connection: &Connection,
    repair: &str,
    arguments: &Value,
    what: Forecast,
    unfinished: Option<i64>,
) -> Result<Authorised<Forecast>, db::Error> {
    let run = match unfinished {
        Some(unfinished) => {
            journal::reopen(connection, unfinished).await?;
            unfinished
        }
        None => journal::open(connection, &journal::Opening { repair, arguments, undoes: None, hashed: None }).await?,
    };
    Ok(Authorised { what, run })
}

fn agree(expected: Option<&str>, found: &[Option<&str>]) -> Result<(), RepairError> {
    match expected {
        Some(expected) if !found.contains(&Some(expected)) => Err(RepairError::Changed {
            expected: expected.to_owned(),
            found: found.first().copied().flatten().unwrap_or_default().to_owned(),
        }),
        _ => Ok(()),
    }
}
