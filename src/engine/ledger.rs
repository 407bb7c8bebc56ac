//! Databases that another migrator has built: its ledger, and what each of its versions should have left behind.
//!
//! A [`Ledger`] is content: where an older program recorded what it had applied, under which names, and which objects
//! that means. `adopt.rs` compares it with a database.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::Version;

/// The ledger of an older migrator: a table with the columns `version text` and `applied_at timestamptz`.
#[derive(Clone, Debug)]
pub struct Ledger {
    pub(super) table: String,
    pub(super) naming: Naming,
    pub(super) recorded_as: BTreeMap<Version, Vec<String>>,
    pub(super) changes: BTreeMap<Version, Changes>,
    pub(super) again: BTreeMap<Version, Again>,
    pub(super) shared_until: Version,
}

type EntryOf = dyn Fn(Version, &str) -> String + Send + Sync;

/// How an entry is made of version and name.
#[derive(Clone)]
pub(super) struct Naming(Arc<EntryOf>);

impl fmt::Debug for Naming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&(self.0)(Version::number(1), "name"))
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    leaves: Vec<Part>,
    removes: Vec<Part>,
}

/// A version that is applied once more, over what the older program left, unless a later one is there already.
#[derive(Clone, Debug)]
pub(super) struct Again {
    /// The later version.
    pub unless: Version,
    /// Why it is applied again without that.
    pub reason: String,
}

/// An object that a version leaves behind or removes. Unqualified: the search path finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object<'a> {
    /// A table with at least these columns, `"id uuid, name text"`. A column of text may also be an enum or of another
    /// character type, an `int` any number; all other types are meant exactly.
    Table(&'a str, &'a str),
    /// A column of a table, with its type.
    Column(&'a str, &'a str, &'a str),
    /// A constraint of a table, with its definition as the server writes it; any if that is empty.
    Constraint(&'a str, &'a str, &'a str),
    /// An index of a table, valid.
    Index(&'a str, &'a str),
    /// A trigger of a table, enabled.
    Trigger(&'a str, &'a str),
    /// A function, `"f(timestamptz)"`, with the type that it returns; any if that is empty.
    Function(&'a str, &'a str),
}

impl Ledger {
    /// The table's name; it is looked for along the search path, then in `public`.
    #[must_use]
    pub fn new(table: impl Into<String>) -> Self {
        Self {
            table: table.into(),
            naming: Naming(Arc::new(|version, name| format!("{version}_{name}"))),
            recorded_as: BTreeMap::new(),
            changes: BTreeMap::new(),
            again: BTreeMap::new(),
            shared_until: Version::NONE,
        }
    }

    /// How the entry of a version is made of its number and its name; `<version>_<name>` unless set.
    #[must_use]
    pub fn named(mut self, naming: impl Fn(Version, &str) -> String + Send + Sync + 'static) -> Self {
        self.naming = Naming(Arc::new(naming));
        self
    }

    /// The entries that together stand for a version, where that is not the one that [`Self::named`] makes.
    #[must_use]
    pub fn recorded_as(mut self, version: impl Into<Version>, entries: &[&str]) -> Self {
        self.recorded_as.insert(version.into(), entries.iter().map(|&entry| entry.to_owned()).collect());
        self
    }

    /// What a version leaves behind.
    #[must_use]
    pub fn leaves(mut self, version: impl Into<Version>, objects: &[Object<'_>]) -> Self {
        self.changes.entry(version.into()).or_default().leaves.extend(objects.iter().flat_map(Object::parts));
        self
    }

    /// What is gone after a version. A function that has stayed does no harm; it is only not expected any more.
    #[must_use]
    pub fn removes(mut self, version: impl Into<Version>, objects: &[Object<'_>]) -> Self {
        let removed = objects.iter().filter_map(|object| object.parts().into_iter().next());
        self.changes.entry(version.into()).or_default().removes.extend(removed);
        self
    }

    /// Applies `version` once more where `unless` is not applied yet, and says why.
    #[must_use]
    pub fn again_unless(
        mut self,
        version: impl Into<Version>,
        unless: impl Into<Version>,
        reason: impl Into<String>,
    ) -> Self {
        self.again.insert(version.into(), Again { unless: unless.into(), reason: reason.into() });
        self
    }

    /// The application goes on changing what was made up to this version: it is only held to what is listed here.
    #[must_use]
    pub fn shared_until(mut self, version: impl Into<Version>) -> Self {
        self.shared_until = version.into();
        self
    }

    /// Under which entries a version is recorded.
    #[must_use]
    pub fn entries(&self, version: impl Into<Version>, name: &str) -> Vec<String> {
        let version = version.into();
        self.recorded_as.get(&version).cloned().unwrap_or_else(|| vec![(self.naming.0)(version, name)])
    }

    /// The tables that the first version leaves behind.
    pub(super) fn first_tables(&self) -> Vec<&str> {
        named(self.changes.values().take(1), "table")
    }

    /// What these versions remove.
    pub(super) fn removed_by(&self, versions: &[Version]) -> Vec<Expected> {
        let changes = self.changes.iter().filter(|(version, _)| versions.contains(version));
        let removed = changes.flat_map(|(version, changes)| changes.removes.iter().map(|part| (*version, part)));
        removed.map(|(version, part)| Expected { version, present: false, part: part.clone() }).collect()
    }

    /// The tables that all but the first version leave behind. Later ones change or drop them.
    pub(super) fn tables(&self) -> Vec<&str> {
        named(self.changes.values().skip(1), "table")
    }

    /// The functions that some version leaves behind. Later ones replace or drop them.
    pub(super) fn functions(&self) -> Vec<&str> {
        named(self.changes.values(), "function")
    }

    /// What must be there, and what must not, when these versions have been applied.
    pub(super) fn expected(&self, versions: impl Iterator<Item = Version>) -> Vec<Expected> {
        let mut expected: BTreeMap<(&str, &str, &str), Expected> = BTreeMap::new();
        for version in versions {
            let Some(changes) = self.changes.get(&version) else { continue };
            for part in &changes.removes {
                match part.kind {
                    // A table takes along what hangs on it.
                    "table" => expected.retain(|_, expected| expected.part.table != part.table),
                    "function" => {
                        expected.remove(&part.key());
                        continue;
                    }
                    _ => {}
                }
                expected.insert(part.key(), Expected { version, present: false, part: part.clone() });
            }
            for part in &changes.leaves {
                expected.insert(part.key(), Expected { version, present: true, part: part.clone() });
            }
        }
        let mut expected: Vec<_> = expected.into_values().collect();
        expected.sort_by_key(|expected| expected.version);
        expected
    }
}

/// The objects of a kind that these versions leave behind.
fn named<'a>(changes: impl Iterator<Item = &'a Changes>, kind: &str) -> Vec<&'a str> {
    let left = changes.flat_map(|changes| &changes.leaves);
    left.filter(|part| part.kind == kind).map(|part| part.name.as_str()).collect()
}

/// One thing to look up.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub kind: &'static str,
    /// The table it belongs to; empty for a function.
    pub table: String,
    pub name: String,
    /// A type, or a definition; empty where none is demanded.
    pub of_type: String,
}

/// What to find when it is looked up.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub version: Version,
    pub present: bool,
    pub part: Part,
}

impl Part {
    fn key(&self) -> (&str, &str, &str) {
        (self.kind, &self.table, &self.name)
    }

    pub fn named(&self) -> String {
        match self.kind {
            "table" | "function" => format!("{} {}", self.kind, self.name),
            "column" => format!("column {}.{}", self.table, self.name),
            kind => format!("{kind} {} on {}", self.name, self.table),
        }
    }
}

impl Object<'_> {
    /// What to look up for it, itself first.
    fn parts(&self) -> Vec<Part> {
        let part = |kind, table: &str, name: &str, of_type: &str| Part {
            kind,
            table: table.to_owned(),
            name: name.to_owned(),
            of_type: of_type.to_owned(),
        };
        match *self {
            Self::Table(table, columns) => {
                let mut parts = vec![part("table", table, table, "")];
                parts.extend(columns.split(", ").filter_map(|column| {
                    column.split_once(' ').map(|(name, of_type)| part("column", table, name, of_type))
                }));
                parts
            }
            Self::Column(table, name, of_type) => vec![part("column", table, name, of_type)],
            Self::Constraint(table, name, definition) => vec![part("constraint", table, name, definition)],
            Self::Index(table, name) => vec![part("index", table, name, "")],
            Self::Trigger(table, name) => vec![part("trigger", table, name, "")],
            Self::Function(signature, returns) => vec![part("function", "", signature, returns)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_version_removes_is_not_expected_any_more() {
        let ledger = Ledger::new("l")
            .leaves(1, &[Object::Table("t", "a uuid, b text"), Object::Table("u", "c int")])
            .leaves(2, &[Object::Index("t", "i"), Object::Column("u", "d", "text")])
            .removes(3, &[Object::Table("t", ""), Object::Column("u", "d", "")]);
        let after = |versions: &[i64]| {
            let expected = ledger.expected(versions.iter().map(|version| Version::number(*version)));
            expected
                .iter()
                .map(|e| format!("{}{}", if e.present { "" } else { "no " }, e.part.named()))
                .collect::<Vec<_>>()
        };
        assert_eq!(after(&[1, 2]).len(), 7);
        assert_eq!(after(&[1, 2, 3]), ["column u.c", "table u", "no column u.d", "no table t"]);
    }

    #[test]
    fn an_entry_is_made_as_the_ledger_says() {
        let ledger = Ledger::new("l").recorded_as(1, &["001_init", "004_more"]);
        assert_eq!(ledger.entries(32, "usage"), ["32_usage"]);
        assert_eq!(ledger.entries(1, "baseline"), ["001_init", "004_more"]);
        let ledger = ledger.named(|version, name| format!("{version:03}_{name}"));
        assert_eq!(ledger.entries(32, "usage"), ["032_usage"]);
    }
}
