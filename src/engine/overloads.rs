//! Functions and operators beside ours, and PostgreSQL's, that could be called instead.
//!
//! In a database that was made by PostgreSQL 14 or older, everybody may create in the schema `public`. A function there whose
//! arguments fit better than those of the one that was meant is the one that is called, with the rights of the caller. What this
//! program sends, and what its repeatable files leave, names everything in full or with exact types, so it cannot be overruled;
//! the versioned files, which keep the text that histories have the checksum of, do not, and are not applied beside such things.

use super::{Error, Problem, Set, Version};
use crate::db::{Connection, ident};

/// Something that could be picked instead of what was meant.
struct Overload {
    object: String,
    owner: String,
    remedy: String,
}

/// A finding that is no fault.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Warning {
    /// What there is.
    pub what: String,
    /// The statement that ends it.
    pub remedy: String,
}

async fn overloads(connection: &Connection, set: &Set) -> Result<Vec<Overload>, Error> {
    if set.owned_like().is_none() {
        return Ok(Vec::new());
    }
    let first = set.owned_like_in_sql();
    let versions: Vec<_> = set.migrations().iter().map(super::Migration::version).collect();
    let described = set.description().after(&versions);
    let ours: Vec<&str> = described.keys().filter_map(|object| object.strip_prefix("function ")).collect();
    let rows = connection.query(include_str!("overloads.sql"), &[&first, &ours]).await?;
    Ok(rows
        .iter()
        .map(|row| Overload { object: row.get("object"), owner: row.get("owner"), remedy: row.get("remedy") })
        .collect())
}

/// Refuses to apply anything beside them.
pub(super) async fn refuse(connection: &Connection, set: &Set) -> Result<(), Error> {
    match overloads(connection, set).await?.into_iter().next() {
        Some(Overload { object, owner, remedy }) => Err(Error::Overload { object, owner, remedy }),
        None => Ok(()),
    }
}

/// All of them, as faults of the schema.
pub(super) async fn problems(connection: &Connection, set: &Set) -> Result<Vec<Problem>, Error> {
    let problem = |Overload { object, owner, remedy }| Problem {
        remedy: Some(format!("{remedy};").into()),
        ..Problem::new(
            Version::NONE,
            String::new(),
            &object,
            format!("belongs to {owner}, and could be called instead of what is meant"),
        )
    };
    Ok(overloads(connection, set).await?.into_iter().map(problem).collect())
}

/// Whether everybody may create in the schema of the tables. Databases made by PostgreSQL 14 or older have it so.
pub(super) async fn everybody_may_create(connection: &Connection, set: &Set) -> Result<Option<Warning>, Error> {
    const MAY: &str = "
        SELECT n.nspname::text AS schema
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = pg_catalog.to_regclass($1)::oid
          AND pg_catalog.has_schema_privilege('public', n.oid, 'CREATE')";
    if set.owned_like().is_none() {
        return Ok(None);
    }
    let first = set.owned_like_in_sql();
    let row = connection.query_opt(MAY, &[&first]).await?;
    Ok(row.map(|row| row.get::<_, String>("schema")).map(|schema| Warning {
        remedy: format!("REVOKE CREATE ON SCHEMA {} FROM PUBLIC;", ident(&schema)),
        what: format!(
            "everybody may create functions in schema {schema}, where they could be called instead of what is meant"
        ),
    }))
}
