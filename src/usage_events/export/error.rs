//! Why an export cannot be read.

use std::fmt;
use std::path::PathBuf;

/// Something in a file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Fault {
    /// The file.
    pub file: String,
    /// The line on which the row begins; the file as a whole has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line} of {}: {}", self.file, self.reason),
            None => write!(f, "{}: {}", self.file, self.reason),
        }
    }
}

/// Why an export cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// No file was named.
    #[error("the export is missing: no CSV file was named")]
    None,
    /// A folder without any.
    #[error("{} holds no .csv or .csv.gz file", .0.display())]
    NoFiles(PathBuf),
    /// A file that counts twice.
    #[error("{} is named twice, and would be counted twice", .0.display())]
    Twice(PathBuf),
    /// A file or folder that cannot be opened or read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Rows that cannot be read.
    #[error("the export cannot be read: {} of its rows {} wrong{}", faults.len(), if faults.len() == 1 { "is" } else { "are" },
            if *more { ", and it was read no further" } else { "" })]
    Faults {
        /// What is wrong, row by row.
        faults: Vec<Fault>,
        /// There may be more.
        more: bool,
    },
    /// Files without rows.
    #[error("the export holds no row")]
    NoRows,
}
