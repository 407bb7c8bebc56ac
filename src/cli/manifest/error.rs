//! What can be wrong with a manifest.

use std::fmt;

use super::super::near;

/// A place in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct At {
    /// The file, as it is shown.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of {}", self.line, self.file)
    }
}

/// A manifest cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ManifestError {
    /// The file cannot be read.
    #[error("{file} cannot be read: {reason}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why, in the system's words.
        reason: String,
    },
    /// It is no TOML.
    #[error("{at}: {reason}")]
    Syntax {
        /// Where.
        at: At,
        /// What the parser says.
        reason: String,
    },
    /// A key that there is not.
    #[error("{at}: unknown key {key} {table}")]
    UnknownKey {
        /// Where.
        at: At,
        /// The key.
        key: String,
        /// Where it stands: `in [set.app]`, `at the top level`.
        table: String,
        /// The keys that there are.
        known: Vec<String>,
    },
    /// A value of another type.
    #[error("{at}: {key} is {found}, but should be {expected}")]
    Type {
        /// Where.
        at: At,
        /// The key.
        key: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A value that names nothing.
    #[error("{at}: {key} = {value:?}: there is no such {what}")]
    UnknownValue {
        /// Where.
        at: At,
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What it should name: `layout`.
        what: &'static str,
        /// What there is.
        known: Vec<String>,
    },
    /// A value, or the lack of one, that cannot be.
    #[error("{at}: {reason}")]
    Refused {
        /// Where.
        at: At,
        /// What is wrong with it.
        reason: String,
        /// What to write instead.
        hint: String,
    },
    /// It names no set.
    #[error("{file} names no set")]
    NoSet {
        /// The file.
        file: String,
    },
    /// A placeholder's variable is not set.
    #[error("{at}: placeholder {key} takes its value from the environment, where {variable} {why}")]
    Variable {
        /// Where.
        at: At,
        /// The placeholder.
        key: String,
        /// The variable.
        variable: String,
        /// `is not set`, `is not UTF-8`.
        why: &'static str,
    },
}

impl ManifestError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreadable { .. } | Self::Syntax { .. } => return None,
            Self::UnknownKey { key, known, .. } => near::advice(key, "keys there", known),
            Self::Type { .. } => "docs/directory.md has an example of every key".to_owned(),
            Self::UnknownValue { value, what, known, .. } => near::advice(value, &format!("{what}s"), known),
            Self::Refused { hint, .. } => hint.clone(),
            Self::NoSet { .. } => "add one: [set.main] with dir = \"migrations\"".to_owned(),
            Self::Variable { variable, .. } => format!("set {variable}, or give the placeholder a default"),
        })
    }
}
