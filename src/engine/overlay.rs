//! A built-in set laid over a folder: a file that the set has, too, is replaced by the set's; all others are the folder's.

use std::collections::{BTreeMap, HashMap};

use migrate_layout::Folder;

use super::invalid_index::CLEANUP;
use super::origin::Origin;
use super::set_error::SetError;
use super::{Ledger, Migration, Set, Version};

impl Set {
    /// Lays this set over a folder whose tool keeps the ledger that this set takes over. A file is replaced where that ledger
    /// would call both the same; what the folder does not have is left out.
    ///
    /// # Errors
    ///
    /// [`SetError`] for what a file must not say, with file and line.
    pub fn over(self, folder: Folder) -> Result<Self, SetError> {
        let layout = folder.layout;
        let entry = |migration: &Migration| {
            let entries = self.ledger.as_ref().map(|ledger| ledger.entries(migration.version(), migration.name()));
            match entries.unwrap_or_default().as_slice() {
                [entry] => Some(entry.clone()),
                _ => None,
            }
        };
        let mut own: HashMap<String, &Migration> =
            self.migrations.iter().filter_map(|migration| Some((entry(migration)?, migration))).collect();
        let mut places: BTreeMap<Version, Version> = BTreeMap::new();
        let mut builder = Self::builder(&self.name);
        for file in folder.files {
            let migration = match own.remove(&file.entry) {
                Some(own) => {
                    places.insert(own.version(), file.version);
                    Ok(own.in_place_of(file))
                }
                None => Migration::from_file(file, layout),
            };
            builder = builder.add(migration);
        }
        let place = |version: Version| places.get(&version).copied();
        for (version, hooks) in &self.hooks {
            let registered = hooks.iter().filter(|hook| hook.name() != CLEANUP);
            for (hook, version) in registered.filter_map(|hook| Some((hook, place(*version)?))) {
                builder = builder.before_shared(version, hook.clone());
            }
        }
        for repeatable in &self.repeatables {
            match repeatable.since().map(place) {
                Some(None) => {}
                since => builder = builder.repeatable(Ok(repeatable.clone().since_version(since.flatten()))),
            }
        }
        for repeatable in folder.repeatables {
            builder = builder.repeatable(super::Repeatable::from_folder(repeatable));
        }
        let ledger = self.ledger.map(|ledger| ledger.moved(place).named(|version, _| version.to_string()));
        let origin = Origin { keep: true, ..Origin::of(layout) };
        let built = builder
            .minimum_server(self.minimum_server)
            .run_lock(self.run_lock)
            .with_origin(|own| *own = origin)
            .build()?;
        Ok(Self {
            changed_tables: self.changed_tables,
            description: self.description.moved(place),
            owned_like: self.owned_like,
            ledger,
            ..built
        })
    }
}

impl Ledger {
    /// The same for versions that are elsewhere; those that are nowhere are left out.
    fn moved(self, place: impl Fn(Version) -> Option<Version>) -> Self {
        fn each<T>(map: BTreeMap<Version, T>, place: impl Fn(Version) -> Option<Version>) -> BTreeMap<Version, T> {
            map.into_iter().filter_map(|(version, value)| Some((place(version)?, value))).collect()
        }
        let mut again = each(self.again, &place);
        again.retain(|_, again| match place(again.unless) {
            Some(unless) => {
                again.unless = unless;
                true
            }
            None => false,
        });
        Self {
            recorded_as: BTreeMap::new(),
            changes: each(self.changes, &place),
            again,
            shared_until: place(self.shared_until).unwrap_or(Version::NONE),
            ..self
        }
    }
}
