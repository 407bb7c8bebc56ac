//! What each version of a set leaves behind, object by object.

use std::collections::{BTreeMap, BTreeSet};

use super::Version;
use super::set_error::SetError;

/// Objects by name, `index t_n_idx on t`, each with its definition. Names are without their
/// schema.
pub type Objects = BTreeMap<String, String>;

/// Comments are the operator's to add.
pub(super) fn without_comment(definition: &str) -> &str {
    definition.split_once(" -- ").map_or(definition, |(definition, _)| definition)
}

/// For each version, the objects that it leaves, with their definitions, and those that it removes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description(BTreeMap<Version, BTreeMap<String, Option<String>>>);

impl Description {
    /// Reads what its [`Display`](std::fmt::Display) has written.
    ///
    /// # Errors
    ///
    /// [`SetError::Description`] names the first line that is of no use.
    pub fn parse(text: &str) -> Result<Self, SetError> {
        let mut versions: BTreeMap<Version, BTreeMap<String, Option<String>>> = BTreeMap::new();
        let mut current = None;
        for (number, line) in text.lines().enumerate() {
            let unreadable = || SetError::Description { line: number + 1, text: line.to_owned() };
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(version) = line.strip_prefix('V') {
                current = Some(versions.entry(version.parse().map_err(|_| unreadable())?).or_default());
                continue;
            }
            let objects = current.as_mut().ok_or_else(unreadable)?;
            if let Some(object) = line.strip_prefix("- ") {
                objects.insert(object.to_owned(), None);
            } else if let Some((object, definition)) = line.strip_prefix("+ ").and_then(|line| line.split_once(" = ")) {
                objects.insert(object.to_owned(), Some(definition.to_owned()));
            } else {
                return Err(unreadable());
            }
        }
        Ok(Self(versions))
    }

    /// The same for versions that are elsewhere; those that are nowhere are left out.
    pub(super) fn moved(self, place: impl Fn(Version) -> Option<Version>) -> Self {
        Self(self.0.into_iter().filter_map(|(version, objects)| Some((place(version)?, objects))).collect())
    }

    /// Whether nothing is described.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds what a version has changed: the objects before and after it.
    pub fn add(&mut self, version: Version, before: &Objects, after: &Objects) {
        let changes = self.0.entry(version).or_default();
        for (object, definition) in after {
            if before.get(object) != Some(definition) {
                changes.insert(object.clone(), Some(definition.clone()));
            }
        }
        for object in before.keys().filter(|object| !after.contains_key(*object)) {
            changes.insert(object.clone(), None);
        }
    }

    /// The objects that any of these versions makes, changes or removes.
    pub(super) fn touched_by(&self, versions: &[Version]) -> BTreeSet<&str> {
        let touched = self.0.iter().filter(|(version, _)| versions.contains(version));
        touched.flat_map(|(_, objects)| objects.keys().map(String::as_str)).collect()
    }

    /// The tables that a version changes, or drops, without having made them itself.
    pub(super) fn changed_tables(&self) -> BTreeSet<&str> {
        let mut made: BTreeSet<&str> = BTreeSet::new();
        let mut changed = BTreeSet::new();
        for objects in self.0.values() {
            let here = |table: &&str| {
                !made.contains(table) && objects.get(&format!("table {table}")).is_some_and(Option::is_some)
            };
            let touched: BTreeSet<&str> = objects.keys().filter_map(|object| table_of(object)).collect();
            let (new, old): (BTreeSet<&str>, BTreeSet<&str>) = touched.into_iter().partition(here);
            made.extend(new);
            changed.extend(old);
        }
        changed
    }

    /// Whether this version makes, changes or removes anything.
    pub(super) fn changes(&self, version: Version) -> bool {
        self.0.get(&version).is_some_and(|objects| !objects.is_empty())
    }

    /// What these versions leave together: for each object the version that touched it last, and its definition, or none
    /// where it is to be gone.
    #[must_use]
    pub fn after<V: Into<Version> + Copy>(&self, versions: &[V]) -> BTreeMap<&str, (Version, Option<&str>)> {
        let mut expected = BTreeMap::new();
        for (version, objects) in self.0.iter().filter(|(version, _)| versions.iter().any(|v| (*v).into() == **version))
        {
            for (object, definition) in objects {
                expected.insert(object.as_str(), (*version, definition.as_deref()));
            }
        }
        expected
    }
}

impl std::fmt::Display for Description {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "# What each version leaves in a fresh database (+) and removes from it (-). Written by script/objects."
        )?;
        for (version, objects) in &self.0 {
            writeln!(f, "\nV{version}")?;
            for (object, definition) in objects {
                match definition {
                    Some(definition) => writeln!(f, "+ {object} = {definition}")?,
                    None => writeln!(f, "- {object}")?,
                }
            }
        }
        Ok(())
    }
}

/// The table that an object is, or belongs to.
fn table_of(object: &str) -> Option<&str> {
    let (kind, name) = object.split_once(' ')?;
    match kind {
        "table" => Some(name),
        "column" => name.split_once('.').map(|(table, _)| table),
        "constraint" | "index" | "trigger" => name.rsplit_once(" on ").map(|(_, table)| table),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_a_version_finds_and_changes_need_no_list() {
        let text = "V1\n+ table a = permanent\n+ column a.n = int\n+ table b = permanent\n+ table c = permanent
V2\n+ column a.m = int\n+ trigger t on b = CREATE TRIGGER t\n+ index i on elsewhere = CREATE INDEX i
V3\n+ function f() = returns int\n+ table d = permanent\n+ constraint d_pkey on d = PRIMARY KEY (n)\n- table c";
        let description = Description::parse(text).unwrap();
        assert_eq!(Vec::from_iter(description.changed_tables()), ["a", "b", "c", "elsewhere"]);
    }

    #[test]
    fn a_description_is_read_as_it_was_written() {
        let objects = |pairs: &[(&str, &str)]| -> Objects {
            pairs.iter().map(|(object, definition)| ((*object).to_owned(), (*definition).to_owned())).collect()
        };
        let mut description = Description::default();
        let first = objects(&[("table t", "permanent"), ("column t.a", "int DEFAULT '='::text")]);
        description.add(1.into(), &Objects::new(), &first);
        let second = objects(&[("column t.a", "bigint"), ("table t", "permanent")]);
        description.add(2.into(), &first, &second);
        description.add(3.into(), &second, &objects(&[("table t", "permanent")]));
        let text = description.to_string();
        assert!(text.ends_with("V2\n+ column t.a = bigint\n\nV3\n- column t.a\n"), "{text}");
        assert_eq!(Description::parse(&text).unwrap(), description);
        assert_eq!(description.after(&[1, 2])["column t.a"], (2.into(), Some("bigint")));
        assert_eq!(description.after(&[1, 2, 3])["column t.a"], (3.into(), None));
    }

    #[test]
    fn a_line_of_no_use_is_named() {
        let error = Description::parse("V1\n+ table t\n").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("+ table t"), "{error}");
    }
}
