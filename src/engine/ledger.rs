//! Databases that another migrator has built: its ledger, and what each of its versions should have left behind.
//!
//! A [`Ledger`] is content: where an older program wrote down what it had applied, under which names, and which objects
//! that means. `adopt.rs` compares it with a database.

use std::collections::BTreeMap;

use super::Version;

/// The ledger of an older migrator: a table with the columns `version text` and `applied_at timestamptz`.
#[derive(Clone, Debug)]
pub struct Ledger {
    pub(super) table: &'static str,
    recorded_as: BTreeMap<Version, Vec<String>>,
    changes: BTreeMap<Version, Changes>,
    pub(super) again: BTreeMap<Version, Again>,
    pub(super) shared_until: Version,
}

#[derive(Clone, Debug, Default)]
struct Changes {
    leaves: Vec<Object>,
    removes: Vec<Object>,
}

/// A version that is applied once more, over what the older program left, unless a later one is there already.
#[derive(Clone, Debug)]
pub(super) struct Again {
    /// The later version.
    pub unless: Version,
    /// Why it is applied again without that.
    pub reason: &'static str,
}

/// An object that a version leaves behind or removes. Unqualified: the search path finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// A table with at least these columns, `"id uuid, name text"`. A column of text may also be an enum or of another
    /// character type, an `int` any number; all other types are meant exactly.
    Table(&'static str, &'static str),
    /// A column of a table, with its type.
    Column(&'static str, &'static str, &'static str),
    /// A constraint of a table, with its definition as the server writes it; any if that is empty.
    Constraint(&'static str, &'static str, &'static str),
    /// An index of a table, valid.
    Index(&'static str, &'static str),
    /// A trigger of a table, enabled.
    Trigger(&'static str, &'static str),
    /// A function, `"f(timestamptz)"`, with the type that it returns; any if that is empty.
    Function(&'static str, &'static str),
}

impl Ledger {
    /// The table's name; it is looked for along the search path, then in `public`.
    #[must_use]
    pub fn new(table: &'static str) -> Self {
        Self { table, recorded_as: BTreeMap::new(), changes: BTreeMap::new(), again: BTreeMap::new(), shared_until: 0 }
    }

    /// The entries that together stand for a version, where that is not `<three digits>_<name>` alone.
    #[must_use]
    pub fn recorded_as(mut self, version: Version, entries: &[&str]) -> Self {
        self.recorded_as.insert(version, entries.iter().map(|&entry| entry.to_owned()).collect());
        self
    }

    /// What a version leaves behind.
    #[must_use]
    pub fn leaves(mut self, version: Version, objects: &[Object]) -> Self {
        self.changes.entry(version).or_default().leaves.extend(objects);
        self
    }

    /// What is gone after a version. A function that has stayed does no harm; it is only not expected any more.
    #[must_use]
    pub fn removes(mut self, version: Version, objects: &[Object]) -> Self {
        self.changes.entry(version).or_default().removes.extend(objects);
        self
    }

    /// Applies `version` once more where `unless` is not applied yet, and says why.
    #[must_use]
    pub fn again_unless(mut self, version: Version, unless: Version, reason: &'static str) -> Self {
        self.again.insert(version, Again { unless, reason });
        self
    }

    /// The application goes on changing what was made up to this version: it is only held to what is listed here.
    #[must_use]
    pub fn shared_until(mut self, version: Version) -> Self {
        self.shared_until = version;
        self
    }

    /// Under which entries a version is recorded.
    #[must_use]
    pub fn entries(&self, version: Version, name: &str) -> Vec<String> {
        self.recorded_as.get(&version).cloned().unwrap_or_else(|| vec![format!("{version:03}_{name}")])
    }

    /// The tables that the first version leaves behind.
    pub(super) fn first_tables(&self) -> Vec<&'static str> {
        let objects = self.changes.values().take(1).flat_map(|changes| &changes.leaves);
        objects.filter_map(|object| if let Object::Table(name, _) = object { Some(*name) } else { None }).collect()
    }

    /// What these versions remove.
    pub(super) fn removed_by(&self, versions: &[Version]) -> Vec<Expected> {
        let changes = self.changes.iter().filter(|(version, _)| versions.contains(version));
        changes
            .flat_map(|(version, changes)| changes.removes.iter().map(move |object| (*version, *object)))
            .filter_map(|(version, object)| object.parts(version, false).into_iter().next())
            .collect()
    }

    /// The tables that all but the first version leave behind. Later ones change or drop them.
    pub(super) fn tables(&self) -> Vec<&'static str> {
        let objects = self.changes.values().skip(1).flat_map(|changes| &changes.leaves);
        objects.filter_map(|object| if let Object::Table(name, _) = object { Some(*name) } else { None }).collect()
    }

    /// The functions that some version leaves behind. Later ones replace or drop them.
    pub(super) fn functions(&self) -> Vec<&'static str> {
        let objects = self.changes.values().flat_map(|changes| &changes.leaves);
        objects
            .filter_map(|object| if let Object::Function(signature, _) = object { Some(*signature) } else { None })
            .collect()
    }

    /// What must be there, and what must not, when these versions have been applied.
    pub(super) fn expected(&self, versions: impl Iterator<Item = Version>) -> Vec<Expected> {
        let mut expected: BTreeMap<(&str, &str, &str), Expected> = BTreeMap::new();
        for version in versions {
            let Some(changes) = self.changes.get(&version) else { continue };
            for object in &changes.removes {
                // A table takes along what hangs on it.
                if let Object::Table(table, _) = object {
                    expected.retain(|_, expected| expected.table != *table);
                }
                for part in object.parts(version, false).into_iter().take(1) {
                    match object {
                        Object::Function(..) => expected.remove(&part.key()),
                        _ => expected.insert(part.key(), part),
                    };
                }
            }
            for object in &changes.leaves {
                for part in object.parts(version, true) {
                    expected.insert(part.key(), part);
                }
            }
        }
        let mut expected: Vec<_> = expected.into_values().collect();
        expected.sort_by_key(|expected| expected.version);
        expected
    }
}

/// One thing to look up.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub version: Version,
    pub present: bool,
    pub kind: &'static str,
    /// The table it belongs to; empty for a function.
    pub table: &'static str,
    pub name: &'static str,
    /// A type, or a definition; empty where none is demanded.
    pub of_type: &'static str,
}

impl Expected {
    fn key(&self) -> (&'static str, &'static str, &'static str) {
        (self.kind, self.table, self.name)
    }

    pub fn named(&self) -> String {
        match self.kind {
            "table" | "function" => format!("{} {}", self.kind, self.name),
            "column" => format!("column {}.{}", self.table, self.name),
            kind => format!("{kind} {} on {}", self.name, self.table),
        }
    }
}

impl Object {
    /// What to look up for it, itself first.
    fn parts(self, version: Version, present: bool) -> Vec<Expected> {
        let part = |kind, table, name, of_type| Expected { version, present, kind, table, name, of_type };
        match self {
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
        let after = |versions: &[Version]| {
            let expected = ledger.expected(versions.iter().copied());
            expected.iter().map(|e| format!("{}{}", if e.present { "" } else { "no " }, e.named())).collect::<Vec<_>>()
        };
        assert_eq!(after(&[1, 2]).len(), 7);
        assert_eq!(after(&[1, 2, 3]), ["column u.c", "table u", "no column u.d", "no table t"]);
    }

    #[test]
    fn an_entry_is_the_number_in_three_digits_and_the_name() {
        let ledger = Ledger::new("l").recorded_as(1, &["001_init", "004_more"]);
        assert_eq!(ledger.entries(32, "task_usage"), ["032_task_usage"]);
        assert_eq!(ledger.entries(1, "baseline"), ["001_init", "004_more"]);
    }
}
