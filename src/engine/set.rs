//! A set: migrations, and the hooks at their version boundaries.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use migrate_layout::Late;

use super::description::Description;
use super::hook::Hook;
use super::ledger::Ledger;
use super::origin::Origin;
use super::tool::ToolTable;
use super::{Error, Migration, Repeatable, Version};
use crate::db::{LockKey, RUN_SESSION_LOCK, RunLocks, ident};

/// Migrations in order, each with the hooks that run before it.
#[derive(Clone)]
pub struct Set {
    pub(super) name: String,
    pub(super) minimum_server: i32,
    pub(super) migrations: Vec<Migration>,
    pub(super) hooks: BTreeMap<Version, Vec<Arc<dyn Hook>>>,
    pub(super) repeatables: Vec<Repeatable>,
    pub(super) ledger: Option<Ledger>,
    pub(super) owned_like: Option<String>,
    pub(super) changed_tables: Vec<String>,
    pub(super) description: Description,
    pub(super) note_on_empty: Option<String>,
    pub(super) run_lock: i64,
    pub(super) origin: Option<Origin>,
    pub(super) owner: Option<String>,
    /// What the history calls the versions, where some have names.
    pub(super) recorded_as: Option<HashMap<String, Version>>,
}

impl Set {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The oldest major version of PostgreSQL that the migrations run on.
    #[must_use]
    pub fn minimum_server(&self) -> i32 {
        self.minimum_server
    }

    /// All migrations, ascending.
    #[must_use]
    pub fn migrations(&self) -> &[Migration] {
        &self.migrations
    }

    /// The migration of a version.
    #[must_use]
    pub fn migration(&self, version: impl Into<Version>) -> Option<&Migration> {
        let version = version.into();
        let at = self.migrations.binary_search_by_key(&version, Migration::version).ok()?;
        self.migrations.get(at)
    }

    /// Whether some of its versions are kept by their names.
    pub(super) fn has_names(&self) -> bool {
        self.recorded_as.is_some()
    }

    /// The version of a row of the history.
    pub(super) fn recorded_version(&self, recorded: &str) -> Version {
        let known = self.recorded_as.as_ref().and_then(|known| known.get(recorded)).copied();
        known.unwrap_or_else(|| recorded.parse().unwrap_or_else(|_| Version::text(recorded)))
    }

    /// The version that an operator means by `text`: its number, its name, or its file's name.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchTarget`] if there is none, or several have that number.
    pub fn version(&self, text: &str) -> Result<Version, Error> {
        let typed: Version = text.parse().unwrap_or(Version::NONE);
        means(&self.migrations, text).ok_or(Error::NoSuchTarget { target: typed, latest: self.latest() })
    }

    /// The hooks that run before a version, in order.
    #[must_use]
    pub fn hooks_before(&self, version: impl Into<Version>) -> &[Arc<dyn Hook>] {
        self.hooks.get(&version.into()).map_or(&[], Vec::as_slice)
    }

    /// The repeatable files, in the order in which they are applied.
    #[must_use]
    pub fn repeatables(&self) -> &[Repeatable] {
        &self.repeatables
    }

    /// The locks of a run: the one that the set names, and the one that ends with the last statement of a run.
    #[must_use]
    pub fn run_locks(&self) -> RunLocks {
        let run = LockKey::one(self.run_lock, "the migration lock");
        RunLocks { run, session: RUN_SESSION_LOCK, others: Vec::new() }
    }

    /// What to say before an empty database is built.
    #[must_use]
    pub fn note_on_empty(&self) -> Option<&str> {
        self.note_on_empty.as_deref()
    }

    /// The ledger of an older migrator whose databases are taken over, if there is one.
    #[must_use]
    pub fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_ref()
    }

    /// The folder's tool and its rules, for a set that is a folder of files.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The same set, whose files come from a folder that the operator knows under this name.
    #[must_use]
    pub fn from_folder_called(mut self, folder: &str) -> Self {
        if let Some(origin) = &mut self.origin {
            origin.folder = Some(folder.to_owned());
        }
        self
    }

    /// The history table that the tool of this folder would make.
    pub(super) fn tool_table(&self, schema: Option<&str>) -> Option<ToolTable> {
        let origin = self.origin.as_ref()?;
        Some(ToolTable::planned(origin.tool?, schema.unwrap_or("public"), origin.table.as_deref(), false))
    }

    /// Whether a recorded version that has no file is refused.
    pub(super) fn refuses_entry_without_file(&self) -> bool {
        self.origin.as_ref().is_none_or(|origin| origin.refuses_entry_without_file)
    }

    /// Whether a file below an applied version is applied.
    pub(super) fn applies_late(&self, migration: &Migration) -> bool {
        migration.may_be_late() || self.origin.as_ref().is_some_and(|origin| origin.late == Late::Apply)
    }

    /// The role that owns everything that the migrations make, if one is named.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// The table, `name` or `schema.name`, whose owner owns everything that the migrations make, and in whose schema they make it.
    #[must_use]
    pub fn owned_like(&self) -> Option<&str> {
        self.owned_like.as_deref()
    }

    /// The same as SQL; the name of no table if there is none.
    pub(super) fn owned_like_in_sql(&self) -> String {
        in_sql(self.owned_like().unwrap_or("-"))
    }

    /// The tables of [`Self::changed_tables`] as SQL.
    pub(super) fn changed_tables_in_sql(&self) -> Vec<String> {
        self.changed_tables.iter().map(|table| in_sql(table)).collect()
    }

    /// The tables that a migration finds and changes, that of [`Self::owned_like`] first.
    #[must_use]
    pub fn changed_tables(&self) -> &[String] {
        &self.changed_tables
    }

    /// What each version leaves behind; empty without a description.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// A hook of this name.
    #[must_use]
    pub fn hook(&self, name: &str) -> Option<Arc<dyn Hook>> {
        let repeatables = self.repeatables.iter().flat_map(Repeatable::hooks);
        self.hooks.values().flatten().chain(repeatables).find(|hook| hook.name() == name).cloned()
    }

    /// The names of all hooks, each once.
    #[must_use]
    pub fn hook_names(&self) -> Vec<&str> {
        let repeatables = self.repeatables.iter().flat_map(Repeatable::hooks);
        let mut names: Vec<&str> = self.hooks.values().flatten().chain(repeatables).map(|hook| hook.name()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The highest version; 0 for an empty set.
    #[must_use]
    pub fn latest(&self) -> Version {
        self.migrations.last().map_or(Version::NONE, Migration::version)
    }
}

/// A table, `name` or `schema.name`, as SQL.
pub(super) fn in_sql(table: &str) -> String {
    table.split('.').map(ident).collect::<Vec<_>>().join(".")
}

/// The one version that somebody means by `text`: its number, its name, or its file's name.
pub(super) fn means(migrations: &[Migration], text: &str) -> Option<Version> {
    let typed: Version = text.parse().ok()?;
    let is_it = |migration: &&Migration| {
        let (version, file) = (migration.version(), migration.file());
        version == typed
            || version.to_string() == text
            || version.as_number().is_some() && version.as_number() == typed.as_number()
            || file == text
            || file.rsplit('/').next().and_then(|file| file.split('.').next()) == Some(text)
    };
    let mut meant = migrations.iter().filter(is_it).map(Migration::version);
    meant.next().filter(|_| meant.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_version_names_both_files() {
        let error = Set::builder("s").migration("V2__b", "SELECT 1").migration("V2__a", "SELECT 2").build();
        assert_eq!(error.err().unwrap().to_string(), "version 2 is repeated: V2__b.sql and V2__a.sql");
    }

    #[test]
    fn every_concurrent_index_gets_its_cleanup() {
        let sql = "-- migrate: no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (c);";
        let set = Set::builder("s").migration("V1__a", "SELECT 1").migration("V2__i", sql).build().unwrap();
        assert!(set.hooks_before(1).is_empty());
        assert_eq!(set.hooks_before(2).len(), 1);
    }
}
