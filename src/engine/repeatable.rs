//! Repeatable migrations: files without a version, applied again whenever they, or something that they make, have changed.
//!
//! Versions build tables, once. What can be made anew at any time, such as functions and triggers, is better kept in one
//! file in its newest form. Another program may replace part of it, so it is not enough to know that the file was applied:
//! what it made is recorded with its definition (`migrate.repeatable`), and compared with what is there at every run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::apply::{Noted, failed};
use super::event::Event;
use super::hook::Hook;
use super::objects::{self, Objects, without_comment};
use super::record::{LOCK_TIMEOUT, READ_AS_WRITTEN};
use super::set::SetError;
use super::why::{Change, Why};
use super::{Boundary, Error, Migrator, Plan, Set, UpOptions, Version, forbidden, sql};
use crate::db::{self, Connection};

/// A file `R__<name>.sql`.
///
/// Two lines at its top say when it is due: `-- migrate: since <version>`, once that version is applied, and
/// `-- migrate: revision <n>`, a number that grows with every change, so that an older build does not put an older form over
/// a newer one.
#[derive(Clone, Serialize)]
pub struct Repeatable {
    name: String,
    sql: String,
    #[serde(skip)]
    since: Version,
    #[serde(skip)]
    revision: i64,
    #[serde(skip)]
    checksum: u64,
    #[serde(skip)]
    left_alone_if: Option<String>,
    #[serde(skip)]
    hooks: Vec<Arc<dyn Hook>>,
}

impl Repeatable {
    /// Reads one from its name, `R__<name>`, and its text.
    ///
    /// # Errors
    ///
    /// [`SetError`] for a name of another form, a directive that is missing or unknown, or a file that says what a
    /// migration must not.
    pub fn new(name: &str, text: &str) -> Result<Self, SetError> {
        let bare = name.strip_suffix(".sql").unwrap_or(name);
        let Some(bare) = bare.strip_prefix("R__").filter(|bare| !bare.is_empty()) else {
            return Err(SetError::Name { name: name.to_owned(), reason: "expected R__<name>".to_owned() });
        };
        let file = format!("R__{bare}.sql");
        let (mut since, mut revision) = (None, None);
        for (at, directive) in sql::directives(text) {
            match directive.split_once(' ').map(|(word, number)| (word, number.trim().parse::<i64>())) {
                Some(("since", Ok(version))) => since = Some(version),
                Some(("revision", Ok(number))) => revision = Some(number),
                _ => {
                    let (line, directive) = (sql::line_at(text, at), directive.to_owned());
                    return Err(SetError::Directive { file, line, directive, known: "since <version>, revision <n>" });
                }
            }
        }
        let (Some(since), Some(revision)) = (since, revision) else {
            return Err(SetError::NotPlaced { name: name.to_owned() });
        };
        forbidden::statements(&file, text)?;
        // The same checksum as that of a versioned file.
        let checksum = refinery::Migration::unapplied(&format!("V0__{bare}"), text)
            .map_err(|source| SetError::Name { name: name.to_owned(), reason: source.to_string() })?
            .checksum();
        Ok(Self {
            name: bare.to_owned(),
            sql: sql::without_mark(text).to_owned(),
            since,
            revision,
            checksum,
            left_alone_if: None,
            hooks: Vec::new(),
        })
    }

    /// A query of one column of text. A row that it returns says why the file must not be applied to this database: what is
    /// there belongs to something newer than this program.
    #[must_use]
    pub fn left_alone_if(mut self, query: &str) -> Self {
        self.left_alone_if = Some(query.to_owned());
        self
    }

    /// Runs `hook` after the file, if the hook's plan, asked before the file is applied, has work. From then on the work is
    /// owed, whatever happens, until the hook has done it.
    #[must_use]
    pub fn then(mut self, hook: impl Hook + 'static) -> Self {
        self.hooks.push(Arc::new(hook));
        self
    }

    /// The name behind `R__`, without ending.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that holds it.
    #[must_use]
    pub fn file(&self) -> String {
        format!("R__{}.sql", self.name)
    }

    /// The text of the file, without a byte order mark.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// The version from which on it is applied.
    #[must_use]
    pub fn since(&self) -> Version {
        self.since
    }

    /// The hooks behind it.
    #[must_use]
    pub fn hooks(&self) -> &[Arc<dyn Hook>] {
        &self.hooks
    }

    /// Where its hooks run.
    pub(super) fn boundary(&self) -> Boundary {
        Boundary::After(self.name.as_str().into())
    }
}

impl std::fmt::Debug for Repeatable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file())
    }
}

/// How a repeatable file stands in a database.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// What the last application made, each object with its definition; none if there was no application.
    pub made: Option<Objects>,
    /// Why it is to be applied; none if all is as it should be.
    pub due: Option<Why>,
    /// Why it must not be applied, whatever is due.
    pub left_alone: Option<String>,
    /// Names of hooks whose work is owed.
    pub owed: Vec<String>,
}

impl Standing {
    /// In a database that has not come to the version it begins with.
    pub fn not_yet() -> Self {
        Self { made: None, due: Some(Why::New), left_alone: None, owed: Vec::new() }
    }
}

/// Looks how a repeatable file stands.
pub(super) async fn look(connection: &Connection, set: &Set, repeatable: &Repeatable) -> Result<Standing, db::Error> {
    const PRESENT: &str = "SELECT pg_catalog.to_regclass('migrate.repeatable') IS NOT NULL AS present";
    const RECORD: &str = "
        SELECT revision, checksum, made, owed FROM migrate.repeatable WHERE set_name = $1 AND name = $2";
    let mut standing = Standing::not_yet();
    if let Some(query) = &repeatable.left_alone_if {
        standing.left_alone = connection.query_opt(query, &[]).await?.map(|row| row.get(0));
    }
    if !connection.query_one(PRESENT, &[]).await?.get::<_, bool>("present") {
        return Ok(standing);
    }
    let Some(record) = connection.query_opt(RECORD, &[&set.name(), &repeatable.name]).await? else {
        return Ok(standing);
    };
    standing.owed = record.try_get("owed")?;
    let revision: i64 = record.get("revision");
    if revision > repeatable.revision && standing.left_alone.is_none() {
        standing.left_alone = Some(format!("a newer build has applied revision {revision} of it"));
    }
    let made: BTreeMap<String, String> = serde_json::from_value(record.try_get("made")?)
        .map_err(|error| db::Error::Conversion { reason: format!("migrate.repeatable cannot be read: {error}") })?;
    let names: Vec<String> = made.keys().cloned().collect();
    let found = objects::some_objects(connection, set, &names).await?;
    standing.due = match changed(&made, &found) {
        // Only what is owed has been kept so far.
        _ if revision == 0 => return Ok(standing),
        _ if record.get::<_, String>("checksum") != repeatable.checksum.to_string() => Some(Why::FileChanged),
        changed => changed,
    };
    standing.made = Some(made);
    Ok(standing)
}

/// What is not as it was made.
fn changed(made: &Objects, found: &Objects) -> Option<Why> {
    let changed: Vec<_> = made
        .iter()
        .filter_map(|(object, definition)| Some((object.clone(), change(definition, found.get(object))?)))
        .collect();
    let (object, change) = changed.first().cloned()?;
    let all: Vec<String> = changed.into_iter().map(|(object, _)| object).collect();
    Some(Why::ObjectChanged { object, change, more: all.len() - 1, all })
}

/// What became of one object. Comments are the operator's to change.
pub(super) fn change(made: &str, found: Option<&String>) -> Option<Change> {
    match found {
        None => Some(Change::Missing),
        Some(found) if without_comment(found) == without_comment(made) => None,
        Some(found) if found.contains(" DISABLED") => Some(Change::Disabled),
        Some(_) => Some(Change::Replaced),
    }
}

impl Migrator {
    /// Applies a repeatable file and records what it has made, in one transaction; gives way like any other migration.
    pub(super) async fn repeat(
        &self,
        connection: &Connection,
        repeatable: &Repeatable,
        why: &Why,
        role: Option<&str>,
        options: &UpOptions,
    ) -> Result<(), Error> {
        let started = Instant::now();
        self.observer.event(Event::RepeatableStarted { name: repeatable.name.clone(), why: why.clone() });
        let file = repeatable.file();
        let attempt = async |noted: Option<&Noted>| {
            Box::pin(self.noting(connection, noted, self.repeat_once(connection, repeatable, why, role))).await
        };
        let retried = |reason, attempts, holder| {
            let name = repeatable.name.clone();
            self.observer.event(Event::RepeatableRetried { name, reason, attempts, holder });
        };
        self.patiently(connection, options, retried, attempt)
            .await?
            .map_err(|(error, holder)| failed(&file, &repeatable.sql, error, holder))?;
        let (name, duration) = (repeatable.name.clone(), started.elapsed());
        self.observer.event(Event::RepeatableApplied { name, why: why.clone(), duration });
        Ok(())
    }

    async fn repeat_once(
        &self,
        connection: &Connection,
        repeatable: &Repeatable,
        why: &Why,
        role: Option<&str>,
    ) -> Result<Result<(), db::Error>, Error> {
        const BEFORE: &str = "SELECT made FROM migrate.repeatable WHERE set_name = $1 AND name = $2";
        const RECORD: &str = "
            INSERT INTO migrate.repeatable (set_name, name, revision, checksum, made, applied_because)
            VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (set_name, name) DO UPDATE SET
                revision        = excluded.revision,
                checksum        = excluded.checksum,
                made            = excluded.made,
                applied_because = excluded.applied_because,
                applied_at      = excluded.applied_at,
                applied_by      = excluded.applied_by,
                tool_version    = excluded.tool_version";
        let transaction = connection.begin().await?;
        let result: Result<_, db::Error> = async {
            transaction.batch(&[READ_AS_WRITTEN, LOCK_TIMEOUT].join(";\n")).await?;
            transaction.as_role(role, transaction.batch(&repeatable.sql)).await?;
            let mut made = objects::made_in_this_transaction(&transaction, &self.set).await?;
            // What an earlier application has made, and this one found to be there, is still of its making. What holds data is
            // not made anew; if it has changed, that is not for this file to mend.
            if let Some(row) = transaction.query_opt(BEFORE, &[&self.set.name(), &repeatable.name]).await? {
                let mut before: Objects = serde_json::from_value(row.get("made")).unwrap_or_default();
                before.retain(|object, _| !made.contains_key(object));
                let names: Vec<String> = before.keys().cloned().collect();
                let found = objects::some_objects(&transaction, &self.set, &names).await?;
                for (object, definition) in &before {
                    let is_code = object.starts_with("function ") || object.starts_with("trigger ");
                    if let Some(change) = change(definition, found.get(object)).filter(|_| !is_code) {
                        return Ok(Some((object.clone(), change)));
                    }
                }
                made.extend(found);
            }
            let made = serde_json::to_value(made).unwrap_or_default();
            let (checksum, why) = (repeatable.checksum.to_string(), why.to_string());
            transaction
                .execute(RECORD, &[&self.set.name(), &repeatable.name, &repeatable.revision, &checksum, &made, &why])
                .await?;
            Ok(None)
        }
        .await;
        match result {
            Ok(None) => Ok(transaction.commit().await),
            Ok(Some((object, change))) => {
                transaction.rollback().await;
                Err(Error::NotRemade { file: repeatable.file(), object, change })
            }
            Err(error) => {
                transaction.rollback().await;
                Ok(Err(error))
            }
        }
    }
}

/// Keeps what is owed, before the first step: once that is done, nothing would tell any more. Work that has become necessary
/// anew begins anew, whatever an earlier run had got to.
pub(super) async fn owe(connection: &Connection, set: &Set, plan: &Plan) -> Result<(), db::Error> {
    const OWE: &str = "
        INSERT INTO migrate.repeatable (set_name, name, revision, checksum, made, owed, applied_because)
        VALUES ($1, $2, 0, '', '{}', $3, '')
        ON CONFLICT (set_name, name) DO UPDATE SET owed = excluded.owed";
    const BEGIN_ANEW: &str = "DELETE FROM migrate.hook_state WHERE set_name = $1 AND hook = ANY ($2)";
    for (repeatable, _) in plan.to_repeat() {
        let is_owed = |hook: &&Arc<dyn Hook>| plan.owed.iter().any(|name| name == hook.name());
        let owed: Vec<_> = repeatable.hooks().iter().filter(is_owed).map(|hook| hook.name()).collect();
        if owed.is_empty() {
            continue;
        }
        let transaction = connection.begin().await?;
        transaction.execute(OWE, &[&set.name(), &repeatable.name, &owed]).await?;
        transaction.execute(BEGIN_ANEW, &[&set.name(), &plan.anew]).await?;
        transaction.commit().await?;
    }
    Ok(())
}

/// Strikes a hook's work off what is owed.
pub(super) async fn no_longer_owed(connection: &Connection, set: &Set, hook: &str) -> Result<(), db::Error> {
    const PAID: &str = "
        UPDATE migrate.repeatable SET owed = pg_catalog.array_remove(owed, $2) WHERE set_name = $1 AND $2 = ANY (owed)";
    connection.execute(PAID, &[&set.name(), &hook]).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_place_is_read_from_the_top_of_the_file() {
        let file =
            Repeatable::new("R__views.sql", "-- migrate: since 3\n-- migrate: revision 2\n-- Why\nSELECT 1").unwrap();
        assert_eq!((file.name(), file.since(), file.revision), ("views", 3, 2));
        for (name, text) in [
            ("V1__views", "-- migrate: since 3\n-- migrate: revision 2"),
            ("R__views", "-- migrate: since 3"),
            ("R__views", "-- migrate: since three\n-- migrate: revision 2"),
            ("R__views", "-- migrate: since 3\n-- migrate: revision 2\n-- migrate: no-transaction"),
            ("R__views", "-- migrate: since 3\n-- migrate: revision 2\nCOMMIT"),
        ] {
            assert!(Repeatable::new(name, text).is_err(), "{name}: {text}");
        }
    }

    #[test]
    fn a_reason_names_the_first_object_and_counts_the_others() {
        let made: Objects = [("function f()", "a -- one"), ("trigger t on u", "b"), ("view v", "c")]
            .map(|(object, definition)| (object.to_owned(), definition.to_owned()))
            .into();
        let mut found = made.clone();
        found.insert("function f()".to_owned(), "a -- another comment".to_owned());
        assert_eq!(changed(&made, &found), None);
        found.insert("trigger t on u".to_owned(), "b DISABLED".to_owned());
        found.remove("view v");
        let why = changed(&made, &found).unwrap();
        assert_eq!(why.to_string(), "trigger t on u is disabled, and 1 more");
    }
}
