//! What a database remembers: applied versions and hook runs, in the schema `migrate`.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Row;

use super::applied::{Adopted, Applied, HookRun, HookState, plain};
use super::description::Objects;
use super::record::{AlsoIn, NOW, also_in, file_history_table, history_row, history_table};
use super::standing::{self, Standing};
use super::why::Why;
use super::{HistoryError, Migration, Outcome, Set, Version, adopt, take_over};
use crate::db::{Connection, Error, OwnTable, in_calendar, own_tables};

/// More rows than any history has are not read: what is wrong with it shows in these.
const MOST_ROWS: usize = 10_000;

const HOOK_RUN: &str = "migrate.hook_run";

/// How much of it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// What a run needs.
    Run,
    /// All of it.
    Whole,
}

/// The history of one set in one database, as read.
pub(super) struct History {
    pub applied: Vec<Applied>,
    /// Whether there is a table for it.
    pub is_kept: bool,
    /// Its tables that are there.
    pub tables: Vec<String>,
    /// What was the first schema of the search path when its files were applied, as far as it is recorded.
    pub applied_in: BTreeSet<String>,
    /// The histories of tools that it continues.
    pub continues: BTreeSet<String>,
    pub ledger: adopt::Found,
    /// How the set's repeatable files stand, in their order.
    pub repeatables: Vec<Standing>,
    pub hook_runs: BTreeMap<(i64, String), HookRun>,
}

/// Makes the tables that a run writes to, and closes hook runs that were killed. The migration lock must
/// be held.
pub(super) async fn prepare(connection: &Connection, set: &Set) -> Result<(), Error> {
    let table = |table: &str, of_type: &str| {
        include_str!("history_table.sql").replace("{history}", table).replace("{type}", of_type)
    };
    let mut histories = table(&history_table(set), "bigint");
    if set.has_names() {
        histories.push_str(&table(&file_history_table(set), "text"));
    }
    let script = include_str!("bookkeeping.sql").replace("{histories}", &histories);
    let version = env!("CARGO_PKG_VERSION");
    connection.batch(&format!("SET migrate.tool_version TO '{version}'")).await?;
    // "already exists, skipping" is nothing to bother anybody with.
    connection.batch(&format!("SET client_min_messages TO warning; {script} RESET client_min_messages")).await
}

/// Makes what this session records say where it was applied, and which history of a tool that continues.
pub(super) async fn says(connection: &Connection, schema: Option<&str>, continues: Option<&str>) -> Result<(), Error> {
    const SAYS: &str = "SELECT pg_catalog.set_config('migrate.in_schema', $1, false), pg_catalog.set_config('migrate.continues', $2, false)";
    let [schema, continues] = [schema, continues].map(Option::unwrap_or_default);
    connection.query_one(SAYS, &[&schema, &continues]).await.map(drop)
}

/// Reads the recorded versions, and with them where they were applied.
async fn applied(connection: &Connection, set: &Set, history: &mut History, tables: &[&OwnTable]) -> Result<(), Error> {
    // Tables of earlier builds of this program lack the last columns.
    let column = |table: &OwnTable, name: &str, otherwise: &str| {
        if table.columns.iter().any(|column| column == name) {
            name.to_owned()
        } else {
            format!("{otherwise} AS {name}")
        }
    };
    let rows_of = |table: &&OwnTable| {
        let (adopted, schema) = (column(table, "adopted", "false"), column(table, "in_schema", "NULL::text[]"));
        let (continues, at) = (column(table, "continues", "NULL::text"), plain("recorded_at"));
        let columns = format!("version::text AS version, name, checksum, {at} AS at, {adopted}, {schema}, {continues}");
        format!("SELECT {columns} FROM {}", table.name)
    };
    let sql = tables.iter().map(rows_of).collect::<Vec<_>>().join(" UNION ALL ");
    // Row by row: what a thousand take is more than what is kept of them.
    let mut read = Ok(());
    let mut each = |row: &Row| {
        if read.is_ok() {
            read = history.take(set, row);
        }
    };
    connection.each_row(&format!("{sql} LIMIT {MOST_ROWS}"), &[], &mut each).await?;
    read?;
    history.applied.sort_by_key(|row| row.version);
    Ok(())
}

/// The last run of each hook at each boundary.
async fn last_runs(connection: &Connection, set: &Set) -> Result<BTreeMap<(i64, String), HookRun>, Error> {
    const LAST_RUNS: &str = "
        SELECT DISTINCT ON (before_version, hook)
               before_version, hook, state, {started} AS started, {finished} AS finished, summary
        FROM migrate.hook_run
        WHERE set_name = $1
        ORDER BY before_version, hook, id DESC
        LIMIT {most}";
    let mut runs = BTreeMap::new();
    let last_runs =
        LAST_RUNS.replace("{started}", &plain("started_at")).replace("{finished}", &in_calendar("finished_at"));
    let last_runs = last_runs.replace("{most}", &MOST_ROWS.to_string());
    for row in connection.query(&last_runs, &[&set.name()]).await? {
        let run = HookRun {
            state: HookState::parse(row.try_get("state")?),
            started_at: row.try_get("started")?,
            finished_at: row.try_get("finished")?,
            summary: row.try_get("summary")?,
        };
        runs.insert((row.try_get("before_version")?, row.try_get("hook")?), run);
    }
    Ok(runs)
}

impl History {
    /// Reads it; a database that was never migrated has an empty one.
    pub async fn read(connection: &Connection, set: &Set, extent: Extent) -> Result<Self, Error> {
        let (numbers, files) = (history_table(set), file_history_table(set));
        let there =
            own_tables(connection, &[&numbers, &files, HOOK_RUN, "migrate.hook_state", "migrate.repeatable"]).await?;
        let tables: Vec<_> = there.iter().filter(|table| [&numbers, &files].contains(&&table.name)).collect();
        let mut history = Self {
            applied: Vec::new(),
            is_kept: !tables.is_empty(),
            tables: tables.iter().map(|table| table.name.clone()).collect(),
            applied_in: BTreeSet::new(),
            continues: BTreeSet::new(),
            ledger: adopt::Found::Nothing,
            repeatables: Vec::new(),
            hook_runs: BTreeMap::new(),
        };
        if !tables.is_empty() {
            applied(connection, set, &mut history, &tables).await?;
        }
        let versions = history.versions();
        history.ledger = match (set.ledger(), set.origin()) {
            // Where all files are in our own history, that of the tool has nothing to tell a run.
            (None, Some(origin)) if extent == Extent::Run && !origin.keep && history.has_all(set) => {
                adopt::Found::Nothing
            }
            (None, Some(origin)) if !origin.takes_over => adopt::Found::Nothing,
            (None, Some(origin)) => take_over::read(connection, set, origin, &versions).await?,
            _ => adopt::read(connection, set, &versions).await?,
        };
        let current = history.current();
        for repeatable in set.repeatables() {
            let mut standing = if repeatable.is_due(current) {
                standing::look(connection, set, repeatable).await?
            } else {
                Standing::not_yet()
            };
            let recorded = history.ledger.ledger().map(|recorded| &recorded.repeatables);
            if standing.due == Some(Why::New) && recorded.is_some_and(|rows| repeatable.is_recorded_in(rows)) {
                standing = Standing { made: Some(Objects::new()), due: None, ..standing };
            }
            history.repeatables.push(standing);
        }
        if extent == Extent::Whole && there.iter().any(|table| table.name == HOOK_RUN) {
            history.hook_runs = last_runs(connection, set).await?;
        }
        Ok(history)
    }

    /// Takes a row of [`applied`] in.
    fn take(&mut self, set: &Set, row: &Row) -> Result<(), Error> {
        self.applied.push(Applied {
            version: set.recorded_version(row.try_get(0)?),
            name: row.try_get(1)?,
            checksum: row.try_get::<_, &str>(2)?.parse().ok(),
            at: row.try_get(3)?,
            adopted: row.try_get(4)?,
        });
        let schemas: Option<Vec<Option<&str>>> = row.try_get(5)?;
        for schema in schemas.into_iter().flatten().flatten().filter(|schema| !schema.is_empty()) {
            if !self.applied_in.contains(schema) {
                self.applied_in.insert(schema.to_owned());
            }
        }
        if let Some(table) = row.try_get::<_, Option<&str>>(6)?.filter(|table| !table.is_empty())
            && !self.continues.contains(table)
        {
            self.continues.insert(table.to_owned());
        }
        Ok(())
    }

    /// Whether every version of the set is in our own history.
    pub fn has_all(&self, set: &Set) -> bool {
        set.migrations().iter().all(|migration| migration.is_baseline() || self.row(migration.version()).is_some())
    }

    /// A hook run without an end was killed, if no run is active.
    pub fn no_run_is_active(&mut self) {
        for run in self.hook_runs.values_mut().filter(|run| run.state == HookState::Running) {
            run.state = HookState::Interrupted;
            run.summary = Some("killed, or cut off from the server".to_owned());
        }
    }

    /// The highest version applied, by us or before us; 0 if none is.
    pub fn current(&self) -> Version {
        let applied = self.applied.last().map_or(Version::NONE, |applied| applied.version);
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
        let adoptable = self.adoptable();
        adoptable.get(adoptable.binary_search_by_key(&version, |adopted| adopted.version).ok()?)
    }

    /// Whether it is applied, by us or before us.
    pub fn is_recorded(&self, version: Version) -> bool {
        self.row(version).is_some() || self.adopts(version).is_some()
    }

    pub fn row(&self, version: Version) -> Option<&Applied> {
        let at = self.applied.binary_search_by_key(&version, |applied| applied.version).ok()?;
        self.applied.get(at)
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
        if !newer.is_empty() && set.refuses_entry_without_file() {
            let unknown = newer.into_iter().cloned().collect();
            problems.push(HistoryError::Newer { latest: set.latest(), unknown });
        }
        problems.extend(ours.into_iter().filter_map(|row| match set.migration(row.version) {
            None if !set.refuses_entry_without_file() => None,
            None => Some(HistoryError::Missing { version: row.version, name: row.name.clone() }),
            Some(migration) if row.name != migration.name() || !migration.was_recorded_as(row.checksum) => {
                Some(HistoryError::Divergent {
                    version: row.version,
                    file: migration.file(),
                    name: migration.name().to_owned(),
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
            version < current && !self.is_recorded(version) && !migration.is_baseline() && !set.applies_late(migration)
        });
        problems.extend(left_out.map(|migration| HistoryError::OutOfOrder {
            version: migration.version(),
            file: migration.file(),
            current,
            restore: history_row(set, &[migration], NOW) + ";",
        }));
        problems
    }
}

/// Writes down what was applied before us, all of it or nothing; in the history of the tool, too, where that is to be kept in step
/// and does not say it.
pub(super) async fn adopt(
    connection: &Connection,
    set: &Set,
    versions: &[Adopted],
    also: Option<AlsoIn<'_>>,
) -> Result<(), Error> {
    let transaction = connection.begin().await?;
    let rows: Vec<_> = versions.iter().filter_map(|adopted| Some((adopted, set.migration(adopted.version)?))).collect();
    for (table, of_type, named) in [(history_table(set), "bigint", false), (file_history_table(set), "text", true)] {
        let rows: Vec<_> = rows.iter().filter(|(_, migration)| migration.number().is_none() == named).collect();
        if rows.is_empty() {
            continue;
        }
        let sql = format!(
            "INSERT INTO {table} (version, name, applied_on, checksum, recorded_at, adopted)
             SELECT a.version::{of_type}, a.name, pg_catalog.to_json(a.at) #>> '{{}}'::text[], a.checksum, a.at, true
             FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::timestamptz[])) AS a (version, name, checksum, at)"
        );
        let recorded_as = |migration: &Migration| {
            migration.number().map_or_else(|| migration.version().to_string(), |number| number.to_string())
        };
        let numbers: Vec<_> = rows.iter().map(|(_, migration)| recorded_as(migration)).collect();
        let names: Vec<_> = rows.iter().map(|(_, migration)| migration.name()).collect();
        let checksums: Vec<_> = rows.iter().map(|(_, migration)| migration.checksum().to_string()).collect();
        let times: Vec<_> = rows.iter().map(|(adopted, _)| adopted.at).collect();
        transaction.execute(&sql, &[&numbers, &names, &checksums, &times]).await?;
    }
    if let Some(also) = also {
        let each: Vec<String> = rows.iter().map(|(_, migration)| also_in(set, migration, also)).collect();
        transaction.batch(&each.join(";\n")).await?;
    }
    transaction.commit().await
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
    Ok(connection.query_one(START, &[&set.name(), &hook, &version.key()]).await?.get("id"))
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
