//! Whose objects a run makes and changes.
//!
//! A migrator often connects as another role than the application: as a superuser, or as a member of the owning role.
//! What it makes must belong to whoever owns the tables, or the application could not read it; and what it changes must
//! be its own to change, which is asked before anything is written.

use super::{Error, Ledger, Set};
use crate::db::{Connection, ServerFacts};

/// The role that migrations run as, if it is another one than the session's.
///
/// # Errors
///
/// [`Error::Ownership`] and [`Error::Privilege`] if neither the owner nor the connected role could do it.
pub(super) async fn acting_role(
    connection: &Connection,
    set: &Set,
    facts: &ServerFacts,
) -> Result<Option<String>, Error> {
    let Some(first) = set.alters().first() else { return Ok(None) };
    let functions = set.ledger().map(Ledger::functions).unwrap_or_default();
    let tables = set.alters().to_vec();
    let sql = include_str!("owner.sql");
    let Some(row) = connection.query_opt(sql, &[first, &tables, &functions]).await? else { return Ok(None) };
    let (owner, is_ours, may_act): (String, bool, bool) = (row.get(0), row.get(1), row.get(2));
    let (schema, may_create): (String, bool) = (row.get(3), row.get(4));
    let beyond_owner: Option<Vec<String>> = row.get(5);
    let beyond_us: Option<Vec<String>> = row.get(6);
    if let Some([object, owner]) = beyond_us.as_deref() {
        let (object, owner) = (object.clone(), owner.clone());
        return Err(Error::Ownership { object, owner, role: facts.role.clone() });
    }
    // Where the tables have several owners, only the connected role may touch them all.
    if is_ours || !may_act || beyond_owner.is_some() {
        return Ok(None);
    }
    if may_create {
        return Ok(Some(owner));
    }
    Err(Error::Privilege {
        what: format!("create objects in schema {schema}"),
        database: facts.database.clone(),
        grant: format!("GRANT CREATE ON SCHEMA \"{schema}\" TO \"{owner}\""),
        role: format!("{owner}, who owns table {first},"),
    })
}
