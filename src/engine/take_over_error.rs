//! Why the history of another tool cannot be continued as it is.

use super::hint_text::listed;
use super::tool::Tool;

/// An entry of another tool's history that cannot be continued. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TakeOverError {
    /// The tool began it, and nobody knows how far it came.
    #[error("{table} says that {tool} did not finish version {entry} (dirty)")]
    Dirty {
        /// Whose history.
        tool: Tool,
        /// The table.
        table: String,
        /// The entry.
        entry: String,
        /// What clears it, once somebody has looked.
        clears: Option<String>,
    },
    /// The attempt failed.
    #[error("{table} says that {entry} failed when {tool} applied it")]
    Failed {
        /// Whose history.
        tool: Tool,
        /// The table.
        table: String,
        /// The entry.
        entry: String,
        /// What clears it, once somebody has looked.
        clears: Option<String>,
    },
    /// It was taken back, and the tool would not apply it again.
    #[error("{table} says that {entry} was rolled back, and {tool} would not apply it again")]
    RolledBack {
        /// Whose history.
        tool: Tool,
        /// The table.
        table: String,
        /// The entry.
        entry: String,
        /// What clears it.
        clears: Option<String>,
    },
    /// The file is not the one that was applied.
    #[error("{file} is not what {tool} applied: {table} has checksum {recorded}, the file has {found}")]
    Changed {
        /// Whose history.
        tool: Tool,
        /// The table.
        table: String,
        /// The file.
        file: String,
        /// The checksum that was recorded.
        recorded: String,
        /// The checksum of the file.
        found: String,
    },
    /// What was applied is not recorded there, though that history is to be kept in step.
    #[error("{table} is to be kept in step, and does not record what is applied: {}", listed(missing))]
    NotKept {
        /// The table.
        table: String,
        /// The files.
        missing: Vec<String>,
        /// The statement that records them there.
        statement: String,
    },
    /// The manifest names a table that is not there, or is no history of a tool.
    #[error("take-over names {table}, which is not the history of a migration tool in this database")]
    NoSuchTable {
        /// The name.
        table: String,
    },
    /// Entries have no file.
    #[error("{table} of {tool} records {}, for which there is no file", listed(entries))]
    WithoutFile {
        /// Whose history.
        tool: Tool,
        /// The table.
        table: String,
        /// The entries.
        entries: Vec<String>,
    },
}

/// Tool, table and entry.
type Where = (Tool, String, String);

impl TakeOverError {
    pub(super) fn dirty((tool, table, entry): Where, clears: Option<String>) -> Self {
        Self::Dirty { tool, table, entry, clears }
    }

    pub(super) fn failed((tool, table, entry): Where, clears: Option<String>) -> Self {
        Self::Failed { tool, table, entry, clears }
    }

    pub(super) fn rolled_back((tool, table, entry): Where, clears: Option<String>) -> Self {
        Self::RolledBack { tool, table, entry, clears }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Dirty { clears, .. } | Self::Failed { clears, .. } | Self::RolledBack { clears, .. } => {
                clears.as_ref().map(|clears| format!("nothing was written; {clears}"))
            }
            Self::Changed { tool, .. } => Some(format!(
                "nothing was written; restore the file as it was applied, and put the change into a new one; if it must stay, \
                 correct the checksum as {tool} would"
            )),
            Self::NotKept { statement, .. } => {
                Some(format!("nothing was written; to record it there, run: {statement};"))
            }
            Self::NoSuchTable { .. } => Some(
                "nothing was written; check the name and its schema; for a tool that has not run here, say take-over = \"<tool>\", \
                 without a table"
                    .to_owned(),
            ),
            Self::WithoutFile { .. } => Some(
                "nothing was written; is this the right folder, and whole? A newer checkout may have the file"
                    .to_owned(),
            ),
        }
    }
}
