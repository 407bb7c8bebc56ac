//! What a repair is, for whoever writes one.

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::RepairError;
use super::gate::Authorised;
use super::rebuild::RebuildContext;
use crate::db::Connection;
use crate::engine::{Forecast, Outcome};

/// A correction of rows that are in the database already, made once, by a person.
///
/// Whoever writes one says which rows are wrong and what they should say. Everything else is the mechanism's: the dry
/// run and its digest, the journal of every row before and after, batches, resuming, undoing.
///
/// The SQL below calls the table `u`. It is compared with the current row once more at the moment of the correction.
#[async_trait]
pub trait Repair: Send + Sync + 'static {
    /// Its own flags, as the command line reads them. They are kept with each run, and a run that was interrupted is
    /// continued by the same ones.
    type Arguments: clap::Args + Serialize + DeserializeOwned + Send + Sync;

    /// The name by which operators call it: lower-case words joined by `-`.
    fn name(&self) -> &'static str;

    /// What it repairs, in one line.
    fn about(&self) -> &'static str;

    /// Which table, which columns, and how the rows are summed up for a person.
    fn rows(&self) -> Rows;

    /// The condition on `u` that makes a row wrong. A corrected row must not meet it any more.
    fn eligible(&self, arguments: &Self::Arguments) -> String;

    /// If only rows from before some time are wrong: that time, as SQL reads it. Transactions that began before it and
    /// are still open are named at the end, since nobody can see yet what they write.
    fn cutoff(&self, arguments: &Self::Arguments) -> Option<String> {
        let _ = arguments;
        None
    }

    /// Compares the arguments with the database. Must not write.
    ///
    /// # Errors
    ///
    /// [`RepairError::Refused`] if they do not fit it.
    async fn check(&self, connection: &Connection, arguments: &Self::Arguments) -> Result<(), RepairError>;
}

/// Derived data, computed again from what it is derived from. Repeatable, so nothing is kept that could be undone.
#[async_trait]
pub trait Rebuild: Send + Sync + 'static {
    /// Its own flags, as the command line reads them.
    type Arguments: clap::Args + Serialize + DeserializeOwned + Send + Sync;

    /// The name by which operators call it: lower-case words joined by `-`.
    fn name(&self) -> &'static str;

    /// What it rebuilds, in one line.
    fn about(&self) -> &'static str;

    /// What it would do. Must not write; in a dry run its connection refuses to.
    async fn inspect(
        &self,
        connection: &Connection,
        cx: &RebuildContext,
        arguments: &Self::Arguments,
    ) -> Result<Forecast, RepairError>;

    /// Does what was found and authorised.
    async fn run(
        &self,
        connection: &Connection,
        cx: &RebuildContext,
        arguments: &Self::Arguments,
        authorised: &Authorised<Forecast>,
    ) -> Result<Outcome, RepairError>;
}

/// A column and its type, as SQL names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub sql_type: &'static str,
}

impl Column {
    /// A column.
    #[must_use]
    pub const fn new(name: &'static str, sql_type: &'static str) -> Self {
        Self { name, sql_type }
    }
}

/// The rows that a repair is about. Expressions name a column as `{column}`, because they are also evaluated on what the
/// journal keeps of a row.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The table, found along the search path.
    pub table: &'static str,
    /// Its primary key.
    pub key: Column,
    /// The columns that are corrected, each with what it becomes.
    pub corrects: Vec<(Column, &'static str)>,
    /// Columns of type `timestamptz` that are set to the time of the correction.
    pub stamps: Vec<&'static str>,
    /// Further columns that the correction rests on. Should one change before its row is reached, the row is left alone.
    pub rests_on: Vec<Column>,
    /// The corrected number that totals are about.
    pub amount: &'static str,
    /// A condition that is worth counting: the correction could not take away all that it should, for example.
    pub counts: Option<Counts>,
    /// When a row belongs to: a column of type `timestamptz`, never null. Rows are corrected in this order.
    pub at: &'static str,
    /// Whom a row belongs to: a name for it, the joins that it takes, and the expression.
    pub owner: Option<Owner>,
    /// How the numbers are called.
    pub names: Names,
    /// The hourly rollup is made of these rows, and has to be rebuilt where they change.
    pub feeds_rollup: bool,
}

/// A condition that is worth counting.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// How the number is called: `clamped_rows`.
    pub name: &'static str,
    /// The condition.
    pub condition: &'static str,
}

impl Rows {
    /// What its author has promised and can be checked without a database: expressions are made of columns that are
    /// compared, and the totals are about one that is corrected.
    pub(super) fn check(&self) -> Result<(), RepairError> {
        let known = |name: &str| {
            let of = |column: &Column| column.name == name;
            self.corrects.iter().any(|(column, _)| of(column))
                || self.rests_on.iter().any(of)
                || self.stamps.contains(&name)
        };
        let expressions =
            self.corrects.iter().map(|(_, becomes)| *becomes).chain(self.counts.map(|counts| counts.condition));
        for expression in expressions {
            for part in expression.split('{').skip(1) {
                let name = part.split('}').next().unwrap_or_default();
                if !known(name) {
                    return Err(RepairError::refused(format!(
                        "the repair is wrong itself: {expression} uses {{{name}}}, which is neither corrected, stamped nor in rests_on"
                    )));
                }
            }
        }
        if !self.corrects.iter().any(|(column, _)| column.name == self.amount) {
            let amount = self.amount;
            return Err(RepairError::refused(format!(
                "the repair is wrong itself: it does not correct its amount, {amount}"
            )));
        }
        Ok(())
    }
}

/// Whom a row belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// What that is: `workspace`.
    pub name: &'static str,
    /// Joins behind the table `u`. They must not lose or repeat a row.
    pub joins: &'static str,
    /// The expression.
    pub expression: &'static str,
}

/// How the numbers of a finding are called, in JSON and in the report.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// The sum as it is.
    pub before: &'static str,
    /// The sum as it will be.
    pub after: &'static str,
    /// The difference.
    pub removed: &'static str,
}
