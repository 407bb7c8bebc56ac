//! What a database remembers: applied versions and hook runs, in the schema `migrate`.

use std::collections::BTreeMap;

use serde::Serialize;
use time::OffsetDateTime;

use super::adopt::{self, Adopted};
use super::{HistoryError, Migration, Outcome, Set, Version, repeatable};
use crate::db::{Connection, Error, in_calendar};

/// More rows than any history has are not read: what is wrong with it shows in these.
const MOST_ROWS: usize = 10_000;

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
    /// It has not ended, or was killed and nobody has noticed yet.
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

    fn parse(text: &str) -> Self {
        [Self::Done, Self::Failed, Self::Interrupted, Self::Skipped]
            .into_iter()
            .find(|state| state.as_str() == text)
            .unwrap_or(Self::Running)
    }
}

/// The history of one set in one database, as read.
pub(super) struct History {
    pub applied: Vec<Applied>,
    /// Whether there is a table for it.
    pub is_kept: bool,
    pub ledger: adopt::Found,
    /// How the set's repeatable files stand, in their order.
    pub repeatables: Vec<repeatable::Standing>,
    pub hook_runs: BTreeMap<(Version, String), HookRun>,
}

/// The table that holds the history of a set.
pub(super) fn table(set: &Set) -> String {
    format!("migrate.history_{}", set.name().replace('-', "_"))
}

/// SQL for a time in our own tables. One that is in no calendar shows as 1970: a damaged row must not end the program.
pub(super) fn plain(column: &str) -> String {
    format!("coalesce({}, 'epoch')", in_calendar(column))
}

/// Makes the tables that a run writes to, and closes hook runs that were killed. The migration lock must
/// be held.
pub(super) async fn prepare(connection: &Connection, set: &Set) -> Result<(), Error> {
    let script = include_str!("bookkeeping.sql").replace("{history}", &table(set));
    let version = env!("CARGO_PKG_VERSION");
    connection.batch(&format!("SET migrate.tool_version TO '{version}'")).await?;
    // "already exists, skipping" is nothing to bother anybody with.
    connection.batch(&format!("SET client_min_messages TO warning; {script} RESET client_min_messages")).await
}

impl History {
    /// Reads it; a database that was never migrated has an empty one.
    pub async fn read(connection: &Connection, set: &Set) -> Result<Self, Error> {
        let table = table(set);
        let present = connection
            .query_one(
                "SELECT pg_catalog.to_regclass($1) IS NOT NULL, pg_catalog.to_regclass('migrate.hook_run') IS NOT NULL",
                &[&table],
            )
            .await?;
        let mut history = Self {
            applied: Vec::new(),
            is_kept: present.get(0),
            ledger: adopt::Found::Nothing,
            repeatables: Vec::new(),
            hook_runs: BTreeMap::new(),
        };
        if present.get(0) {
            // Tables of earlier builds of this program lack the last column.
            let sql = format!(
                "SELECT version, name, checksum, {}, coalesce((pg_catalog.to_jsonb(h) ->> 'adopted'::text)::boolean, false)
                 FROM {table} h
                 ORDER BY version
                 LIMIT {MOST_ROWS}",
                plain("recorded_at")
            );
            for row in connection.query(&sql, &[]).await? {
                history.applied.push(Applied {
                    version: row.get(0),
                    name: row.get(1),
                    checksum: row.get::<_, String>(2).parse().ok(),
                    at: row.get(3),
                    adopted: row.get(4),
                });
            }
        }
        history.ledger = adopt::read(connection, set, &history.versions()).await?;
        let current = history.current();
        for repeatable in set.repeatables() {
            let standing = if repeatable.since() > current {
                repeatable::Standing::not_yet()
            } else {
                repeatable::look(connection, set, repeatable).await?
            };
            history.repeatables.push(standing);
        }
        if present.get(1) {
            const LAST_RUNS: &str = "
                SELECT DISTINCT ON (before_version, hook)
                       before_version, hook, state, {started}, {finished}, summary
                FROM migrate.hook_run
                WHERE set_name = $1
                ORDER BY before_version, hook, id DESC
                LIMIT {most}";
            let last_runs =
                LAST_RUNS.replace("{started}", &plain("started_at")).replace("{finished}", &in_calendar("finished_at"));
            let last_runs = last_runs.replace("{most}", &MOST_ROWS.to_string());
            for row in connection.query(&last_runs, &[&set.name()]).await? {
                let run = HookRun {
                    state: HookState::parse(row.get(2)),
                    started_at: row.get(3),
                    finished_at: row.get(4),
                    summary: row.get(5),
                };
                history.hook_runs.insert((row.get(0), row.get(1)), run);
            }
        }
        Ok(history)
    }

    /// A hook run that never said how it ended was killed, if nobody is running now.
    pub fn nobody_is_running(&mut self) {
        for run in self.hook_runs.values_mut().filter(|run| run.state == HookState::Running) {
            run.state = HookState::Interrupted;
            run.summary = Some("killed, or cut off from the server".to_owned());
        }
    }

    /// The highest version applied, by us or before us; 0 if none is.
    pub fn current(&self) -> Version {
        let applied = self.applied.last().map_or(0, |applied| applied.version);
        self.adoptable().last().map_or(applied, |adopted| adopted.version.max(applied))
    }

    /// The versions in our own history.
    pub fn versions(&self) -> Vec<Version> {
        self.applied.iter().map(|applied| applied.version).collect()
    }

    /// What only the ledger of an older migrator records.
    pub fn adoptable(&self) -> &[Adopted] {
        self.ledger.ledger().map_or(&[], |recorded| &recorded.adopt)
    }

    pub fn adopts(&self, version: Version) -> Option<&Adopted> {
        self.adoptable().iter().find(|adopted| adopted.version == version)
    }

    pub fn row(&self, version: Version) -> Option<&Applied> {
        self.applied.iter().find(|applied| applied.version == version)
    }

    /// Compares what was applied with what the set has.
    ///
    /// # Errors
    ///
    /// The first of: versions this program does not know, versions with another content, versions left out.
    pub fn check(&self, set: &Set) -> Result<(), HistoryError> {
        self.problems(set).into_iter().next().map_or(Ok(()), Err)
    }

    /// Everything in which history and set contradict each other.
    pub fn problems(&self, set: &Set) -> Vec<HistoryError> {
        let mut problems = Vec::new();
        let (newer, ours): (Vec<_>, Vec<_>) = self.applied.iter().partition(|row| row.version > set.latest());
        if !newer.is_empty() {
            let unknown = newer.into_iter().cloned().collect();
            problems.push(HistoryError::Newer { latest: set.latest(), unknown });
        }
        problems.extend(ours.into_iter().filter_map(|row| match set.migration(row.version) {
            None => Some(HistoryError::Missing { version: row.version, name: row.name.clone() }),
            Some(migration) if row.name != migration.name() || !migration.was_recorded_as(row.checksum) => {
                Some(HistoryError::Divergent {
                    version: row.version,
                    file: migration.file(),
                    recorded_name: row.name.clone(),
                    recorded_checksum: row.checksum,
                    at: row.at,
                })
            }
            Some(_) => None,
        }));
        let current = self.current();
        let left_out = set.migrations().iter().filter(|migration| {
            let version = migration.version();
            version < current && self.row(version).is_none() && self.adopts(version).is_none()
        });
        problems.extend(left_out.map(|migration| HistoryError::OutOfOrder {
            version: migration.version(),
            file: migration.file(),
            current,
            restore: insert(set, &[migration], NOW) + ";",
        }));
        problems
    }
}

/// For a row that a person puts into the history.
pub(super) const NOW: &str = "pg_catalog.now()";

/// The statement that records migrations as applied at a time, which is SQL.
pub(super) fn insert(set: &Set, migrations: &[&Migration], at: &str) -> String {
    let rows: Vec<_> = migrations
        .iter()
        .map(|migration| format!("({}, '{}', {at}, '{}')", migration.version(), migration.name(), migration.checksum()))
        .collect();
    format!("INSERT INTO {} (version, name, applied_on, checksum) VALUES {}", table(set), rows.join(", "))
}

/// Writes down what an older migrator had applied, all of it or nothing.
pub(super) async fn adopt(connection: &Connection, set: &Set, versions: &[Adopted]) -> Result<(), Error> {
    let sql = format!(
        "INSERT INTO {} (version, name, applied_on, checksum, recorded_at, adopted)
         SELECT a.version, a.name, pg_catalog.to_json(a.at) #>> '{{}}'::text[], a.checksum, a.at, true
         FROM ROWS FROM (pg_catalog.unnest($1::bigint[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::timestamptz[])) AS a (version, name, checksum, at)",
        table(set)
    );
    let numbers: Vec<_> = versions.iter().map(|adopted| adopted.version).collect();
    let names: Vec<_> = versions.iter().map(|adopted| adopted.name.as_str()).collect();
    let checksums: Vec<_> = numbers
        .iter()
        .map(|version| set.migration(*version).map(|m| m.checksum().to_string()).unwrap_or_default())
        .collect();
    let times: Vec<_> = versions.iter().map(|adopted| adopted.at).collect();
    connection.execute(&sql, &[&numbers, &names, &checksums, &times]).await?;
    Ok(())
}

/// Opens the record of a hook run and returns its number.
pub(super) async fn hook_started(
    connection: &Connection,
    set: &Set,
    hook: &str,
    version: Version,
) -> Result<i64, Error> {
    const START: &str = "
        INSERT INTO migrate.hook_run (set_name, hook, before_version, state)
        VALUES ($1, $2, $3, 'running')
        RETURNING id";
    Ok(connection.query_one(START, &[&set.name(), &hook, &version]).await?.get(0))
}

/// Closes the record of a hook run.
pub(super) async fn hook_ended(
    connection: &Connection,
    run: i64,
    state: HookState,
    outcome: &Outcome,
) -> Result<(), Error> {
    const END: &str = "
        UPDATE migrate.hook_run
        SET state = $2, finished_at = pg_catalog.clock_timestamp(), summary = $3, details = $4
        WHERE id = $1";
    let details = serde_json::Value::Object(outcome.details.clone());
    connection.shielded().execute(END, &[&run, &state.as_str(), &outcome.summary, &details]).await?;
    Ok(())
}
