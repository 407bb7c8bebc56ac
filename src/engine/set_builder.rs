//! Putting a set together.

use std::collections::BTreeMap;
use std::sync::Arc;

use migrate_layout::{Folder, Layout};

use super::description::Description;
use super::hook::Hook;
use super::invalid_index::InvalidIndexCleanup;
use super::ledger::Ledger;
use super::origin::Origin;
use super::set::{Set, means};
use super::set_error::SetError;
use super::{Migration, Repeatable, Version};

/// The advisory lock of a run, unless the set names another.
const RUN_LOCK: i64 = 7_244_554_146_635_925_505;

impl Set {
    /// Starts a set. Its history is kept under `name`.
    #[must_use]
    pub fn builder(name: &str) -> SetBuilder {
        SetBuilder {
            name: name.to_owned(),
            minimum_server: 13,
            migrations: Vec::new(),
            hooks: Vec::new(),
            repeatables: Vec::new(),
            ledger: None,
            owned_like: None,
            description: String::new(),
            note_on_empty: None,
            run_lock: RUN_LOCK,
            origin: None,
            owner: None,
            named_hooks: Vec::new(),
        }
    }
}

/// Collects the parts of a [`Set`].
pub struct SetBuilder {
    name: String,
    minimum_server: i32,
    migrations: Vec<Result<Migration, SetError>>,
    hooks: Vec<(Version, Arc<dyn Hook>)>,
    repeatables: Vec<Result<Repeatable, SetError>>,
    ledger: Option<Ledger>,
    owned_like: Option<String>,
    description: String,
    note_on_empty: Option<String>,
    run_lock: i64,
    origin: Option<Origin>,
    owner: Option<String>,
    named_hooks: Vec<(String, Arc<dyn Hook>)>,
}

impl SetBuilder {
    /// Adds one migration: `V<n>__<name>` and its SQL.
    #[must_use]
    pub fn migration(mut self, name: &str, sql: &str) -> Self {
        self.migrations.push(Migration::new(name, sql));
        self
    }

    pub(super) fn add(mut self, migration: Result<Migration, SetError>) -> Self {
        self.migrations.push(migration);
        self
    }

    /// Adds the migrations that `refinery::embed_migrations!` has read.
    #[must_use]
    pub fn embedded(mut self, runner: &refinery::Runner) -> Self {
        self.migrations.extend(runner.get_migrations().iter().map(Migration::from_refinery));
        self
    }

    /// Runs `hook` before version `version`, whenever that is pending.
    #[must_use]
    pub fn before(mut self, version: impl Into<Version>, hook: impl Hook + 'static) -> Self {
        self.hooks.push((version.into(), Arc::new(hook)));
        self
    }

    /// The same for a hook that is shared with others.
    #[must_use]
    pub fn before_shared(mut self, version: impl Into<Version>, hook: Arc<dyn Hook>) -> Self {
        self.hooks.push((version.into(), hook));
        self
    }

    /// Runs `hook` before the version that an operator would call `name`: by its number, its name, or its file's name.
    #[must_use]
    pub fn before_named(self, name: &str, hook: impl Hook + 'static) -> Self {
        self.before_named_shared(name, Arc::new(hook))
    }

    /// The same for a hook that is shared with others.
    #[must_use]
    pub fn before_named_shared(mut self, name: &str, hook: Arc<dyn Hook>) -> Self {
        self.named_hooks.push((name.to_owned(), hook));
        self
    }

    /// Adds a repeatable file.
    #[must_use]
    pub fn repeatable(mut self, repeatable: Result<Repeatable, SetError>) -> Self {
        self.repeatables.push(repeatable);
        self
    }

    /// Adds a folder that was written for a tool: its files, what that tool's rules are, and its history.
    #[must_use]
    pub fn folder(mut self, folder: Folder) -> Self {
        let layout = folder.layout;
        self.migrations.extend(folder.files.into_iter().map(|file| Migration::from_file(file, layout)));
        self.repeatables.extend(folder.repeatables.into_iter().map(Repeatable::from_folder));
        self.origin = Some(Origin::of(layout));
        self
    }

    /// Says more about the folder than its layout does.
    #[must_use]
    pub fn with_origin(mut self, change: impl FnOnce(&mut Origin)) -> Self {
        change(self.origin.get_or_insert_with(|| Origin::of(Layout::Migrate)));
        self
    }

    /// What the migrations make belongs to this role, also when another one runs them.
    #[must_use]
    pub fn owner(mut self, role: &str) -> Self {
        self.owner = Some(role.to_owned());
        self
    }

    /// What to say, in one line, before an empty database is built.
    #[must_use]
    pub fn notes_on_empty(mut self, note: &str) -> Self {
        self.note_on_empty = Some(note.to_owned());
        self
    }

    /// The advisory lock that a run holds, where another migrator of the same database takes one.
    #[must_use]
    pub fn run_lock(mut self, key: i64) -> Self {
        self.run_lock = key;
        self
    }

    /// The oldest major version of PostgreSQL that the migrations run on; 13 unless set.
    #[must_use]
    pub fn minimum_server(mut self, major: i32) -> Self {
        self.minimum_server = major;
        self
    }

    /// Takes over databases whose versions are recorded in the ledger of an older migrator, and keeps that up to date.
    #[must_use]
    pub fn adopts(mut self, ledger: Ledger) -> Self {
        self.ledger = Some(ledger);
        self
    }

    /// What the migrations make belongs to the owner of this table, also when another role runs them.
    #[must_use]
    pub fn owned_like(mut self, table: &str) -> Self {
        self.owned_like = Some(table.to_owned());
        self
    }

    /// Knows what each version leaves behind, from the text of a [`Description`].
    #[must_use]
    pub fn described_by(mut self, description: &str) -> Self {
        description.clone_into(&mut self.description);
        self
    }

    /// Checks the parts and puts them together.
    ///
    /// # Errors
    ///
    /// [`SetError`] with the first thing that is wrong.
    pub fn build(self) -> Result<Set, SetError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || self.name.len() > 40 || !self.name.chars().all(allowed) {
            return Err(SetError::SetName { name: self.name });
        }
        let mut migrations = self.migrations.into_iter().collect::<Result<Vec<_>, _>>()?;
        // A folder's files come in their order, and a sort takes as much room as they do.
        if !migrations.is_sorted_by_key(Migration::version) {
            migrations.sort_by_key(Migration::version);
        }
        for pair in migrations.windows(2) {
            if pair[0].version() == pair[1].version() {
                return Err(SetError::Repeated {
                    version: pair[0].version(),
                    first: pair[0].file(),
                    second: pair[1].file(),
                });
            }
        }
        let mut hooks: BTreeMap<Version, Vec<Arc<dyn Hook>>> = BTreeMap::new();
        // An interrupted concurrent build is cleaned up before it is tried again, for every such file there is.
        for migration in &migrations {
            for index in migration.mode().indexes() {
                let cleanup = InvalidIndexCleanup::new(index.clone());
                hooks.entry(migration.version()).or_default().push(Arc::new(cleanup));
            }
        }
        let mut registered = self.hooks;
        for (name, hook) in self.named_hooks {
            match means(&migrations, &name) {
                Some(version) => registered.push((version, hook)),
                None => return Err(SetError::NoBoundary { hook: format!("hook {}", hook.name()), version: name }),
            }
        }
        for (version, hook) in registered {
            if !migrations.iter().any(|migration| migration.version() == version) {
                let hook = format!("hook {}", hook.name());
                return Err(SetError::NoBoundary { hook, version: version.to_string() });
            }
            hooks.entry(version).or_default().push(hook);
        }
        let repeatables = self.repeatables.into_iter().collect::<Result<Vec<_>, _>>()?;
        let unplaced = |repeatable: &&Repeatable| {
            repeatable.since().is_some_and(|since| !migrations.iter().any(|m| m.version() == since))
        };
        if let Some(repeatable) = repeatables.iter().find(unplaced) {
            return Err(SetError::NoBoundary { hook: repeatable.file(), version: repeatable.place().to_string() });
        }
        let recorded = |migration: &Migration| {
            let recorded = migration.number().map_or_else(|| migration.version().to_string(), |n| n.to_string());
            (recorded, migration.version())
        };
        let has_names = migrations.iter().any(|migration| migration.number().is_none());
        let recorded_as = has_names.then(|| migrations.iter().map(recorded).collect());
        let description = Description::parse(&self.description)?;
        let mut changed_tables: Vec<String> = self.owned_like.iter().cloned().collect();
        let others = description.changed_tables().into_iter().filter(|table| self.owned_like.as_deref() != Some(table));
        changed_tables.extend(others.map(str::to_owned));
        Ok(Set {
            name: self.name,
            minimum_server: self.minimum_server,
            migrations,
            hooks,
            repeatables,
            note_on_empty: self.note_on_empty,
            run_lock: self.run_lock,
            origin: self.origin,
            owner: self.owner,
            recorded_as,
            ledger: self.ledger,
            owned_like: self.owned_like,
            changed_tables,
            description,
        })
    }
}
