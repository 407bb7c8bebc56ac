//! An error as its reader wants it, also where the language prints `Debug`: `fn main() -> Result<(), Error>`.

use std::error::Error;
use std::fmt;

use super::error::ServerReport;

/// Writes what happened, why, what the server reported, and what to do: the `Debug` of this library's errors.
///
/// # Errors
///
/// The formatter's.
pub fn readable(
    error: &dyn Error,
    report: Option<&ServerReport>,
    hint: Option<&str>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let message = error.to_string();
    f.write_str(&message)?;
    let mut cause = error.source();
    while let Some(source) = cause {
        // Most messages end with their source.
        let text = source.to_string();
        if !message.contains(&text) {
            write!(f, "\n  because: {text}")?;
        }
        cause = source.source();
    }
    let parts = report.map(|report| [("detail", &report.detail), ("hint", &report.hint), ("where", &report.context)]);
    for (label, text) in parts.into_iter().flatten() {
        if let Some(text) = text {
            write!(f, "\n  {label}: {}", text.replace('\n', "\n    "))?;
        }
    }
    match hint {
        Some(hint) => write!(f, "\nnext: {hint}"),
        None => Ok(()),
    }
}
