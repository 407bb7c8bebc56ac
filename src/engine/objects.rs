//! What is in a schema, object by object, and what a set's versions should have left there.
//!
//! A set may come with a [`Description`](super::Description): for each version, the objects that it makes, changes and removes, each with its
//! definition. It is generated from a fresh database (`script/objects`), and a test keeps it up to date.

use super::Set;
use super::description::Objects;
use crate::db::{Connection, Error, ident};

/// Lists the objects of the schema that a set lives in.
///
/// # Errors
///
/// What the server says.
pub async fn objects(connection: &Connection, set: &Set) -> Result<Objects, Error> {
    list(connection, set, None, false).await
}

/// Those of these objects that are there.
pub(super) async fn some_objects(connection: &Connection, set: &Set, only: &[String]) -> Result<Objects, Error> {
    list(connection, set, Some(only), false).await
}

/// What the open transaction has made, or made anew.
pub(super) async fn made_in_this_transaction(connection: &Connection, set: &Set) -> Result<Objects, Error> {
    list(connection, set, None, true).await
}

async fn list(connection: &Connection, set: &Set, only: Option<&[String]>, made_now: bool) -> Result<Objects, Error> {
    const SCHEMA: &str = "
        SELECT coalesce(
            (SELECT n.nspname
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE c.oid = pg_catalog.to_regclass($1)::oid),
            pg_catalog.current_schema()) AS schema, pg_catalog.current_setting('search_path') AS path";
    const SET_PATH: &str = "SELECT pg_catalog.set_config('search_path', $1, false)";
    // A set that says nothing of its tables lives where new ones would go.
    let first = set.owned_like_in_sql();
    let row = connection.query_one(SCHEMA, &[&first]).await?;
    let (Some(schema), path) = (row.get::<_, Option<String>>("schema"), row.get::<_, String>("path")) else {
        return Ok(Objects::new());
    };
    // Names in other schemas are then written in full.
    connection.query(SET_PATH, &[&ident(&schema)]).await?;
    let rows = connection.query(include_str!("objects.sql"), &[&schema, &only, &made_now]).await;
    let set_back = connection.query(SET_PATH, &[&path]).await;
    // Where the look has failed, its error is the one that says why.
    let rows = rows?;
    set_back?;
    Ok(rows.iter().map(|row| (row.get("object"), row.get("definition"))).collect())
}
