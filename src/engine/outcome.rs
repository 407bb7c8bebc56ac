//! What a hook says: where it runs, what it expects to do, how far it is, and what it did.

use std::borrow::Cow;

use serde::Serialize;

use super::Version;

/// Where a hook runs. As JSON, `"before": 103` or `"after": "usage_pipeline"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Boundary {
    /// Before this version.
    Before(Version),
    /// After the repeatable file of this name.
    After(Box<str>),
}

impl std::fmt::Display for Boundary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Before(version) => write!(f, "before version {version}"),
            Self::After(name) => write!(f, "after R__{name}"),
        }
    }
}

/// What a hook expects to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// Whether there is anything to do.
    pub work: bool,
    /// Completes "would …" if there is work, otherwise says why there is none.
    pub summary: String,
}

impl Forecast {
    /// It would do this: "roll up 13 months".
    pub fn work(summary: impl Into<String>) -> Self {
        Self { work: true, summary: summary.into() }
    }

    /// It would do nothing, for this reason.
    pub fn nothing(reason: impl Into<String>) -> Self {
        Self { work: false, summary: reason.into() }
    }
}

/// What a hook did.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// For a person: "rolled up 13 months".
    pub summary: String,
    /// For a program: numbers and times by name.
    pub details: serde_json::Map<String, serde_json::Value>,
}

impl Outcome {
    /// It did this.
    pub fn new(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), details: serde_json::Map::new() }
    }

    /// Adds a number or time for programs.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }
}

/// How far a hook is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// What is counted: "months".
    pub unit: Cow<'static, str>,
    /// How many are done, those of an earlier run included.
    pub done: u64,
    /// How many there are.
    pub total: u64,
    /// What it has written so far, an earlier run included.
    pub written: u64,
    /// What that counts: "buckets".
    pub written_unit: Cow<'static, str>,
}
