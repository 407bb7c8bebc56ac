//! How history and objects disagree.

use super::Version;

/// How history and objects disagree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfStep {
    /// Something is there that only pending versions make.
    #[error("the history is behind the database: it {}, and {} there already", at(*.current), named(.there, "makes"))]
    Behind {
        /// Where the history ends; 0 if it is empty.
        current: Version,
        /// What is there, each with the file that makes it.
        there: Vec<(String, String)>,
        /// How to record what is there, where that is all that is missing.
        record: Option<Record>,
    },
    /// Something is gone that recorded versions made.
    #[error("the history is ahead of the database: it {}, and {} not there", at(*.current), named(.gone, "made"))]
    Ahead {
        /// Where the history ends.
        current: Version,
        /// What is gone, each with the file that made it.
        gone: Vec<(String, String)>,
    },
}

impl OutOfStep {
    /// The statement that would make them agree, where one does.
    #[must_use]
    pub fn statement(&self) -> Option<String> {
        match self {
            Self::Behind { record: Some(record), .. } => Some(record.statement.clone()),
            Self::Behind { .. } | Self::Ahead { .. } => None,
        }
    }
}

/// The statement that brings a history up to what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The first version that it records.
    pub first: Version,
    /// The last one.
    pub last: Version,
    /// The statement.
    pub statement: String,
    /// It is the ledger of an older migrator that lacks them; what is recorded there is checked by the next run.
    pub in_older_ledger: bool,
}

fn at(current: Version) -> String {
    if current == 0 { "is empty".to_owned() } else { format!("ends at version {current}") }
}

fn named(objects: &[(String, String)], verb: &str) -> String {
    let Some((object, file)) = objects.first() else { return "nothing is".to_owned() };
    match objects.len() - 1 {
        0 => format!("{object}, which {file} {verb}, is"),
        more => format!("{object}, which {file} {verb}, and {more} more are"),
    }
}
