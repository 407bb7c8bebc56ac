//! History and objects of different times: a backup has brought back one of them, or a part.
//!
//! Nothing records when a table was made, so it is told by what is there. A table or column that only a pending version makes
//! puts the history behind the database; one that a recorded version made and nothing has dropped since, if it is gone, puts
//! it ahead.

use std::collections::{BTreeMap, BTreeSet};

use super::description::{Objects, without_comment};
use super::history::{Extent, History};
use super::mode::Mode;
use super::out_of_step::{OutOfStep, Record};
use super::{Error, Migration, Migrator, Set, Version, objects, record, sql};
use crate::db;
use crate::db::Connection;

/// A table, or a column of one that was there before: what a statement would fail on.
struct Thing<'a> {
    object: &'a str,
    version: Version,
}

impl Thing<'_> {
    /// Relation and column; no column for a relation.
    fn parts(&self) -> Option<(&str, &str)> {
        let (kind, name) = self.object.split_once(' ')?;
        match kind {
            "table" => Some((name, "")),
            "column" => name.split_once('.'),
            _ => None,
        }
    }
}

impl Migrator {
    /// Refuses a database whose objects are of another time than its history.
    pub(super) async fn refuse_out_of_step(&self, connection: &Connection, history: &History) -> Result<(), Error> {
        match self.out_of_step(connection, history).await? {
            Some(found) => Err(Error::OutOfStep(Box::new(found))),
            None => Ok(()),
        }
    }

    /// Compares the tables and columns of all described versions with those that are there.
    pub(super) async fn out_of_step(
        &self,
        connection: &Connection,
        history: &History,
    ) -> Result<Option<OutOfStep>, db::Error> {
        let set = &self.set;
        let (pending, demanded) = (would_make(set, history), must_be_there(set, history));
        let there = present(connection, set, &pending).await?;
        let kept = present(connection, set, &demanded).await?;
        if there.is_empty() && kept.len() == demanded.len() {
            return Ok(None);
        }
        // Another run may have been at work between one look and the other.
        let again = History::read(connection, set, Extent::Run).await?;
        if again.versions() != history.versions() || again.current() != history.current() {
            return Ok(None);
        }
        let with_file = |thing: &Thing<'_>| {
            let file = set.migration(thing.version).map(Migration::file).unwrap_or_default();
            (thing.object.to_owned(), file)
        };
        let current = history.current();
        if there.is_empty() {
            let gone = demanded.iter().enumerate().filter(|(index, _)| !kept.contains(index));
            return Ok(Some(OutOfStep::Ahead { current, gone: gone.map(|(_, thing)| with_file(thing)).collect() }));
        }
        // What is gone may be what a pending version drops.
        let record = self.record(connection, history).await?;
        let there = there.iter().filter_map(|index| pending.get(*index)).map(with_file).collect();
        Ok(Some(OutOfStep::Behind { current, there, record }))
    }

    /// How to record pending versions, if what is there is what they leave, and nothing of any later one.
    pub(super) async fn record(&self, connection: &Connection, history: &History) -> Result<Option<Record>, db::Error> {
        let (set, ledger) = (&self.set, history.ledger.ledger());
        if ledger.is_none() && !history.is_kept {
            return Ok(None);
        }
        let pending: Vec<Version> = pending(set, history).map(Migration::version).collect();
        let touched = set.description().touched_by(&pending);
        let names: Vec<String> = touched.iter().map(|object| (*object).to_owned()).collect();
        let found = objects::some_objects(connection, set, &names).await?;
        let last = pending.iter().rev().copied().find(|last| {
            set.description().changes(*last)
                && leaves(set, history, &pending, *last, &touched, &found, ledger.is_none())
        });
        let Some(last) = last else { return Ok(None) };
        let missing: Vec<_> =
            pending.iter().filter(|version| **version <= last).filter_map(|v| set.migration(*v)).collect();
        let statement = match (ledger, set.ledger()) {
            (Some(recorded), Some(names)) => {
                let entries: Vec<_> = missing.iter().flat_map(|m| names.entries(m.version(), m.name())).collect();
                record::ledger_insert(&recorded.table, &entries)
            }
            _ => record::history_row(set, &missing, record::NOW),
        };
        let first = missing.first().map_or(last, |migration| migration.version());
        Ok(Some(Record { first, last, statement: statement + ";", in_older_ledger: ledger.is_some() }))
    }
}

/// What is to be applied and has not been before.
fn pending<'a>(set: &'a Set, history: &History) -> impl Iterator<Item = &'a Migration> {
    let current = history.current();
    let again = |version| history.ledger.ledger().is_some_and(|recorded| recorded.applied_again(version).is_some());
    let again: Vec<Version> =
        set.migrations().iter().map(Migration::version).filter(|version| again(*version)).collect();
    set.migrations().iter().filter(move |m| m.version() > current && !again.contains(&m.version()))
}

/// The tables and columns on which a pending version would fail if they were there.
fn would_make<'a>(set: &'a Set, history: &History) -> Vec<Thing<'a>> {
    let mut recorded = history.versions();
    recorded.extend(history.adoptable().iter().map(|adopted| adopted.version));
    let mut known: BTreeSet<&str> = set.description().after(&recorded).into_keys().collect();
    let mut things: Vec<Thing<'a>> = Vec::new();
    for migration in pending(set, history) {
        let version = migration.version();
        let mut made: Vec<_> = set.description().after(&[version]).into_iter().collect();
        // Tables first: their columns come with them.
        made.sort_by_key(|(object, _)| !object.starts_with("table "));
        for (object, (_, definition)) in made {
            let thing = Thing { object, version };
            let Some((relation, column)) = thing.parts() else { continue };
            if definition.is_none() || !known.insert(object) {
                continue;
            }
            let of_new_table = !column.is_empty() && things.iter().any(|table| table.parts() == Some((relation, "")));
            let bears_it = sql::says_if_not_exists(migration.sql(), if column.is_empty() { relation } else { column });
            if !matches!(migration.mode(), Mode::NoTransaction { .. })
                && !of_new_table
                && !bears_it
                && !made_anew(set, version)
            {
                things.push(thing);
            }
        }
    }
    things
}

/// The tables that recorded versions have left, and the columns of those that this program has applied.
fn must_be_there<'a>(set: &'a Set, history: &History) -> Vec<Thing<'a>> {
    let shared = set.ledger().map_or(Version::NONE, |ledger| ledger.shared_until);
    let adopted = |version: Version| history.row(version).is_none_or(|row| row.adopted);
    let mut recorded = history.versions();
    recorded.extend(history.adoptable().iter().map(|adopted| adopted.version));
    let expected = set.description().after(&recorded);
    // What a pending version drops may be gone already: it bears that.
    let pending: Vec<Version> = pending(set, history).map(Migration::version).collect();
    let dropped = set.description().after(&pending);
    let dropped = |object: &str| dropped.get(object).is_some_and(|(_, definition)| definition.is_none());
    let things = expected.into_iter().filter(|(object, (_, definition))| definition.is_some() && !dropped(object));
    things
        .map(|(object, (version, _))| Thing { object, version })
        .filter(|thing| match thing.parts() {
            // What the application goes on changing: only what the chain itself needs.
            Some((relation, column)) if thing.version <= shared => {
                column.is_empty() && set.changed_tables().iter().any(|table| table == relation)
            }
            Some((_, column)) => (column.is_empty() || !adopted(thing.version)) && !made_anew(set, thing.version),
            None => false,
        })
        .collect()
}

/// Whether a repeatable file makes anew what this version has made.
fn made_anew(set: &Set, version: Version) -> bool {
    set.repeatables().iter().any(|repeatable| repeatable.since() == Some(version))
}

/// Which of these are there, where new tables would go.
async fn present(connection: &Connection, set: &Set, things: &[Thing<'_>]) -> Result<Vec<usize>, db::Error> {
    const PRESENT: &str = "
        SELECT w.n
        FROM ROWS FROM (pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[])) WITH ORDINALITY AS w (relation, attribute, n)
        JOIN pg_catalog.pg_class c ON c.relname = w.relation AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
        WHERE c.relnamespace = coalesce(
                  (SELECT t.relnamespace FROM pg_catalog.pg_class t WHERE t.oid = pg_catalog.to_regclass($1)::oid),
                  (SELECT s.oid FROM pg_catalog.pg_namespace s WHERE s.nspname = pg_catalog.current_schema()))
          AND (w.attribute = ''
               OR EXISTS (SELECT FROM pg_catalog.pg_attribute a
                          WHERE a.attrelid = c.oid AND a.attname = w.attribute AND NOT a.attisdropped))
        ORDER BY w.n";
    if things.is_empty() {
        return Ok(Vec::new());
    }
    let parts: Vec<_> = things.iter().map(|thing| thing.parts().unwrap_or_default()).collect();
    let (relations, columns): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let first = set.owned_like_in_sql();
    let rows = connection.query(PRESENT, &[&first, &relations, &columns]).await?;
    Ok(rows.iter().filter_map(|row| usize::try_from(row.get::<_, i64>("n") - 1).ok()).collect())
}

/// Whether what is there is what the versions up to `last` leave, and nothing of any later one. Not `strict`: by name alone,
/// for what is checked before it is believed.
fn leaves(
    set: &Set,
    history: &History,
    pending: &[Version],
    last: Version,
    touched: &BTreeSet<&str>,
    found: &Objects,
    strict: bool,
) -> bool {
    let mut versions = history.versions();
    versions.extend(history.adoptable().iter().map(|adopted| adopted.version));
    versions.extend(pending.iter().copied().filter(|version| *version <= last));
    let expected: BTreeMap<&str, (Version, Option<&str>)> = set.description().after(&versions);
    touched.iter().all(|object| {
        let definition = found.get(*object).map(|definition| without_comment(definition));
        match expected.get(object) {
            Some((version, wanted)) if made_anew(set, *version) => {
                // It is made again, whatever it looks like; tables are not.
                let holds_data = object.starts_with("table ") || object.starts_with("column ");
                !holds_data || wanted.is_some() == definition.is_some()
            }
            Some((_, wanted)) if strict => wanted.map(without_comment) == definition,
            Some((version, _)) if !pending.contains(version) => true,
            Some((_, wanted)) => wanted.is_some() == definition.is_some(),
            None => definition.is_none(),
        }
    })
}
