//! How a database stands: every version, every repeatable file, and the hooks at their boundaries.

use std::sync::Arc;

use serde::Serialize;
use time::OffsetDateTime;

use super::adopt::Found;
use super::applied::{HookRun, recorded};
use super::history::{Extent, History};
use super::misplaced::Misplaced;
use super::out_of_step::OutOfStep;
use super::{Error, Migrator, Set, Version, Why};
use crate::db::{self, Connection, ServerFacts};

/// The standing of one version.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Status {
    /// Applied as this program has it.
    Applied {
        /// When, by the database's clock.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// Applied by an older migrator, and taken over by this one.
    Adopted {
        /// When, by what the older ledger says.
        #[serde(serialize_with = "recorded")]
        at: OffsetDateTime,
    },
    /// Applied by an older migrator; the next run checks it and takes it over.
    Adoptable {
        /// When, by what the older ledger says.
        #[serde(serialize_with = "recorded")]
        at: OffsetDateTime,
    },
    /// Not applied yet.
    Pending {
        /// Why it is applied although an older migrator has applied it before.
        #[serde(skip_serializing_if = "Option::is_none")]
        again: Option<String>,
    },
    /// Never applied, and the database is past it already.
    OutOfOrder,
    /// Applied with another name or text than this program has.
    Divergent {
        /// When, by the database's clock.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
        /// The name it was applied under.
        recorded_name: String,
    },
    /// Applied; its file is gone, which the layout allows.
    NoFile {
        /// When, by the database's clock.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// Applied, and unknown to this program.
    Unknown {
        /// When, by the database's clock.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
}

impl Status {
    /// Whether the next run has something to do about it.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Pending { .. } | Self::Adoptable { .. })
    }

    /// Whether history and files contradict each other here, so that a run would be refused.
    #[must_use]
    pub fn is_drift(&self) -> bool {
        matches!(self, Self::OutOfOrder | Self::Divergent { .. } | Self::Unknown { .. })
    }
}

/// One line of a status report.
#[derive(Clone, Debug, Serialize)]
pub struct StatusEntry {
    /// The version.
    pub version: Version,
    /// Its name.
    pub name: String,
    /// Its standing.
    #[serde(flatten)]
    pub status: Status,
    /// The hooks before it, each with its last run.
    pub hooks: Vec<(String, Option<HookRun>)>,
}

/// The standing of a repeatable file.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RepeatableStatus {
    /// What it makes is there as it was made.
    Applied,
    /// The next run applies it.
    Pending {
        /// Why.
        #[serde(flatten)]
        why: Why,
    },
    /// It is not applied: what is there belongs to something newer than this program.
    LeftAlone {
        /// What this program does not know.
        reason: String,
    },
}

/// One repeatable file in a status report.
#[derive(Clone, Debug, Serialize)]
pub struct RepeatableEntry {
    /// Its name.
    pub name: String,
    /// The version from which on it is applied; none: after all.
    pub since: Option<Version>,
    /// Its standing.
    #[serde(flatten)]
    pub status: RepeatableStatus,
    /// Hooks behind it whose work has not been done to its end.
    pub owed: Vec<String>,
    /// All hooks behind it, each with its last run.
    pub hooks: Vec<(String, Option<HookRun>)>,
}

impl RepeatableEntry {
    /// Whether the next run has something to do about it.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        !matches!(self.status, RepeatableStatus::LeftAlone { .. })
            && (matches!(self.status, RepeatableStatus::Pending { .. }) || !self.owed.is_empty())
    }
}

/// How a database stands.
#[derive(Clone, Debug)]
pub struct StatusReport {
    /// Every version, ascending.
    pub versions: Vec<StatusEntry>,
    /// Every repeatable file.
    pub repeatables: Vec<RepeatableEntry>,
    /// How history and objects disagree, if they do; a run would be refused.
    pub out_of_step: Option<OutOfStep>,
    /// Why a run would be refused whatever is pending, as by an entry that another tool has not finished.
    pub refused: Option<Refusal>,
}

/// Why a run would be refused.
#[derive(Clone, Debug)]
pub struct Refusal(pub Arc<Error>);

impl Refusal {
    /// Whether the history of the tool is another set's, and says nothing of this one.
    pub(super) fn is_of_another_set(&self) -> bool {
        matches!(&*self.0, Error::Misplaced(misplaced) if matches!(**misplaced, Misplaced::Shared { .. }))
    }
}

impl StatusReport {
    /// Whether the next run has something to do.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.versions.iter().any(|entry| entry.status.is_pending())
            || self.repeatables.iter().any(RepeatableEntry::is_pending)
    }

    /// Whether history and files contradict each other, so that a run would be refused.
    #[must_use]
    pub fn is_drift(&self) -> bool {
        self.out_of_step.is_some()
            || self.refused.is_some()
            || self.versions.iter().any(|entry| entry.status.is_drift())
    }
}

impl Migrator {
    /// Every version with its standing, and the hooks at its boundary with their last run. Writes nothing.
    ///
    /// # Errors
    ///
    /// When the database cannot be asked.
    pub async fn status(&self) -> Result<StatusReport, Error> {
        let connection = self.connector.clone().read_only().connect("migrate: status").await?;
        let facts = self.look_at_server(&connection).await?;
        let mut history = self.history(&connection, Extent::Whole).await?;
        if db::holder(&connection, &db::RUN_SESSION_LOCK).await?.is_none() {
            history.no_run_is_active();
        }
        self.refuse_unexplained(&connection, &history).await?;
        let refused = self.refused(&connection, &facts, &history).await?;
        let out_of_step = self.out_of_step(&connection, &history).await?;
        if out_of_step.is_none() {
            self.check_others(&connection, &history).await?;
        }
        connection.close().await;
        if refused.as_ref().is_some_and(Refusal::is_of_another_set) {
            history.ledger = Found::Nothing;
        }
        Ok(StatusReport { out_of_step, refused, ..history.status(&self.set) })
    }

    /// Why a run of a folder would be refused, whatever is pending.
    async fn refused(
        &self,
        connection: &Connection,
        facts: &ServerFacts,
        history: &History,
    ) -> Result<Option<Refusal>, Error> {
        if self.set.ledger().is_some() || self.set.origin().is_none() {
            return Ok(None);
        }
        let judged = match self.refuse_misplaced(connection, facts, history, false).await {
            Ok(()) => self.judge(connection, history).await,
            refused => refused,
        };
        match judged {
            Ok(()) => Ok(None),
            Err(error @ (Error::Misplaced(_) | Error::Adoption(_) | Error::ForeignLedger { .. })) => {
                Ok(Some(Refusal(Arc::new(error))))
            }
            Err(error) => Err(error),
        }
    }
}

impl History {
    /// Every version of set and history, and every repeatable file.
    pub fn status(&self, set: &Set) -> StatusReport {
        let repeatables = set.repeatables().iter().zip(&self.repeatables).map(|(repeatable, standing)| {
            let hooks = repeatable.hooks().iter().map(|hook| {
                let name = hook.name().to_owned();
                let run = self.hook_runs.get(&(repeatable.place().key(), name.clone())).cloned();
                (name, run)
            });
            RepeatableEntry {
                name: repeatable.name().to_owned(),
                since: repeatable.since(),
                status: match (&standing.left_alone, &standing.due) {
                    (Some(reason), _) => RepeatableStatus::LeftAlone { reason: reason.clone() },
                    (None, Some(why)) => RepeatableStatus::Pending { why: why.clone() },
                    (None, None) => RepeatableStatus::Applied,
                },
                owed: standing.owed.clone(),
                hooks: hooks.collect(),
            }
        });
        StatusReport {
            versions: self.versions_with_status(set),
            repeatables: repeatables.collect(),
            out_of_step: None,
            refused: None,
        }
    }

    fn versions_with_status(&self, set: &Set) -> Vec<StatusEntry> {
        let current = self.current();
        let known = set.migrations().iter().filter_map(|migration| {
            let again = self.ledger.ledger().and_then(|recorded| recorded.applied_again(migration.version()));
            let status = match (self.row(migration.version()), self.adopts(migration.version())) {
                (None, Some(adopted)) => Status::Adoptable { at: adopted.at },
                (None, None) if migration.is_baseline() && current != Version::NONE => return None,
                (None, None) if migration.version() < current && !set.applies_late(migration) => Status::OutOfOrder,
                (None, None) => Status::Pending { again: again.map(str::to_owned) },
                (Some(row), _) if row.name == migration.name() && migration.was_recorded_as(row.checksum) => {
                    if row.adopted { Status::Adopted { at: row.at } } else { Status::Applied { at: row.at } }
                }
                (Some(row), _) => Status::Divergent { at: row.at, recorded_name: row.name.clone() },
            };
            let hooks = set.hooks_before(migration.version()).iter().map(|hook| {
                let name = hook.name().to_owned();
                let run = self.hook_runs.get(&(migration.version().key(), name.clone())).cloned();
                (name, run)
            });
            Some(StatusEntry {
                version: migration.version(),
                name: migration.name().to_owned(),
                status,
                hooks: hooks.collect(),
            })
        });
        let unknown = self.applied.iter().filter(|row| set.migration(row.version).is_none()).map(|row| StatusEntry {
            version: row.version,
            name: row.name.clone(),
            status: if set.refuses_entry_without_file() {
                Status::Unknown { at: row.at }
            } else {
                Status::NoFile { at: row.at }
            },
            hooks: Vec::new(),
        });
        let mut entries: Vec<_> = known.chain(unknown).collect();
        entries.sort_by_key(|entry| entry.version);
        entries
    }
}
