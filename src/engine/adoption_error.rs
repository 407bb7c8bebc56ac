//! Why an older migrator's database cannot be taken over.

use std::fmt;

use super::Version;
use super::hint_text::search_path;
use super::problem::{Fault, Problem};
use super::take_over_error::TakeOverError;
use crate::db::{Program, readable};

/// A database that an older migrator has built cannot be taken over as it is. Nothing was written.
#[derive(thiserror::Error)]
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
    /// The history of another tool cannot be continued.
    #[error("{0}")]
    TakeOver(Box<TakeOverError>),
    /// Versions are recorded whose objects are not as they should be.
    #[error("{table} records versions that are not what is in the database:{}", lines(problems))]
    Problems {
        /// The older ledger.
        table: String,
        /// What does not check out.
        problems: Vec<Problem>,
    },
}

impl From<TakeOverError> for AdoptionError {
    fn from(error: TakeOverError) -> Self {
        Self::TakeOver(Box::new(error))
    }
}

impl AdoptionError {
    /// What to do about it, in the words of the program that shows it.
    #[must_use]
    pub fn hint(&self, program: &Program) -> String {
        let run_up = program.run_up();
        match self {
            Self::Incomplete { .. } => format!(
                "nothing was written; migrate this database further with the migrator that recorded it, then {run_up}"
            ),
            Self::Gap { table, missing, .. } => format!(
                "nothing was written; if it was applied, run: INSERT INTO {table} (version) VALUES ('{}'); {} then checks its \
                 objects. If it was not applied, delete the later entries",
                missing.first().map(String::as_str).unwrap_or_default(),
                program.up()
            ),
            Self::Elsewhere { schema, .. } => search_path_hint(schema),
            Self::Restored { .. } => format!(
                "nothing was written; was a backup restored over an upgraded database? Then restore it once more into an empty \
                 one (psql \"$DATABASE_URL\" -c 'CREATE DATABASE ...', then pg_restore --dbname= with the URL of that one), and \
                 {run_up} there"
            ),
            Self::Unexplained { .. } => {
                "nothing was written; check the database and the search path. If it was restored from a backup of one schema \
                 (pg_dump -n public), restore the schema migrate as well, which holds the history"
                    .to_owned()
            }
            Self::TakeOver(error) => error.hint().unwrap_or_else(|| program.run_up()),
            Self::Problems { table, problems } => problems_hint(table, problems, program),
        }
    }
}

impl fmt::Debug for AdoptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        readable(self, None, Some(&self.hint(&Program::embedded())), f)
    }
}

fn problems_hint(table: &str, problems: &[Problem], program: &Program) -> String {
    let remedies: Vec<_> = problems.iter().filter_map(|problem| Some(problem.remedy.as_ref()?.text(program))).collect();
    if let Some(schema) = problems.iter().find_map(|problem| problem.elsewhere.as_deref()) {
        return search_path_hint(schema);
    }
    let run_up = program.run_up();
    if problems.iter().all(|problem| problem.what == Fault::StillThere) {
        let mut entries: Vec<_> = problems.iter().map(|problem| format!("'{}'", problem.recorded_as)).collect();
        entries.dedup();
        return format!(
            "nothing was written; these were not applied, so run this, then {run_up} again:\n  \
             DELETE FROM {table} WHERE version IN ({});",
            entries.join(", ")
        );
    }
    if remedies.is_empty() {
        return format!(
            "nothing was written; restore these objects from a backup, or finish with the migrator that recorded them, then \
             {run_up} again"
        );
    }
    let rest = match problems.len() - remedies.len() {
        0 => "",
        _ => ", restore the others from a backup",
    };
    format!("nothing was written; run this{rest}, then {run_up} again:\n  {}", remedies.join("\n  "))
}

fn search_path_hint(schema: &str) -> String {
    format!("nothing was written; add that schema to the search path, in the URL: {}", search_path(schema))
}

/// One line each, below the first.
fn lines(problems: &[Problem]) -> String {
    problems.iter().fold(String::new(), |lines, problem| format!("{lines}\n  {problem}"))
}
