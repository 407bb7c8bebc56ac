//! The rows that a repair corrects, and how.

use super::RepairError;
use super::derived::Derived;
use super::mentions::columns_of;

/// A column and its SQL type.
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

/// The rows that a repair corrects. In SQL, such a row is always `u`: `u.input_tokens`. Expressions are also evaluated on the
/// before-image in the journal, so they may use only columns that are corrected, stamped or listed in `rests_on`.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The table, found along the search path.
    pub table: &'static str,
    /// Its primary key.
    pub key: Column,
    /// The time of a row: a column of type `timestamptz`, never null. Rows are corrected in this order.
    pub at: &'static str,
    /// The columns that are corrected, each with the expression for its new value. Totals sum the first one.
    pub corrects: Vec<(Column, &'static str)>,
    /// Columns of type `timestamptz` that are set to the time of the correction. Default: none.
    pub stamps: Vec<&'static str>,
    /// Further columns that the correction depends on. If one changes before the run reaches the row, the row is left.
    pub rests_on: Vec<Column>,
    /// A condition to count, for example rows from which the correction could not subtract all that it should.
    pub counts: Option<Counts>,
    /// The owner of a row, if findings are grouped by owner.
    pub owner: Option<Owner>,
    /// The names of the sums. Default: made from the name of the first corrected column.
    pub names: Names,
    /// Data that is computed from these rows.
    pub derived: Option<&'static dyn Derived>,
}

/// A condition to count.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// The name of the number: `clamped_rows`.
    pub name: &'static str,
    /// The condition on `u`.
    pub condition: &'static str,
}

/// The owner of a row.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// The kind of owner: `workspace`.
    pub name: &'static str,
    /// Joins that follow the table `u`. They must not lose or repeat a row.
    pub joins: &'static str,
    /// The expression.
    pub expression: &'static str,
}

/// The names of a finding's sums, in JSON and in the report.
#[derive(Clone, Debug)]
pub struct Names {
    /// The sum before.
    pub before: String,
    /// The sum after.
    pub after: String,
    /// The difference.
    pub removed: String,
}

impl Names {
    /// These names.
    #[must_use]
    pub fn new(before: &str, after: &str, removed: &str) -> Self {
        let [before, after, removed] = [before, after, removed].map(str::to_owned);
        Self { before, after, removed }
    }
}

impl Rows {
    /// Rows of `table`, of which `column` is corrected to the value of the expression `becomes`.
    #[must_use]
    pub fn new(table: &'static str, key: Column, at: &'static str, column: Column, becomes: &'static str) -> Self {
        let name = column.name;
        Self {
            table,
            key,
            at,
            corrects: vec![(column, becomes)],
            stamps: Vec::new(),
            rests_on: Vec::new(),
            counts: None,
            owner: None,
            names: Names::new(&format!("{name}_before"), &format!("{name}_after"), &format!("{name}_removed")),
            derived: None,
        }
    }

    /// The corrected column that totals sum.
    #[must_use]
    pub fn amount(&self) -> Column {
        self.corrects.first().map_or(self.key, |(column, _)| *column)
    }

    /// The columns that are corrected.
    pub(crate) fn corrected(&self) -> impl Iterator<Item = Column> + '_ {
        self.corrects.iter().map(|(column, _)| *column)
    }

    /// The columns that are set to the time of the correction.
    pub(crate) fn stamped(&self) -> impl Iterator<Item = Column> + '_ {
        self.stamps.iter().map(|name| Column::new(name, "timestamptz"))
    }

    /// Checks, without a database, that expressions use only columns that a batch compares.
    pub(crate) fn check(&self) -> Result<(), RepairError> {
        let known = |name: &str| {
            let named = |column: Column| column.name == name;
            self.corrected().any(named)
                || self.stamped().any(named)
                || self.rests_on.iter().any(|column| named(*column))
        };
        let expressions = self.corrects.iter().map(|(_, becomes)| *becomes);
        for expression in expressions.chain(self.counts.map(|counts| counts.condition)) {
            if let Some(name) = columns_of(expression).find(|name| !known(name)) {
                return Err(RepairError::refused(format!(
                    "the repair is wrong: {expression} uses u.{name}, which is neither corrected, stamped nor in rests_on"
                )));
            }
        }
        Ok(())
    }
}
