//! Why an older migrator's database cannot be taken over.

use super::Version;
use super::problem::Problem;

/// A database that an older migrator has built cannot be taken over as it is. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum AdoptionError {
    /// Of the entries that together stand for one version, some are missing.
    #[error("{table} records a part of what version {version} stands for: {} is missing", missing.join(", "))]
    Incomplete {
        /// The older ledger.
        table: String,
        /// The version.
        version: Version,
        /// The entries that are missing.
        missing: Vec<String>,
    },
    /// A version was left out, and later ones are recorded.
    #[error("{table} records {}, but not {}, which comes before it", last.join(", "), missing.join(", "))]
    Gap {
        /// The older ledger.
        table: String,
        /// The entries that are missing.
        missing: Vec<String>,
        /// The last ones that are there.
        last: Vec<String>,
    },
    /// The older ledger lacks what our history has.
    #[error("{table} lacks what was recorded there when it was applied: {}", missing.join(", "))]
    Restored {
        /// The older ledger.
        table: String,
        /// The entries that are missing.
        missing: Vec<String>,
    },
    /// The tables are not where they are looked for.
    #[error("table {table} is in schema {schema}, which is not in the search path")]
    Elsewhere {
        /// The table.
        table: String,
        /// Where it is.
        schema: String,
    },
    /// Nothing records how the tables have come to be that the first version would make.
    #[error("there is a table {object}, and nothing records how it came to be: no history of ours, no older ledger")]
    Unexplained {
        /// The table.
        object: String,
    },
    /// Versions are recorded whose objects are not as they should be.
    #[error("{table} records versions that are not what is in the database:{}", lines(problems))]
    Problems {
        /// The older ledger.
        table: String,
        /// What does not check out.
        problems: Vec<Problem>,
    },
}

/// One line each, below the first.
fn lines(problems: &[Problem]) -> String {
    problems.iter().fold(String::new(), |lines, problem| format!("{lines}\n  {problem}"))
}
