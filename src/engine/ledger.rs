//! Databases that another migrator has built: its ledger, and what each of its versions should have left behind.
//!
//! A [`Ledger`] is content: where an older program wrote down what it had applied, under which names, and which objects
//! that means. [`read`] compares it with a database; [`Recorded::check`] makes sure that what is written down is there.

use std::collections::BTreeMap;

use serde::Serialize;
use time::OffsetDateTime;

use super::{AdoptionError, Problem, Set, Version, history};
use crate::db::{Connection, Error};

/// The ledger of an older migrator: a table with the columns `version text` and `applied_at timestamptz`.
#[derive(Clone, Debug)]
pub struct Ledger {
    table: &'static str,
    recorded_as: BTreeMap<Version, Vec<String>>,
    changes: BTreeMap<Version, Changes>,
    again: BTreeMap<Version, Again>,
}

#[derive(Clone, Debug, Default)]
struct Changes {
    leaves: Vec<Object>,
    removes: Vec<Object>,
}

/// A version that is applied once more, over what the older program left, unless a later one is there already.
#[derive(Clone, Debug)]
struct Again {
    unless: Version,
    reason: &'static str,
}

/// An object that a version leaves behind or removes. Unqualified: the search path finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// A table with at least these columns, `"id uuid, name text"`. A column of text may also be an enum or of another
    /// character type, an `int` any number; all other types are meant exactly.
    Table(&'static str, &'static str),
    /// A column of a table, with its type.
    Column(&'static str, &'static str, &'static str),
    /// A constraint of a table.
    Constraint(&'static str, &'static str),
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
        Self { table, recorded_as: BTreeMap::new(), changes: BTreeMap::new(), again: BTreeMap::new() }
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

    /// Under which entries a version is recorded.
    #[must_use]
    pub fn entries(&self, version: Version, name: &str) -> Vec<String> {
        self.recorded_as.get(&version).cloned().unwrap_or_else(|| vec![format!("{version:03}_{name}")])
    }

    /// The functions that some version leaves behind. Later ones replace or drop them.
    pub(super) fn functions(&self) -> Vec<&'static str> {
        let objects = self.changes.values().flat_map(|changes| &changes.leaves);
        objects
            .filter_map(|object| if let Object::Function(signature, _) = object { Some(*signature) } else { None })
            .collect()
    }

    /// What must be there, and what must not, when these versions have been applied.
    fn expected(&self, versions: impl Iterator<Item = Version>) -> Vec<Expected> {
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
struct Expected {
    version: Version,
    present: bool,
    kind: &'static str,
    /// The table it belongs to; empty for a function.
    table: &'static str,
    name: &'static str,
    /// A type; empty where none is demanded.
    of_type: &'static str,
}

impl Expected {
    fn key(&self) -> (&'static str, &'static str, &'static str) {
        (self.kind, self.table, self.name)
    }

    fn named(&self) -> String {
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
            Self::Constraint(table, name) => vec![part("constraint", table, name, "")],
            Self::Index(table, name) => vec![part("index", table, name, "")],
            Self::Trigger(table, name) => vec![part("trigger", table, name, "")],
            Self::Function(signature, returns) => vec![part("function", "", signature, returns)],
        }
    }
}

/// A version that the older migrator has applied.
#[derive(Clone, Debug, Serialize)]
pub struct Adopted {
    /// The version.
    pub version: Version,
    /// Its name.
    pub name: String,
    /// The entries of the older ledger that stand for it.
    pub recorded_as: Vec<String>,
    /// When it was applied, by what the older ledger says.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// The ledger of an older migrator as found in a database, compared with a set.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    /// The table, qualified and quoted.
    pub table: String,
    /// What it records, and our own history does not.
    pub adopt: Vec<Adopted>,
    /// What it records and is applied once more all the same.
    again: Vec<(Version, &'static str)>,
    /// Versions whose every entry is there.
    versions: Vec<Version>,
    /// Entries missing of versions of which others are there.
    partial: Vec<(Version, Vec<String>)>,
    /// Whether this session may add to it.
    pub writable: bool,
}

/// What bears the ledger's name.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// A table that the older migrator of this set keeps, or kept.
    Ledger(Recorded),
    /// A table of somebody else.
    Foreign(String),
}

impl Found {
    pub fn ledger(&self) -> Option<&Recorded> {
        match self {
            Self::Ledger(recorded) => Some(recorded),
            Self::Nothing | Self::Foreign(_) => None,
        }
    }
}

/// Looks for the ledger and compares it with the set. `applied` are the versions in our own history.
pub(super) async fn read(connection: &Connection, set: &Set, applied: &[Version]) -> Result<Found, Error> {
    const LOOK_UP: &str = "
        SELECT format('%I.%I', n.nspname, c.relname),
               has_table_privilege(c.oid, 'INSERT'),
               (SELECT count(*) = 2 FROM pg_catalog.pg_attribute a
                WHERE a.attrelid = c.oid AND NOT a.attisdropped
                  AND (a.attname = 'version' AND a.atttypid IN ('text'::regtype, 'varchar'::regtype)
                       OR a.attname = 'applied_at' AND a.atttypid = 'timestamptz'::regtype))
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = coalesce(to_regclass($1), to_regclass('public.' || $1))";
    let Some(ledger) = set.ledger() else { return Ok(Found::Nothing) };
    let Some(row) = connection.query_opt(LOOK_UP, &[&ledger.table]).await? else { return Ok(Found::Nothing) };
    let (table, writable, familiar): (String, bool, bool) = (row.get(0), row.get(1), row.get(2));
    if !familiar {
        return Ok(Found::Foreign(table));
    }
    let sql = format!("SELECT version::text, {} FROM {table}", history::plain("applied_at"));
    let rows = connection.query(&sql, &[]).await?;
    let entries: BTreeMap<String, OffsetDateTime> =
        rows.iter().map(|row| (row.get(0), row.get::<_, Option<_>>(1).unwrap_or(OffsetDateTime::UNIX_EPOCH))).collect();

    let mut found =
        Recorded { table, adopt: Vec::new(), again: Vec::new(), versions: Vec::new(), partial: Vec::new(), writable };
    for migration in set.migrations() {
        let version = migration.version();
        let recorded_as = ledger.entries(version, migration.name());
        let missing: Vec<_> = recorded_as.iter().filter(|entry| !entries.contains_key(*entry)).cloned().collect();
        if missing.is_empty() {
            found.versions.push(version);
        } else if missing.len() < recorded_as.len() {
            found.partial.push((version, missing));
        }
    }
    if !entries.is_empty() && found.versions.is_empty() && found.partial.is_empty() {
        return Ok(Found::Foreign(found.table));
    }
    for migration in set.migrations() {
        let version = migration.version();
        if applied.contains(&version) || !found.versions.contains(&version) {
            continue;
        }
        let recorded_as = ledger.entries(version, migration.name());
        match ledger.again.get(&version) {
            Some(again) if !found.versions.contains(&again.unless) && !applied.contains(&again.unless) => {
                found.again.push((version, again.reason));
            }
            _ => {
                let at = recorded_as.iter().map(|entry| entries[entry]).max().unwrap_or(OffsetDateTime::UNIX_EPOCH);
                found.adopt.push(Adopted { version, name: migration.name().to_owned(), recorded_as, at });
            }
        }
    }
    Ok(Found::Ledger(found))
}

impl Recorded {
    /// Makes sure that what is to be adopted is whole and without gaps, and that its objects are there.
    pub async fn check(&self, connection: &Connection, set: &Set, applied: &[Version]) -> Result<(), super::Error> {
        let Some(ledger) = set.ledger() else { return Ok(()) };
        let Some(last) = self.adopt.last().map(|adopted| adopted.version) else { return Ok(()) };
        let table = self.table.clone();
        if let Some((version, missing)) = self.partial.iter().find(|(version, _)| !applied.contains(version)) {
            let missing = missing.clone();
            return Err(AdoptionError::Incomplete { table, version: *version, missing }.into());
        }
        let left_out = set.migrations().iter().find(|migration| {
            let version = migration.version();
            version < last
                && !applied.contains(&version)
                && (!self.versions.contains(&version) || self.applied_again(version).is_some())
        });
        if let Some(migration) = left_out {
            let missing = ledger.entries(migration.version(), migration.name());
            return Err(
                AdoptionError::Gap { table, missing, last: ledger.entries(last, &self.adopt_name(last)) }.into()
            );
        }
        let versions = applied.iter().copied().chain(self.adopt.iter().map(|adopted| adopted.version));
        let (problems, _) = problems(connection, set, versions.collect()).await?;
        let problems: Vec<_> =
            problems.into_iter().filter(|problem| self.adopt.iter().any(|a| a.version == problem.version)).collect();
        if problems.is_empty() { Ok(()) } else { Err(AdoptionError::Problems { table, problems }.into()) }
    }

    /// Why a version that is recorded is applied once more, if it is.
    pub fn applied_again(&self, version: Version) -> Option<&'static str> {
        self.again.iter().find(|(again, _)| *again == version).map(|(_, reason)| *reason)
    }

    /// The entries of a version that are not there.
    pub fn missing(&self, set: &Set, migration: &super::Migration) -> Vec<String> {
        let version = migration.version();
        if self.versions.contains(&version) {
            return Vec::new();
        }
        match self.partial.iter().find(|(partial, _)| *partial == version) {
            Some((_, missing)) => missing.clone(),
            None => set.ledger().map(|ledger| ledger.entries(version, migration.name())).unwrap_or_default(),
        }
    }

    fn adopt_name(&self, version: Version) -> String {
        self.adopt.iter().find(|adopted| adopted.version == version).map(|a| a.name.clone()).unwrap_or_default()
    }
}

/// The statement that records a migration in the ledger `table`.
pub(super) fn record(set: &Set, migration: &super::Migration, table: &str) -> String {
    let entries = set.ledger().map(|ledger| ledger.entries(migration.version(), migration.name())).unwrap_or_default();
    insert(table, &entries)
}

/// The same for a migration that may be recorded there already.
pub(super) fn record_unless_there(set: &Set, migration: &super::Migration, table: &str) -> String {
    let entries = set.ledger().map(|ledger| ledger.entries(migration.version(), migration.name())).unwrap_or_default();
    format!(
        "INSERT INTO {table} (version) SELECT e FROM unnest(ARRAY[{}]) e \
         WHERE NOT EXISTS (SELECT FROM {table} l WHERE l.version = e)",
        entries.iter().map(|entry| quoted(entry)).collect::<Vec<_>>().join(", ")
    )
}

/// The statement that adds entries to a ledger.
pub(super) fn insert(table: &str, entries: &[String]) -> String {
    let values: Vec<_> = entries.iter().map(|entry| format!("({})", quoted(entry))).collect();
    format!("INSERT INTO {table} (version) VALUES {}", values.join(", "))
}

fn quoted(entry: &str) -> String {
    format!("'{}'", entry.replace('\'', "''"))
}

/// What differs from what the older program's form of these versions leaves behind; and for each thing that was looked
/// up, the version that it is of.
pub(super) async fn problems(
    connection: &Connection,
    set: &Set,
    mut versions: Vec<Version>,
) -> Result<(Vec<Problem>, Vec<Version>), Error> {
    let Some(ledger) = set.ledger() else { return Ok((Vec::new(), Vec::new())) };
    versions.sort_unstable();
    let expected = ledger.expected(versions.into_iter());
    let column = |part: fn(&Expected) -> &'static str| expected.iter().map(part).collect::<Vec<_>>();
    let present: Vec<bool> = expected.iter().map(|expected| expected.present).collect();
    let rows = connection
        .query(
            include_str!("ledger_check.sql"),
            &[
                &column(|expected| expected.kind),
                &column(|expected| expected.table),
                &column(|expected| expected.name),
                &column(|expected| expected.of_type),
                &present,
            ],
        )
        .await?;
    let problem = |row: &tokio_postgres::Row| {
        let index = usize::try_from(row.get::<_, i64>(0) - 1).ok()?;
        let expected = expected.get(index)?;
        let name = set.migration(expected.version).map(|m| m.name().to_owned()).unwrap_or_default();
        let recorded_as = ledger.entries(expected.version, &name).join(", ");
        Some(Problem {
            remedy: remedy(set, expected, row.get(1), row.get(2)),
            ..Problem::new(expected.version, recorded_as, &expected.named(), row.get(1))
        })
    };
    let versions = expected.iter().map(|expected| expected.version).collect();
    Ok((rows.iter().filter_map(problem).collect(), versions))
}

/// The statement that puts it right, where one does.
fn remedy(set: &Set, expected: &Expected, what: &str, qualified_name: Option<String>) -> Option<String> {
    match (expected.kind, qualified_name) {
        ("index", Some(index)) if what.contains("invalid") => Some(format!("REINDEX INDEX CONCURRENTLY {index};")),
        ("trigger", Some(table)) => Some(format!("ALTER TABLE {table} ENABLE TRIGGER {};", expected.name)),
        ("index", None) => {
            let migration = set.migration(expected.version)?;
            match migration.mode() {
                super::Mode::NoTransaction { index: Some(index) } if index.name == expected.name => {
                    let statements = super::sql::statements(migration.sql());
                    let words = statements.first()?.split_whitespace().collect::<Vec<_>>();
                    Some(format!("{};", words.join(" ")))
                }
                _ => None,
            }
        }
        _ => None,
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
