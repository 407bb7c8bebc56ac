//! The way back as a plan: which versions are taken back, newest first, and what each loses.

use std::time::Duration;

use migrate_layout::Layout;
use serde::Serialize;

use super::context::LOCK_WAIT;
use super::data::Loss;
use super::down_error::DownError;
use super::event::Event;
use super::history::History;
use super::invalid_index::CLEANUP;
use super::tool::{Tool, ToolTable};
use super::{Boundary, Error, HistoryError, HookState, Migration, Mode, Set, Version};
use crate::db::{self, Connection, ServerFacts};

/// How far to go back, and at what price.
#[derive(Clone, Debug)]
pub struct DownOptions {
    /// The last version that stays applied. 0 takes all of them back.
    pub to: Option<Version>,
    /// How many versions to take back, where `to` does not say it.
    pub steps: usize,
    /// Drop tables and columns that hold data.
    pub lose_data: bool,
    /// How long to wait for a lock that another session holds.
    pub lock_wait: Duration,
}

impl Default for DownOptions {
    /// One version, no data lost, waiting up to ten minutes for a lock.
    fn default() -> Self {
        Self { to: None, steps: 1, lose_data: false, lock_wait: LOCK_WAIT }
    }
}

/// One version to take back. As JSON, what a dry run says of it.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename = "would_take_back")]
pub struct DownStep {
    /// The version.
    pub version: Version,
    /// Its name.
    pub name: String,
    /// The file that takes it back.
    pub file: String,
    /// Whether that runs in a transaction.
    pub transaction: bool,
    /// The history of another tool that the version is taken out of, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_in: Option<String>,
    /// What it loses of data now, or may lose.
    pub losses: Vec<Loss>,
    /// Hooks that have run before the version. They are not undone.
    pub hooks: Vec<String>,
    /// What is sent.
    pub sql: String,
    /// The migration.
    #[serde(skip)]
    pub migration: Migration,
    /// What the other tool's history then ends with, where that keeps only its end.
    #[serde(skip)]
    pub(super) previous: Option<Migration>,
}

/// What is taken back, newest first.
#[derive(Clone, Debug)]
pub struct DownPlan {
    /// Version of the database; 0 for an empty history.
    pub current: Version,
    /// Version that the steps lead to.
    pub target: Version,
    /// The steps.
    pub steps: Vec<DownStep>,
    /// The history of the folder's tool.
    pub(super) tool: Option<ToolTable>,
    /// The ledger of an older migrator.
    pub(super) ledger: Option<String>,
}

impl DownPlan {
    /// Compares a history with a set. What is lost is not known yet.
    pub(super) fn new(set: &Set, history: &History, options: &DownOptions) -> Result<Self, Error> {
        // A file that was never applied is no obstacle on the way back.
        let problems = history.problems(set).into_iter();
        if let Some(problem) = problems.into_iter().find(|p| !matches!(p, HistoryError::OutOfOrder { .. })) {
            return Err(problem.into());
        }
        let recorded = history.ledger.ledger();
        let in_tool: Vec<Version> = recorded.map(|recorded| recorded.versions.clone()).unwrap_or_default();
        let mut applied = history.versions();
        applied.extend(&in_tool);
        applied.sort_unstable();
        applied.dedup();
        let kept = match options.to {
            Some(to) => applied.partition_point(|version| *version <= to),
            None => applied.len().saturating_sub(options.steps),
        };
        let ledger = recorded.map(|recorded| recorded.table.clone());
        let mut steps = Vec::new();
        for version in applied[kept..].iter().rev().copied() {
            let migration = set.migration(version).ok_or(DownError::NoFile { version })?;
            let before = in_tool.iter().filter(|other| **other < version).max();
            let previous = before.and_then(|before| set.migration(*before)).cloned();
            let recorded_in = ledger.clone().filter(|_| in_tool.contains(&version));
            steps.push(DownStep::new(set, history, migration, previous, recorded_in)?);
        }
        if let (Some(lowest), Some(recorded)) = (steps.last(), recorded) {
            let is_behind = |entry: &&String| {
                recorded.tool.as_ref().is_some_and(|table| is_behind(table.tool, entry, &lowest.migration))
            };
            let entries: Vec<String> = recorded.unknown.iter().filter(is_behind).cloned().collect();
            if !entries.is_empty() {
                let (version, table) = (lowest.version, recorded.table.clone());
                return Err(DownError::Followed { version, table, entries }.into());
            }
        }
        Ok(Self {
            current: applied.last().copied().unwrap_or(Version::NONE),
            target: kept.checked_sub(1).map_or(Version::NONE, |last| applied[last]),
            steps,
            tool: recorded.and_then(|recorded| recorded.tool.clone()),
            ledger,
        })
    }

    /// Refuses what loses data, unless that is wanted.
    ///
    /// # Errors
    ///
    /// [`DownError::LosesData`].
    pub fn check_losses(&self, options: &DownOptions) -> Result<(), Error> {
        let of_step = |step: &DownStep| {
            let file = step.file.clone();
            step.losses.clone().into_iter().map(move |loss| (file.clone(), loss)).collect::<Vec<_>>()
        };
        let losses: Vec<_> = self.steps.iter().flat_map(of_step).collect();
        if losses.is_empty() || options.lose_data { Ok(()) } else { Err(DownError::LosesData { losses }.into()) }
    }

    /// What is told of it.
    #[must_use]
    pub fn event(&self) -> Event {
        Event::DownPlanned { current: self.current, target: self.target, migrations: self.steps.len() }
    }
}

impl DownStep {
    fn new(
        set: &Set,
        history: &History,
        migration: &Migration,
        previous: Option<Migration>,
        recorded_in: Option<String>,
    ) -> Result<Self, DownError> {
        let version = migration.version();
        let Some((script, mode)) = migration.down() else {
            let (file, wanted) = (migration.file(), wanted(set, migration));
            return Err(DownError::NoWayBack { version, file, wanted });
        };
        let has_run = |name: &str| {
            let run = history.hook_runs.get(&(version.key(), name.to_owned()));
            name != CLEANUP && run.is_some_and(|run| run.state == HookState::Done)
        };
        let hooks = set.hooks_before(version).iter().map(|hook| hook.name()).filter(|name| has_run(name));
        Ok(Self {
            version,
            name: migration.name().to_owned(),
            file: script.path.clone(),
            transaction: !matches!(mode, Mode::NoTransaction { .. }),
            recorded_in,
            losses: Vec::new(),
            hooks: hooks.map(str::to_owned).collect(),
            sql: script.shown().to_owned(),
            migration: migration.clone(),
            previous,
        })
    }

    /// What is told of the hooks that are not undone.
    pub(super) fn hooks_not_undone(&self) -> impl Iterator<Item = Event> {
        let boundary = Boundary::Before(self.version);
        self.hooks.iter().map(move |hook| Event::HookNotUndone { hook: hook.clone(), boundary: boundary.clone() })
    }
}

/// Whether an entry of a tool's history stands behind a file.
fn is_behind(tool: Tool, entry: &str, file: &Migration) -> bool {
    let own = &file.entry().version;
    let number = |text: &str| text.parse::<i128>().ok();
    match tool {
        Tool::Drizzle => number(entry) > file.entry().written_at.map(i128::from),
        Tool::Flyway => match entry.parse::<Version>().unwrap_or(Version::NONE) {
            version if version.is_number() => {
                Version::dotted([version.as_number().unwrap_or_default().unsigned_abs()]) > file.version()
            }
            version => version > file.version(),
        },
        Tool::Sqlx | Tool::GolangMigrate | Tool::Goose | Tool::Refinery => number(entry) > number(own),
        _ => entry > own.as_str(),
    }
}

/// Where the way back of a file would be written, in the folder's own layout.
fn wanted(set: &Set, migration: &Migration) -> Option<String> {
    let layout = set.origin()?.layout;
    let file = migration.file();
    let beside = |ending: &str| format!("{}{ending}", file.trim_end_matches(".sql").trim_end_matches(".up"));
    Some(match layout {
        // A file without a direction would have to become one that goes up.
        Layout::Sqlx if !file.ends_with(".up.sql") => {
            format!("{} (and call this one {})", beside(".down.sql"), beside(".up.sql"))
        }
        Layout::Migrate | Layout::GolangMigrate | Layout::UpDown | Layout::Sqlx => beside(".down.sql"),
        Layout::Dbmate => format!("statements behind -- migrate:down in {file}"),
        Layout::Goose => format!("statements behind -- +goose Down in {file}"),
        Layout::Diesel => format!("{}down.sql", file.trim_end_matches("up.sql")),
        Layout::Flyway if !migration.is_baseline() => {
            let (folder, name) = file.rsplit_once('/').map_or(("", file.as_str()), |(folder, name)| (folder, name));
            let slash = if folder.is_empty() { "" } else { "/" };
            format!("{folder}{slash}U{}", name.trim_start_matches('V'))
        }
        Layout::Prisma => format!("{}down.sql", file.trim_end_matches("migration.sql")),
        _ => return None,
    })
}

/// The version must be taken out of the other tool's history, too: it would count as applied, and never be applied again.
pub(super) async fn refuse_closed(
    connection: &Connection,
    facts: &ServerFacts,
    plan: &DownPlan,
    step: &DownStep,
) -> Result<(), Error> {
    const MAY: &str = "
        SELECT NOT EXISTS (
            SELECT FROM pg_catalog.unnest($2::text[]) p WHERE NOT pg_catalog.has_table_privilege($1::text, p)
        ) AS may";
    let Some(table) = &step.recorded_in else { return Ok(()) };
    let needed = match plan.tool.as_ref().map(|table| table.tool) {
        Some(Tool::GolangMigrate) => "DELETE, INSERT",
        Some(Tool::Flyway) => "INSERT",
        Some(Tool::Prisma) => "UPDATE",
        _ => "DELETE",
    };
    let each: Vec<&str> = needed.split(", ").collect();
    if connection.query_one(MAY, &[table, &each]).await?.get("may") {
        return Ok(());
    }
    let (role, table) = (facts.role.clone(), table.clone());
    let grant = format!("GRANT {needed} ON {table} TO {}", db::ident(&role));
    Err(DownError::Closed { version: step.version, table, role, grant }.into())
}

/// Refuses what the ledger of an older migrator records behind the lowest version to be taken back, and no file here is for.
pub(super) async fn refuse_later_entries(connection: &Connection, set: &Set, plan: &DownPlan) -> Result<(), Error> {
    let (Some(ledger), Some(table), Some(lowest)) = (set.ledger(), &plan.ledger, plan.steps.last()) else {
        return Ok(());
    };
    let entries = |migration: &Migration| ledger.entries(migration.version(), migration.name());
    let known: Vec<String> = set.migrations().iter().flat_map(entries).collect();
    let own = entries(&lowest.migration).into_iter().min().unwrap_or_default();
    let sql = format!(
        "SELECT version::text AS entry FROM {table}
         WHERE version::text COLLATE \"C\" > $1 COLLATE \"C\" AND version::text <> ALL ($2::text[])
         ORDER BY 1 LIMIT 100"
    );
    let rows = connection.query(&sql, &[&own, &known]).await?;
    let entries: Vec<String> = rows.iter().map(|row| row.get("entry")).collect();
    if entries.is_empty() {
        return Ok(());
    }
    Err(DownError::Followed { version: lowest.version, table: table.clone(), entries }.into())
}
