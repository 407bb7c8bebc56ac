//! From an error of a comparison to a message, a hint and an exit code.

use crate::cli::{Failure, Screen, exit};
use crate::compare::CompareError;
use crate::db::Hint;
use crate::export::ExportError;
use crate::import::ImportError;

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        let failure = Self::new(exit::FAILED, error.to_string());
        match error {
            ExportError::Faults { .. } => {
                failure.hint("nothing was compared or written; export it again, or correct these rows")
            }
            ExportError::NoRows => {
                failure.hint("nothing was compared; export again, with the columns' names in the first line")
            }
            _ => failure,
        }
    }
}

impl From<CompareError> for Failure {
    fn from(error: CompareError) -> Self {
        let message = error.to_string();
        match error {
            CompareError::Database(error) => error.into(),
            CompareError::Export(error) => error.into(),
            CompareError::NoTable => {
                let hint = Hint::of(|program| format!("is this the right database? {} makes it", program.run_up()));
                Self::new(exit::REFUSED, message).hint(hint)
            }
            CompareError::NoWindows => {
                let hint = Hint::of(|program| format!("{} brings them", program.run_up()));
                Self::new(exit::REFUSED, message).hint(hint)
            }
            CompareError::Overflow { .. } | CompareError::TotalOverflow => Self::new(exit::FAILED, message),
        }
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        let message = error.to_string();
        match error {
            ImportError::Compare(error) => error.into(),
            ImportError::Keys(_) => Self::usage(message),
            ImportError::UnknownKeys { .. } => Self::new(exit::REFUSED, message)
                .hint("nothing was written; --keys FILE names whose they are, with the columns api_key_id and key_id"),
            ImportError::NoModel(_) => {
                Self::new(exit::REFUSED, message).hint("nothing was written; export them by model")
            }
        }
    }
}

/// Names what is wrong with an export, row by row, before the error does.
pub(super) fn name_faults(error: &CompareError, screen: &Screen) {
    let CompareError::Export(ExportError::Faults { faults, .. }) = error else { return };
    screen.clear();
    for fault in faults {
        screen.json("bad_row", fault);
        screen.aside_in(crate::cli::text::PLAIN, fault.to_string());
    }
}
