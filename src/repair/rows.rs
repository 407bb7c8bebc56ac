//! Which rows a repair is about, and what becomes of them.

use super::RepairError;
use super::derived::Derived;
use super::mentions::columns_of;

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

/// The rows that a repair is about. SQL calls such a row `u`, everywhere: `u.input_tokens`. Expressions about it are
/// evaluated on what the journal keeps of a row, too, so they name only columns that are corrected, stamped or rested on.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The table, found along the search path.
    pub table: &'static str,
    /// Its primary key.
    pub key: Column,
    /// When a row belongs to: a column of type `timestamptz`, never null. Rows are corrected in this order.
    pub at: &'static str,
    /// The columns that are corrected, each with the expression for its new value. Totals are about the first one.
    pub corrects: Vec<(Column, &'static str)>,
    /// Columns of type `timestamptz` that are set to the time of the correction. None, unless it is said.
    pub stamps: Vec<&'static str>,
    /// Further columns that the correction rests on: a row in which one changes before it is reached is left alone.
    pub rests_on: Vec<Column>,
    /// A condition that is worth counting: the correction could not take away all that it should, for example.
    pub counts: Option<Counts>,
    /// Whom a row belongs to, if findings are told by owner.
    pub owner: Option<Owner>,
    /// How the sums are called: by the name of the first corrected column, unless it is said.
    pub names: Names,
    /// Data that is computed from these rows.
    pub derived: Option<&'static dyn Derived>,
}

/// A condition that is worth counting.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// How the number is called: `clamped_rows`.
    pub name: &'static str,
    /// The condition on `u`.
    pub condition: &'static str,
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

/// How the sums of a finding are called, in JSON and in the report.
#[derive(Clone, Debug)]
pub struct Names {
    /// The sum as it is.
    pub before: String,
    /// The sum as it will be.
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

    /// The corrected column that totals are about.
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

    /// What can be checked without a database: expressions are made of columns that are compared.
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
                    "the repair has a mistake: {expression} uses u.{name}, which is neither corrected, stamped nor in rests_on"
                )));
            }
        }
        Ok(())
    }
}
