//! Why a comparison, or an import, came to no result.

use crate::db;
use crate::export::ExportError;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The connection or a statement.
    #[error(transparent)]
    Database(#[from] db::Error),
    /// The export.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// There is nothing to compare with.
    #[error("there is no table usage_events in this database")]
    NoTable,
    /// There is no place for a window.
    #[error("usage_events has no windows before version 3")]
    NoWindows,
    /// Rows of one window do not fit together.
    #[error(
        "the {side} rows of one window add up to more than 64 bits hold: model {model:?}, project {project:?}, \
             beginning {start}"
    )]
    Overflow {
        /// `exported` or `recorded`.
        side: &'static str,
        /// The window's start.
        start: String,
        /// Its model.
        model: String,
        /// Its project.
        project: String,
    },
    /// The rows of a day, or all of them.
    #[error("the rows of one day, or of all days, add up to more than 64 bits hold")]
    TotalOverflow,
}
