//! With whose rights code of other roles may run in a session of ours.
//!
//! Triggers, functions, defaults and index expressions are code of the table's owner. Where a session acts as that role
//! (`SET ROLE`), such code can go back to the session's own with `RESET ROLE`. So a role that works on other people's tables
//! should have no more rights than their owner; and for the one right that leads to every other, that is not left to hope: a
//! superuser's session runs no code of a role that is none.

use super::error::SuperuserRefused;
use super::server::OWN_TABLE;
use super::{Connection, Error, ident};

/// What is going to be done with tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// They are only read. No trigger runs.
    Look,
    /// They are written.
    Write,
}

/// Refuses what would run somebody else's code with a superuser's rights: to write `tables`, or read them, and to call
/// `functions`. What does not exist is no obstacle.
///
/// # Errors
///
/// [`Error::SuperuserRefused`]; what the server says.
pub async fn refuse_superuser(
    connection: &Connection,
    tables: &[&str],
    functions: &[&str],
    purpose: Purpose,
) -> Result<(), Error> {
    // A role that a session has taken on can be put off again.
    const SUPERUSER: &str = "
        SELECT r.rolname::text AS name FROM pg_catalog.pg_roles r
        WHERE r.rolname IN (session_user, current_user) AND r.rolsuper
        LIMIT 1";
    let Some(row) = connection.query_opt(SUPERUSER, &[]).await? else { return Ok(()) };
    let role: String = row.get("name");
    let sql = include_str!("authority.sql").replace("{own_table}", OWN_TABLE);
    match connection.query_opt(&sql, &[&tables, &functions, &(purpose == Purpose::Write)]).await? {
        Some(row) => Err(Error::SuperuserRefused(Box::new(SuperuserRefused {
            role,
            object: row.get("object"),
            owner: row.get("owner"),
            may_log_in: row.get("may_log_in"),
            what: row.get("what"),
        }))),
        None => Ok(()),
    }
}

/// The role that works on `table` in this session, if it is another one than the session's: its owner, if the session
/// may become that role. Its triggers then run with its own rights.
///
/// # Errors
///
/// What the server says.
pub async fn acting_role(connection: &Connection, table: &str) -> Result<Option<String>, Error> {
    const OWNER: &str = "
        SELECT r.rolname::text AS owner
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
        WHERE c.oid = pg_catalog.to_regclass($1)::oid
          AND r.rolname <> current_user
          AND pg_catalog.pg_has_role(
              session_user, r.oid,
              CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)";
    Ok(connection.query_opt(OWNER, &[&table]).await?.map(|row| row.get("owner")))
}

/// Refuses to write into the schema `migrate` where its tables carry code of others, which would run with the rights of the
/// role that writes there.
///
/// # Errors
///
/// [`Error::AlteredHistory`]; what the server says.
pub async fn check_history(connection: &Connection) -> Result<(), Error> {
    let sql = include_str!("authority_history.sql").replace("{own_table}", OWN_TABLE);
    match connection.query_opt(&sql, &[]).await? {
        Some(row) => Err(Error::AlteredHistory { object: row.get("object"), remedy: row.get("remedy") }),
        None => Ok(()),
    }
}

/// Lets `role`, who owns the tables that are worked on, keep the history in those tables of the schema `migrate` that are this
/// session's to share: it may be the next one to run. It gets nothing beyond that, no trigger of its own for example, which would
/// run with the rights of whoever writes there next; earlier builds gave it everything. In the schema it may create, because what
/// a newer build or the first repair adds is created by the first role that runs it. Code that it could leave there, [`check_history`]
/// finds.
///
/// # Errors
///
/// What the server says.
pub async fn share_history(connection: &Connection, role: &str) -> Result<(), Error> {
    let ours = format!(
        "SELECT c.relname::text AS name, pg_catalog.pg_has_role(n.nspowner, 'USAGE') AS own_schema
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'migrate'
          AND c.relkind = 'r'
          AND {OWN_TABLE}
          AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
          AND pg_catalog.pg_get_userbyid(c.relowner) <> $1::text::name"
    );
    let rows = connection.query(&ours, &[&role]).await?;
    let tables: Vec<String> = rows.iter().map(|row| format!("migrate.{}", ident(row.get("name")))).collect();
    if tables.is_empty() {
        return Ok(());
    }
    let (tables, role) = (tables.join(", "), ident(role));
    let schema = if rows.iter().any(|row| row.get("own_schema")) {
        format!("GRANT USAGE, CREATE ON SCHEMA migrate TO {role}; ")
    } else {
        String::new()
    };
    let grant = format!(
        "{schema}REVOKE ALL ON {tables} FROM {role}; GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {role}"
    );
    connection.batch(&grant).await
}
