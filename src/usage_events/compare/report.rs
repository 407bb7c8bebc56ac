//! What a comparison has found. Its JSON is described in docs/usage-events.md.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;

use crate::metrics::{COUNT, METRICS};

/// The numbers of one side, one for each metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers(pub [i64; COUNT]);

impl Serialize for Numbers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(COUNT))?;
        for (metric, number) in METRICS.iter().zip(self.0) {
            map.serialize_entry(metric.name, &number)?;
        }
        map.end()
    }
}

/// The same of both sides.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Sides<T> {
    /// Of the export.
    pub csv: T,
    /// Of the database.
    pub db: T,
}

/// Whose usage of what, and when. Empty and missing are the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Where the window begins.
    #[serde(with = "time::serde::rfc3339")]
    pub window_start: OffsetDateTime,
    /// Where it ends.
    #[serde(with = "time::serde::rfc3339::option")]
    pub window_end: Option<OffsetDateTime>,
    /// The project.
    pub project_id: Option<String>,
    /// The provider's user.
    pub user_id: Option<String>,
    /// The provider's key.
    pub api_key_id: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// The tier.
    pub service_tier: Option<String>,
    /// Whether it was a batch.
    pub batch: Option<bool>,
}

/// A window that one side does not have.
#[derive(Clone, Debug, Serialize)]
pub struct Missing {
    /// Which.
    pub identity: Identity,
    /// What the other side says.
    pub values: Numbers,
}

/// A number that differs.
#[derive(Clone, Debug, Serialize)]
pub struct Mismatch {
    /// Of which window.
    pub identity: Identity,
    /// Which number.
    pub metric: &'static str,
    /// What the export says.
    pub csv: i64,
    /// What the database says.
    pub db: i64,
}

/// A UTC day.
#[derive(Clone, Debug, Serialize)]
pub struct Day {
    /// The day.
    pub day: String,
    /// Rows of both sides.
    pub rows: Sides<u64>,
    /// Their sums.
    pub totals: Sides<Numbers>,
}

/// How much was found.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Windows that the database does not have.
    pub missing_in_db: u64,
    /// Windows that the export does not have.
    pub missing_in_csv: u64,
    /// Numbers that differ.
    pub mismatched: u64,
    /// The windows in which they do.
    pub mismatched_windows: u64,
}

/// A file that was read.
#[derive(Clone, Debug, Serialize)]
pub struct ReadFile {
    /// Its path, as it was named.
    pub file: String,
    /// Its length.
    pub bytes: u64,
}

/// What a comparison has found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// When it was made, by this machine's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub made_at: OffsetDateTime,
    /// The database, without a password.
    pub database: String,
    /// The first window start that counts.
    #[serde(with = "time::serde::rfc3339::option")]
    pub from: Option<OffsetDateTime>,
    /// The window start at which it ends.
    #[serde(with = "time::serde::rfc3339::option")]
    pub to: Option<OffsetDateTime>,
    /// The files.
    pub files: Vec<ReadFile>,
    /// Columns of the files that nobody knows.
    pub unknown_columns: Vec<String>,
    /// Columns that a file does not have, which count as empty.
    pub absent_columns: Vec<String>,
    /// Files that do not end in a line break, and may be cut off.
    pub unended_files: Vec<String>,
    /// Whether the table has windows yet: from version 3 on.
    pub has_windows: bool,
    /// Rows of the export outside of the range.
    pub outside: u64,
    /// Rows in the range.
    pub rows: Sides<u64>,
    /// Their sums.
    pub totals: Sides<Numbers>,
    /// What differs.
    pub counts: Counts,
    /// The first windows that the database does not have.
    pub missing_in_db: Vec<Missing>,
    /// The first that the export does not have.
    pub missing_in_csv: Vec<Missing>,
    /// The first numbers that differ.
    pub mismatched: Vec<Mismatch>,
    /// How many of each are listed at most.
    pub limit: u64,
    /// Both sides by day.
    pub days: Vec<Day>,
}

impl Report {
    /// Whether the database has everything that the export has, with the same numbers.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.counts.missing_in_db == 0 && self.counts.mismatched == 0
    }
}
