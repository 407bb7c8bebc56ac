//! Why a repeatable file is applied, or is not.

use serde::Serialize;

/// Why a repeatable file is applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Why {
    /// It has not been applied to this database.
    New,
    /// Its text has changed since.
    FileChanged,
    /// What it made is not there as it was made.
    ObjectChanged {
        /// The first such object.
        object: String,
        /// In what way.
        change: Change,
        /// How many more there are.
        more: usize,
        /// All of them.
        #[serde(skip)]
        all: Vec<String>,
    },
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It does not exist any more.
    Missing,
    /// It is a trigger, and is disabled.
    Disabled,
    /// It has another definition.
    Replaced,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Missing => "does not exist",
            Self::Disabled => "is disabled",
            Self::Replaced => "has been replaced",
        })
    }
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::New => f.write_str("not applied here yet"),
            Self::FileChanged => f.write_str("its file has changed"),
            Self::ObjectChanged { object, change, more: 0, .. } => write!(f, "{object} {change}"),
            Self::ObjectChanged { object, change, more, .. } => write!(f, "{object} {change}, and {more} more"),
        }
    }
}

/// A repeatable file that is not applied, although it differs from what is there: that belongs to something newer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftAlone {
    /// The file.
    pub file: String,
    /// What this program does not know.
    pub reason: String,
}
