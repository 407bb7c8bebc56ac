//! How history and set contradict each other.

use std::fmt;

use time::OffsetDateTime;

use super::Version;
use super::applied::Applied;
use crate::db::readable;

/// The history of a database and the migrations of a set contradict each other. Nothing was written.
#[derive(thiserror::Error)]
pub enum HistoryError {
    /// The database was migrated by a newer program.
    #[error(
        "the database is newer than this program: it has {}, and the latest version known here is {latest}",
        list(unknown)
    )]
    Newer {
        /// Highest version of the set.
        latest: Version,
        /// What the database has beyond it.
        unknown: Vec<Applied>,
    },
    /// A version between ours that no file accounts for.
    #[error("version {version} ({name}) is recorded as applied, but this program has no such migration")]
    Missing {
        /// The version.
        version: Version,
        /// The name it was applied under.
        name: String,
    },
    /// The file is not the one that was applied.
    #[error(
        "{file} is not what was applied on {}: {}",
        at.date(),
        divergence(name, recorded_name, *recorded_checksum)
    )]
    Divergent {
        /// The version.
        version: Version,
        /// Our file.
        file: String,
        /// Its name.
        name: String,
        /// The name it was applied under.
        recorded_name: String,
        /// The checksum recorded; none if it is no number.
        recorded_checksum: Option<u64>,
        /// When it was applied.
        at: OffsetDateTime,
    },
    /// A file stands below the current version and was never applied.
    #[error("{file} was never applied, and the database is already at version {current}")]
    OutOfOrder {
        /// The version.
        version: Version,
        /// Our file.
        file: String,
        /// Highest version applied.
        current: Version,
        /// The statement that puts its row back into the history, should it have been deleted.
        restore: String,
    },
}

impl HistoryError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Newer { .. } => "run the version of this program that migrated it, or a newer one".to_owned(),
            Self::Missing { .. } => "run a build of this program that has that migration".to_owned(),
            Self::Divergent { .. } => {
                "an applied migration must not change: restore the file, and put the change into a new migration"
                    .to_owned()
            }
            Self::OutOfOrder { restore, .. } => format!(
                "if its row was deleted from the history, put it back: {restore} if the file is new, give it a version above \
                 the current one"
            ),
        }
    }

    /// The first version that it is about.
    #[must_use]
    pub fn version(&self) -> Version {
        match self {
            Self::Newer { unknown, latest } => unknown.first().map_or(*latest, |row| row.version),
            Self::Missing { version, .. } | Self::Divergent { version, .. } | Self::OutOfOrder { version, .. } => {
                *version
            }
        }
    }
}

impl fmt::Debug for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        readable(self, None, Some(&self.hint()), f)
    }
}

fn list(applied: &[Applied]) -> String {
    const SHOWN: usize = 20;
    let names: Vec<_> =
        applied.iter().take(SHOWN).map(|row| format!("{}__{}", row.version.label(), row.name)).collect();
    let more = applied.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names.join(", "))
}

fn divergence(name: &str, recorded_name: &str, recorded_checksum: Option<u64>) -> String {
    match recorded_checksum {
        _ if name != recorded_name => format!("it was called {recorded_name}"),
        Some(_) => "its text has changed since".to_owned(),
        None => "the checksum recorded for it is not a number".to_owned(),
    }
}
