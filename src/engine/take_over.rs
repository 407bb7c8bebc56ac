//! Continuing the history of another tool: which of its entries stand for which files, and whether they can be trusted.

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;

use super::adopt::{Found, Recorded};
use super::applied::Adopted;
use super::origin::Origin;
use super::take_over_error::TakeOverError;
use super::tool::{self, RowState, Tool, ToolRow, ToolTable};
use super::{Migration, Set, Version};
use crate::db::{self, Connection, Error};

const HAS_TABLES: &str = "
    SELECT EXISTS (
        SELECT FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_'::text AND n.nspname NOT IN ('information_schema', 'migrate')
    ) AS has_tables";

/// Looks for the history that a set of files continues, and compares it with the files. `applied`: our own history.
pub(super) async fn read(
    connection: &Connection,
    set: &Set,
    origin: &Origin,
    applied: &[Version],
) -> Result<Found, Error> {
    const RIGHTS: &str = include_str!("ledger_rights.sql");
    let tables = tool::find_tool_tables(connection, origin.table.as_deref()).await?;
    let is_named =
        |table: &ToolTable| origin.table.as_ref().is_some_and(|name| *name == table.table || *name == table.qualified);
    // Only what the tool itself would read: another application may keep one in a schema of its own.
    let is_its_own = |table: &ToolTable| match &origin.table {
        Some(_) => is_named(table),
        None => table.is_visible || table.tool.own_schema() == Some(table.schema.as_str()),
    };
    let mut candidates: Vec<&ToolTable> =
        tables.iter().filter(|table| Some(table.tool) == origin.tool && is_its_own(table)).collect();
    candidates.sort_by_key(|table| !table.is_visible);
    let Some(table) = candidates.first().copied() else {
        // A database without tables is new, and has no history to continue.
        if let Some(name) = origin.table.clone().filter(|_| applied.is_empty())
            && connection.query_one(HAS_TABLES, &[]).await?.get("has_tables")
        {
            let problems = vec![TakeOverError::NoSuchTable { table: name.clone() }];
            let refused = Recorded { table: name, writable: true, problems, ..Recorded::default() };
            return Ok(Found::Ledger(Box::new(refused)));
        }
        let foreign = tables.iter().find(|table| table.is_visible);
        return Ok(
            foreign.map_or(Found::Nothing, |table| Found::Foreign(format!("{} of {}", table.qualified, table.tool)))
        );
    };
    let rights = connection.query_one(RIGHTS, &[&table.qualified, &tool::rights(table.tool)]).await?;
    if !rights.get::<_, bool>("readable") {
        return Ok(Found::Unreadable(table.qualified.clone()));
    }
    db::refuse_superuser(connection, &[&table.qualified], &[], db::Purpose::Look).await?;
    let closed_sequence: Option<String> = rights.get("closed_sequence");
    let closed_sequence = closed_sequence.filter(|_| origin.keep);
    let rows = tool::rows(connection, table).await?;
    let (recorded, unknown, problems) = matched(set, origin, table, &rows);
    let mut adopt: Vec<Adopted> = Vec::new();
    for (version, row) in &recorded {
        let Some(migration) = set.migration(*version).filter(|_| applied.binary_search(version).is_err()) else {
            continue;
        };
        adopt.push(Adopted {
            version: *version,
            name: migration.name().to_owned(),
            recorded_as: vec![migration.entry().version.clone()],
            at: row.at.unwrap_or(OffsetDateTime::UNIX_EPOCH),
        });
    }
    let repeatables = rows.iter().filter(|row| row.state == RowState::Repeatable);
    Ok(Found::Ledger(Box::new(Recorded {
        table: table.qualified.clone(),
        adopt,
        again: Vec::new(),
        versions: recorded.into_keys().collect(),
        partial: Vec::new(),
        writable: !origin.keep || (rights.get::<_, bool>("writable") && closed_sequence.is_none()),
        closed_sequence,
        tool: Some(table.clone()),
        unknown,
        problems,
        repeatables: repeatables.filter_map(|row| Some((row.entry.clone(), row.checksum.clone()?))).collect(),
    })))
}

/// The files that the rows stand for, and what is wrong.
fn matched<'a>(
    set: &'a Set,
    origin: &Origin,
    table: &ToolTable,
    rows: &'a [ToolRow],
) -> (BTreeMap<Version, &'a ToolRow>, Vec<String>, Vec<TakeOverError>) {
    // A baseline may have the number of a version; a row means the version.
    let (baselines, versions): (Vec<_>, Vec<_>) =
        set.migrations().iter().partition(|migration| migration.is_baseline());
    let by_entry: BTreeMap<String, &Migration> =
        baselines.into_iter().chain(versions).map(|migration| (entry_of(table.tool, migration), migration)).collect();
    let (mut recorded, mut problems) = (BTreeMap::new(), Vec::new());
    let (mut without_file, mut unknown): (Vec<&ToolRow>, Vec<String>) = (Vec::new(), Vec::new());
    let latest = set.latest();
    for row in rows {
        let migration = by_entry.get(&table.tool.canonical(&row.entry)).copied();
        if migration.is_none() && matches!(row.state, RowState::Applied | RowState::UpTo) {
            unknown.push(row.entry.clone());
        }
        let what = || (table.tool, table.qualified.clone(), row.entry.clone());
        let clears = || tool::clears(table, row);
        match row.state {
            RowState::Repeatable => {}
            RowState::Failed => problems.push(TakeOverError::failed(what(), clears())),
            RowState::Dirty => problems.push(TakeOverError::dirty(what(), clears())),
            RowState::RolledBack => problems.push(TakeOverError::rolled_back(what(), clears())),
            RowState::UpTo => {
                let until = migration.map(Migration::version).or_else(|| placed(table.tool, set, row));
                let Some(until) = until else {
                    without_file.push(row);
                    continue;
                };
                for migration in set.migrations().iter().filter(|m| m.version() <= until && !m.is_baseline()) {
                    recorded.entry(migration.version()).or_insert(row);
                }
            }
            RowState::Applied => match migration {
                Some(migration) => {
                    if let Some(problem) = changed(table, row, migration) {
                        problems.push(problem);
                    }
                    recorded.insert(migration.version(), row);
                }
                // A newer deployment may have been here; every tool but these lets that be.
                None if newer(row, latest) && table.tool == Tool::Flyway => {}
                None => without_file.push(row),
            },
        }
    }
    if origin.refuses_entry_without_file && !without_file.is_empty() {
        let entries: BTreeSet<String> = without_file.iter().map(|row| row.entry.clone()).collect();
        let (tool, table) = (table.tool, table.qualified.clone());
        problems.push(TakeOverError::WithoutFile { tool, table, entries: entries.into_iter().collect() });
    }
    (recorded, unknown, problems)
}

/// What the tool's history calls a file.
fn entry_of(tool: Tool, migration: &Migration) -> String {
    match (tool, migration.entry().written_at) {
        (Tool::Drizzle, Some(written_at)) => written_at.to_string(),
        _ => tool.canonical(&migration.entry().version),
    }
}

/// The last file that counts as applied where the row stands for no file itself: between two of them.
fn placed(tool: Tool, set: &Set, row: &ToolRow) -> Option<Version> {
    match tool {
        Tool::Drizzle => {
            let until: i64 = row.entry.parse().ok()?;
            let before = |m: &&Migration| m.entry().written_at.is_some_and(|written_at| written_at <= until);
            set.migrations().iter().filter(before).map(Migration::version).max()
        }
        // A baseline need not have a file.
        Tool::Flyway => dotted(row),
        _ => None,
    }
}

fn newer(row: &ToolRow, latest: Version) -> bool {
    dotted(row).is_some_and(|version| version > latest)
}

/// The version that a row of Flyway's means.
fn dotted(row: &ToolRow) -> Option<Version> {
    let numbers = row.entry.split(['.', '_']).map(str::parse).collect::<Result<Vec<u64>, _>>();
    numbers.ok().map(Version::dotted)
}

/// Whether the tool's own rule says that a file is not the one that was applied.
fn changed(table: &ToolTable, row: &ToolRow, migration: &Migration) -> Option<TakeOverError> {
    let (recorded, checksum) = (row.checksum.as_ref()?, migration.entry().checksum.as_ref()?);
    if checksum.matches(recorded) {
        return None;
    }
    let (tool, table, file) = (table.tool, table.qualified.clone(), migration.file());
    Some(TakeOverError::Changed { tool, table, file, recorded: recorded.clone(), found: checksum.recorded.clone() })
}
