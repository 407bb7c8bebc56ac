//! An object that is not as it should be, and what is wrong with it.

use std::fmt;

use serde::{Serialize, Serializer};

use super::Version;
use super::why::Change;
use crate::db::Program;

/// An object that is not as a recorded version should have left it.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    /// The version.
    pub version: Version,
    /// How it is recorded.
    pub recorded_as: String,
    /// The object: its kind, its name and its table.
    pub object: String,
    /// What is wrong with it.
    pub what: Fault,
    /// Its definition as it should be, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// Its definition as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// The schema that it was found in, outside the search path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<String>,
    /// What mends it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
}

impl Problem {
    pub(super) fn new(version: Version, recorded_as: String, object: &str, what: impl Into<Fault>) -> Self {
        Self {
            version,
            recorded_as,
            object: object.to_owned(),
            what: what.into(),
            expected: None,
            found: None,
            elsewhere: None,
            remedy: None,
        }
    }
}

/// What mends an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// This statement.
    Statement(String),
    /// The next run.
    Up,
}

impl Remedy {
    /// The statement or the command.
    #[must_use]
    pub fn text(&self, program: &Program) -> String {
        match self {
            Self::Statement(statement) => statement.clone(),
            Self::Up => program.up(),
        }
    }
}

impl From<String> for Remedy {
    fn from(statement: String) -> Self {
        Self::Statement(statement)
    }
}

impl Serialize for Remedy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text(&Program::embedded()))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.recorded_as, self.object, self.what)
    }
}

/// What is wrong with an object. As JSON, the words that complete "the object …".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// What became of it.
    Changed(Change),
    /// It has another definition than a version has given it.
    NotAsMade,
    /// It should be gone.
    StillThere,
    /// It is in this schema, which is not in the search path.
    Elsewhere(String),
    /// Something else has the table's name.
    NotATable,
    /// It is, has or returns something else than it should.
    Instead {
        /// `is`, `has type` or `returns`.
        verb: &'static str,
        /// What was found.
        found: String,
        /// What it should be.
        wanted: String,
    },
    /// Another session is building the index.
    BeingBuilt,
    /// An interrupted build has left the index.
    Interrupted,
    /// Anything else.
    Other(String),
}

impl Fault {
    /// From the word for it, and what was found.
    pub(super) fn parse(word: &str, found: Option<String>, wanted: &str) -> Self {
        let found = found.unwrap_or_default();
        let instead = |verb, found| Self::Instead { verb, found, wanted: wanted.to_owned() };
        match word {
            "missing" => Self::Changed(Change::Missing),
            "disabled" => Self::Changed(Change::Disabled),
            "still_there" => Self::StillThere,
            "elsewhere" => Self::Elsewhere(found),
            "not_a_table" => Self::NotATable,
            "type" => instead("has type", found),
            "definition" => instead("is", found),
            "returns" => instead("returns", found),
            "being_built" => Self::BeingBuilt,
            "interrupted" => Self::Interrupted,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(change) => change.fmt(f),
            Self::NotAsMade => f.write_str("is not as it was made"),
            Self::StillThere => f.write_str("is still there"),
            Self::Elsewhere(schema) => write!(f, "is in schema {schema}, which is not in the search path"),
            Self::NotATable => f.write_str("is not a table"),
            Self::Instead { verb, found, wanted } => write!(f, "{verb} {found} instead of {wanted}"),
            Self::BeingBuilt => f.write_str("is still being built"),
            Self::Interrupted => f.write_str("is invalid: its build was interrupted"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<Change> for Fault {
    fn from(change: Change) -> Self {
        Self::Changed(change)
    }
}

impl From<String> for Fault {
    fn from(what: String) -> Self {
        Self::Other(what)
    }
}
