//! Why an import cannot be made.

use crate::compare::CompareError;
use crate::db;

/// Why an import cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The comparison with the export.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// The file of keys.
    #[error("{0}")]
    Keys(String),
    /// Nobody knows whose windows these are.
    #[error("{} of the export {}: {}{}", counted(*all, "key"), if *all == 1 { "is unknown" } else { "are unknown" }, shown(examples),
            if *all > examples.len() as u64 { ", ..." } else { "" })]
    UnknownKeys {
        /// How many.
        all: u64,
        /// The first of them.
        examples: Vec<String>,
    },
    /// The table needs a model.
    #[error("{} of the export {} no model", counted(*.0, "missing window"), if *.0 == 1 { "has" } else { "have" })]
    NoModel(u64),
}

fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", db::grouped(number), if number == 1 { "" } else { "s" })
}

fn shown(keys: &[String]) -> String {
    let shown = |key: &String| if key.is_empty() { "(none)".to_owned() } else { key.clone() };
    keys.iter().map(shown).collect::<Vec<_>>().join(", ")
}
