//! How a repeatable file stands in a database.

use std::collections::BTreeMap;

use super::description::{Objects, without_comment};
use super::why::{Change, Why};
use super::{Repeatable, Set, objects};
use crate::db::{self, Connection};

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
        standing.left_alone = connection.query_opt(query, &[]).await?.map(|row| row.try_get(0)).transpose()?;
    }
    if !connection.query_one(PRESENT, &[]).await?.get::<_, bool>("present") {
        return Ok(standing);
    }
    let Some(record) = connection.query_opt(RECORD, &[&set.name(), &repeatable.name()]).await? else {
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
    let found = if names.is_empty() { Objects::new() } else { objects::some_objects(connection, set, &names).await? };
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

#[cfg(test)]
mod tests {
    use super::*;

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
