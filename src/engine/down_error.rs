//! Why a database cannot go back.

use std::fmt;

use super::Version;
use super::data::Loss;
use super::hint_text::listed;
use crate::db::{Program, ServerReport, readable};

/// Why a database cannot go back. Nothing was written.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DownError {
    /// A version has no way back.
    #[error("{} ({file}) has no way back", version.label())]
    NoWayBack {
        /// The version.
        version: Version,
        /// Its file.
        file: String,
        /// Where its way back would be written; none where the files have no such thing.
        wanted: Option<String>,
    },
    /// A version is recorded as applied, and nobody knows its file.
    #[error("{} is recorded as applied, and has no file here", version.label())]
    NoFile {
        /// The version.
        version: Version,
    },
    /// The other tool's history records something later that stays.
    #[error("{} cannot be taken back: {table} records {} behind it, for which there is no file here", version.label(), listed(entries))]
    Followed {
        /// The version.
        version: Version,
        /// The other tool's history.
        table: String,
        /// What it records.
        entries: Vec<String>,
    },
    /// Data would be lost, or it cannot be told whether.
    #[error("{}", losing(losses))]
    LosesData {
        /// What would be lost, each with its file.
        losses: Vec<(String, Loss)>,
    },
    /// Data has come that was not there before.
    #[error("{file} {loses}: it came while this was running")]
    DataCame {
        /// The file.
        file: String,
        /// What it would lose.
        loses: String,
    },
    /// The other tool's history records the version, and this role may not correct it.
    #[error("role {role} may not take {} out of {table}, which would still say that it is applied", version.label())]
    Closed {
        /// The version.
        version: Version,
        /// The other tool's history.
        table: String,
        /// The role.
        role: String,
        /// The statement that gives it the right.
        grant: String,
    },
    /// The other tool's history would go on saying that it is applied.
    #[error("{} cannot be taken back: {table} would still say that it is applied", version.label())]
    StillRecorded {
        /// The version.
        version: Version,
        /// The other tool's history.
        table: String,
    },
    /// Another run has applied more meanwhile.
    #[error("another run has applied {} meanwhile", version.label())]
    Moved {
        /// What it has applied.
        version: Version,
    },
    /// Something depends on what the way back drops.
    #[error("{file} was rolled back: {report}")]
    Needed {
        /// The file.
        file: String,
        /// What the server says.
        report: Box<ServerReport>,
        /// A file that makes what depends on it.
        made_by: Option<String>,
    },
}

impl DownError {
    /// What to do about it, in the words of the program that shows it.
    #[must_use]
    pub fn hint(&self, program: &Program) -> Option<String> {
        Some(match self {
            Self::NoWayBack { wanted: Some(wanted), .. } => {
                format!("nothing was written; write {wanted}, or restore a backup of the time before")
            }
            Self::NoWayBack { wanted: None, .. } => {
                "nothing was written; restore a backup of the time before, whole and into an empty database".to_owned()
            }
            Self::NoFile { .. } | Self::Followed { .. } => {
                "nothing was written; go back with the newer checkout that has the file".to_owned()
            }
            Self::LosesData { .. } => {
                format!("nothing was written; back up what is needed, then pass {}", program.option("--lose-data"))
            }
            Self::DataCame { .. } => {
                format!("the file was rolled back; back up what is needed, then pass {}", program.option("--lose-data"))
            }
            Self::Closed { grant, .. } => format!("nothing was written; as the owner, run: {grant}"),
            Self::StillRecorded { .. } => "nothing was written; compare that table with the files".to_owned(),
            Self::Moved { .. } => "nothing was written; look at the plan again".to_owned(),
            Self::Needed { made_by: Some(made_by), .. } => {
                format!("{made_by} makes what depends on it: let the way back drop it first")
            }
            Self::Needed { made_by: None, .. } => "drop what depends on it first, in the way back".to_owned(),
        })
    }
}

impl fmt::Debug for DownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        readable(self, None, self.hint(&Program::embedded()).as_deref(), f)
    }
}

fn losing(losses: &[(String, Loss)]) -> String {
    let all: Vec<String> =
        losses.iter().map(|(file, Loss { line, what })| format!("line {line} of {file} {what}")).collect();
    listed(&all)
}
