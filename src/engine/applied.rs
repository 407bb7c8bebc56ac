//! What a database records: applied versions, versions of an older migrator, and runs of hooks.

use serde::{Serialize, Serializer};
use time::OffsetDateTime;

use super::Version;
use crate::db::in_calendar;

/// A version recorded as applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// The version.
    pub version: Version,
    /// The name it was applied under.
    pub name: String,
    /// Checksum over version, name and text at that time; none if what is recorded is no number.
    pub checksum: Option<u64>,
    /// When, by the database's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Whether it was an older migrator that applied it.
    pub adopted: bool,
}

/// One run of a hook.
#[derive(Clone, Debug, Serialize)]
pub struct HookRun {
    /// `running`, `done`, `failed`, `interrupted` or `skipped`.
    pub state: HookState,
    /// When it began, by the database's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// When it ended, if it got to say so.
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    /// What it did, or why it failed.
    pub summary: Option<String>,
}

/// How a run of a hook ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HookState {
    /// It has not ended, or was killed, which the next run will record.
    Running,
    /// It did what it had to.
    Done,
    /// It failed, and stopped the run.
    Failed,
    /// It was stopped or killed.
    Interrupted,
    /// The operator left it out.
    Skipped,
}

impl HookState {
    /// As stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Skipped => "skipped",
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        [Self::Done, Self::Failed, Self::Interrupted, Self::Skipped]
            .into_iter()
            .find(|state| state.as_str() == text)
            .unwrap_or(Self::Running)
    }
}

/// A version that the older migrator has applied.
#[derive(Clone, Debug, Serialize)]
pub struct Adopted {
    /// The version.
    pub version: Version,
    /// Its name.
    pub name: String,
    /// The entries of the older ledger that stand for it.
    pub recorded_as: Vec<String>,
    /// When it was applied, by what the older ledger says.
    #[serde(serialize_with = "recorded")]
    pub at: OffsetDateTime,
}

/// A time of another tool's history as JSON: null where that tool records none.
pub(super) fn recorded<S: Serializer>(at: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    let known = Some(*at).filter(|at| *at != OffsetDateTime::UNIX_EPOCH);
    time::serde::rfc3339::option::serialize(&known, serializer)
}

/// SQL for a time in our own tables. One that is in no calendar shows as 1970: a damaged row must not end the program.
pub(super) fn plain(column: &str) -> String {
    format!("coalesce({}, 'epoch')", in_calendar(column))
}
