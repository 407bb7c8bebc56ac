//! What a rehearsal has found.

use std::time::Duration;

use serde::Serialize;

use super::{TableLock, TableWork};
use crate::db::as_seconds;
use crate::{Error, Intent, Snapshot};

/// One part of a rehearsal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What is pending is applied.
    Up,
    /// It is taken back.
    Back,
    /// It is applied again.
    Again,
}

/// What one thing that was sent has cost.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// What it is: `V3, usage_event_windows`.
    pub title: String,
    /// What goes with it: how it is sent, what it loses.
    pub notes: Vec<String>,
    /// Whether it has come to its end.
    pub finished: bool,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "as_seconds")]
    pub duration: Duration,
    /// What the server has written to its log meanwhile, in bytes. That of other databases of the server counts, too.
    pub wal_bytes: u64,
    /// What it has written to temporary files, in bytes.
    pub temp_bytes: u64,
    /// The strongest lock on each table, view and sequence that was there before, strongest first. Locks on single rows are not
    /// among them.
    pub locks: Vec<TableLock>,
    /// Whether the locks were looked at just before its commit, too: it is one transaction, and none that it then held is missing. A
    /// lock that was released before, by a savepoint or an `EXCEPTION` block that rolled back, or outside of a transaction, is seen
    /// only if it was held for some milliseconds.
    pub seen_at_commit: bool,
    /// Tables with which something has happened.
    pub tables: Vec<TableWork>,
}

/// A part that was run.
#[derive(Debug)]
pub struct Passed {
    /// What was sent, one after the other.
    pub steps: Vec<Measured>,
    /// How long all of it took, planning included.
    pub duration: Duration,
    /// The schema after it; none where it failed.
    pub schema: Option<Snapshot>,
    /// Why it failed, if it did. What comes after it was not run.
    pub error: Option<Error>,
}

/// The way back, as far as there is one.
#[derive(Debug)]
pub enum WayBack {
    /// It was run.
    Run(Passed),
    /// These have none.
    Missing(Vec<String>),
    /// The run in front of it has failed.
    NotReached,
}

/// What a rehearsal has found.
#[derive(Debug)]
pub struct Rehearsal {
    /// What was pending.
    pub intent: Intent,
    /// The schema before all.
    pub before: Snapshot,
    /// The run.
    pub up: Passed,
    /// The way back.
    pub back: WayBack,
    /// The run once more, behind the way back.
    pub again: Option<Passed>,
    /// Whether sessions of others were seen meanwhile. What they did is measured, too.
    pub others: bool,
}

impl Rehearsal {
    /// The error that it has ended with.
    #[must_use]
    pub fn error(&self) -> Option<(Part, &Error)> {
        let up = self.up.error.as_ref().map(|error| (Part::Up, error));
        let back = match &self.back {
            WayBack::Run(back) => back.error.as_ref().map(|error| (Part::Back, error)),
            WayBack::Missing(_) | WayBack::NotReached => None,
        };
        up.or(back).or_else(|| Some((Part::Again, self.again.as_ref()?.error.as_ref()?)))
    }

    /// The same, to be reported.
    #[must_use]
    pub fn into_error(self) -> Option<Error> {
        let back = match self.back {
            WayBack::Run(back) => back.error,
            WayBack::Missing(_) | WayBack::NotReached => None,
        };
        self.up.error.or(back).or_else(|| self.again?.error)
    }

    /// Whether the schema after the way back is the one before; none where there was no way back.
    #[must_use]
    pub fn is_back(&self) -> Option<bool> {
        match &self.back {
            WayBack::Run(back) => Some(*back.schema.as_ref()? == self.before),
            WayBack::Missing(_) | WayBack::NotReached => None,
        }
    }

    /// Whether the second run has made the same schema as the first.
    #[must_use]
    pub fn is_same_again(&self) -> Option<bool> {
        Some(*self.again.as_ref()?.schema.as_ref()? == *self.up.schema.as_ref()?)
    }

    /// Whether everything that was run has come to its end, and has left what it should have left.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.error().is_none() && self.is_back() != Some(false) && self.is_same_again() != Some(false)
    }
}
