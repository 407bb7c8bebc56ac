//! Whose objects a run makes and changes.
//!
//! A migrator often connects as another role than the application: as a superuser, or as a member of the owning role.
//! What it makes must belong to whoever owns the tables, or the application could not read it; and what it changes must
//! be its own to change, which is asked before anything is written.

use super::set::in_sql;
use super::{Error, Lacks, Ledger, Set};
use crate::db::{self, Connection, ServerFacts};

/// The tables that the set changes or makes.
fn tables(set: &Set) -> Vec<&str> {
    let mut tables: Vec<&str> = set.changed_tables().iter().map(String::as_str).collect();
    tables.extend(set.ledger().map(Ledger::tables).unwrap_or_default());
    tables
}

/// To look at what a set has made, and at what an older migrator has recorded of it, is only to read. Where that would run code
/// of another role, a superuser's session is refused. Our own tables are checked when they are read, by [`db::own_tables`].
///
/// # Errors
///
/// [`db::Error::SuperuserRefused`]; what the server says.
pub(super) async fn may_look(connection: &Connection, set: &Set) -> Result<(), db::Error> {
    let mut names: Vec<String> = tables(set).into_iter().map(in_sql).collect();
    names.extend(set.ledger().map(|ledger| ledger.table.clone()));
    if names.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    db::refuse_superuser(connection, &names, &[], db::Purpose::Look).await
}

/// The role that migrations run as, if it is another one than the session's.
///
/// # Errors
///
/// [`Error::Ownership`] and [`Error::Privilege`] if they could not do it, or would leave objects that the owner of the
/// tables could not use.
pub(super) async fn acting_role(
    connection: &Connection,
    set: &Set,
    facts: &ServerFacts,
) -> Result<Option<String>, Error> {
    if let Some(owner) = set.owner() {
        return named_role(connection, owner, facts).await;
    }
    let Some(first) = set.owned_like() else { return Ok(None) };
    let functions = set.ledger().map(Ledger::functions).unwrap_or_default();
    let tables = tables(set);
    let names: Vec<String> = tables.iter().map(|table| in_sql(table)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    db::refuse_superuser(connection, &names, &functions, db::Purpose::Write).await?;
    let sql = include_str!("owner.sql");
    let Some(row) = connection.query_opt(sql, &[&in_sql(first), &names, &functions]).await? else { return Ok(None) };
    let (owner, is_ours, inherits, may_become): (String, bool, bool, bool) =
        (row.get("owner"), row.get("is_ours"), row.get("inherits"), row.get("may_become"));
    let (session, schema, may_create): (String, String, bool) =
        (row.get("session"), row.get("schema"), row.get("may_create"));
    let beyond: Option<Vec<String>> = row.get("beyond");

    let object = format!("table {first}");
    let role = facts.role.clone();
    if !is_ours && !inherits {
        return Err(Error::Ownership { object, owner, role, lacks: Lacks::Rights });
    }
    if !is_ours && !may_become {
        return Err(Error::Ownership { object, owner, role: session, lacks: Lacks::Becoming });
    }
    if let Some([object, other]) = beyond.as_deref() {
        let (object, other) = (object.clone(), other.clone());
        return Err(Error::Ownership { object, owner: other, role: owner, lacks: Lacks::Object });
    }
    if is_ours {
        return Ok(None);
    }
    if may_create {
        return Ok(Some(owner));
    }
    Err(Error::Privilege {
        what: format!("create objects in schema {schema}"),
        database: facts.database.clone(),
        grant: format!("GRANT CREATE ON SCHEMA {} TO {}", db::ident(&schema), db::ident(&owner)),
        role: format!("{owner}, who owns table {first},"),
    })
}

/// The role that is named as the owner of all that is made, if it is another one than the session's.
async fn named_role(connection: &Connection, owner: &str, facts: &ServerFacts) -> Result<Option<String>, Error> {
    const ROLE: &str = "
        SELECT r.rolname = current_user AS is_ours,
               pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER') AS may_become,
               coalesce(pg_catalog.has_schema_privilege(r.oid, pg_catalog.current_schema(), 'CREATE'), false) AS may_create
        FROM pg_catalog.pg_roles r
        WHERE r.rolname = $1::text::name";
    let Some(row) = connection.query_opt(ROLE, &[&owner]).await? else {
        return Err(Error::NoSuchOwner { owner: owner.to_owned() });
    };
    if row.get("is_ours") {
        return Ok(None);
    }
    let owner = owner.to_owned();
    if !row.get::<_, bool>("may_become") {
        let (object, role) = ("what is made".to_owned(), facts.role.clone());
        return Err(Error::Ownership { object, owner, role, lacks: Lacks::Becoming });
    }
    if !row.get::<_, bool>("may_create") {
        let schema = facts.schema.clone().unwrap_or_default();
        return Err(Error::Privilege {
            what: format!("create objects in schema {schema}"),
            database: facts.database.clone(),
            grant: format!("GRANT CREATE ON SCHEMA {} TO {}", db::ident(&schema), db::ident(&owner)),
            role: owner,
        });
    }
    Ok(Some(owner))
}
