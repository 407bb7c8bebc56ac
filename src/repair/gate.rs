//! The gate: nothing is applied that was not inspected and authorised.
//!
//! [`Authorised`] holds what is applied, and this file is the only place that can make one.

use serde_json::Value;

use super::RepairError;
use super::change::Change;
use super::finding::Finding;
use super::journal::{self, Opening};
use super::past;
use super::runs::Unfinished;
use crate::db::{Connection, Hint, Transaction};
use crate::engine::{Forecast, Hook};

/// What the inspection found, with a journal that is not committed yet.
#[must_use = "what is not authorised is not applied, and its journal is rolled back"]
pub(super) struct Inspected<'c> {
    pub transaction: Transaction<'c>,
    pub run: i64,
    pub undoes: Option<i64>,
    pub finding: Finding,
    /// What would be applied.
    pub change: Change,
    /// The role that owns the table of these rows, if it is another one.
    pub role: Option<&'c str>,
}

/// Rows that this run may change.
#[derive(Debug)]
pub(super) struct Rows {
    /// How they are changed.
    pub change: Change,
    /// Rows that were done before, and rows that the run found.
    pub done: u64,
    pub total: u64,
}

/// Rows that this run may insert or delete.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moving {
    /// Rows that were done before, and rows of the run.
    pub done: u64,
    pub total: u64,
}

/// What may be applied: it was inspected, and the operator authorised it. Only this file can make one.
#[derive(Debug)]
pub(super) struct Authorised<T> {
    what: T,
    run: i64,
}

impl<T> Authorised<T> {
    /// What may be applied.
    pub fn what(&self) -> &T {
        &self.what
    }

    /// The run under which it is recorded.
    pub fn run(&self) -> i64 {
        self.run
    }
}

impl Inspected<'_> {
    /// Commits the journal. The operator authorises it by `--execute`; a digest, if given, must match.
    pub async fn authorise(self, expected: Option<&str>) -> Result<(Finding, Authorised<Rows>), RepairError> {
        let Self { transaction, run, undoes, finding, change, role } = self;
        if let Err(error) = agree(expected, &[&finding.digest]) {
            transaction.rollback().await;
            return Err(error);
        }
        let total = finding.totals.rows;
        journal::found(&transaction, run, total, &finding.digest).await?;
        match undoes {
            Some(undoes) => journal::undone(&transaction, undoes).await?,
            None if total > 0 => past::mark(&transaction, role, change.rows.table, run).await?,
            None => {}
        }
        let change = change.not_before(journal::began(&transaction, run).await?);
        transaction.commit().await?;
        Ok((finding, Authorised { what: Rows { change, done: 0, total }, run }))
    }

    /// Rolls back the journal: there is nothing to do.
    pub async fn forget(self) -> Finding {
        self.transaction.rollback().await;
        self.finding
    }
}

/// Continues a run that was authorised when it began. A digest, if given, must be that of the beginning, or that of the
/// rows left now.
pub(super) async fn resume(
    connection: &Connection,
    unfinished: &Unfinished,
    expected: Option<&str>,
    now: &Finding,
    change: Change,
) -> Result<Authorised<Rows>, RepairError> {
    let Unfinished { id, total, done, journalled, digest, .. } = unfinished;
    if journalled < total {
        return Err(incomplete(*id, *total, *journalled));
    }
    agree(expected, &[&now.digest, digest.as_deref().unwrap_or_default()])?;
    journal::reopen(connection, *id).await?;
    let change = change.not_before(journal::began(connection, *id).await?);
    Ok(Authorised { what: Rows { change, done: *done, total: *total }, run: *id })
}

/// Commits the journal of rows to be inserted or deleted.
pub(super) async fn moving(
    transaction: Transaction<'_>,
    (run, undoes): (i64, Option<i64>),
    rows: u64,
    digest: &str,
    expected: Option<&str>,
) -> Result<Authorised<Moving>, RepairError> {
    if let Err(error) = agree(expected, &[digest]) {
        transaction.rollback().await;
        return Err(error);
    }
    journal::found(&transaction, run, rows, digest).await?;
    if let Some(undoes) = undoes {
        journal::undone(&transaction, undoes).await?;
    }
    transaction.commit().await?;
    Ok(Authorised { what: Moving { done: 0, total: rows }, run })
}

/// Continues such a run, which was authorised when it began.
pub(super) async fn resume_moving(
    connection: &Connection,
    unfinished: &Unfinished,
    expected: Option<&str>,
) -> Result<Authorised<Moving>, RepairError> {
    let Unfinished { id, total, done, journalled, digest, .. } = unfinished;
    if journalled < total {
        return Err(incomplete(*id, *total, *journalled));
    }
    agree(expected, &[digest.as_deref().unwrap_or_default()])?;
    journal::reopen(connection, *id).await?;
    Ok(Authorised { what: Moving { done: *done, total: *total }, run: *id })
}

/// Opens or continues a run of a hook, if the hook has planned any work. Such a run has no journal of rows.
pub(super) async fn rebuild(
    connection: &Connection,
    set: &str,
    (repair, arguments): (&str, &Value),
    (hook, plan): (Box<dyn Hook>, Forecast),
    unfinished: Option<i64>,
) -> Result<Result<Authorised<Box<dyn Hook>>, Forecast>, RepairError> {
    if !plan.work {
        return Ok(Err(plan));
    }
    let run = match unfinished {
        Some(unfinished) => {
            journal::reopen(connection, unfinished).await?;
            unfinished
        }
        None => journal::open(connection, &Opening { set, repair, arguments, undoes: None, hashed: None }).await?,
    };
    Ok(Ok(Authorised { what: hook, run }))
}

fn incomplete(run: i64, total: u64, journalled: u64) -> RepairError {
    RepairError::refused_with_hint(
        format!("run {run} cannot continue: it found {total} rows, and its journal has {journalled} of them"),
        to_close(run),
    )
}

/// What to do about a run whose journal is incomplete.
fn to_close(run: i64) -> Hint {
    Hint::of(move |program| {
        let close = program.command(&format!("repair close {run}")).map(|command| format!(": {command}"));
        format!(
            "restore migrate.repair_change from a backup; or close the run{}, and run this again, which starts a new one",
            close.unwrap_or_default()
        )
    })
}

fn agree(expected: Option<&str>, found: &[&str]) -> Result<(), RepairError> {
    match expected {
        Some(expected) if !found.contains(&expected) => Err(RepairError::Changed {
            expected: expected.to_owned(),
            found: found.first().copied().unwrap_or_default().to_owned(),
        }),
        _ => Ok(()),
    }
}
