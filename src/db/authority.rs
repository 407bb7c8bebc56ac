//! Which code of other roles may run in our sessions.
//!
//! Triggers, functions, defaults and index expressions are code of the table's owner. If a session acts as that role
//! (`SET ROLE`), such code can return to the session's own role with `RESET ROLE`. So a role that works on tables of another
//! role should have no more rights than that role. For superusers this is enforced: a superuser's session runs no code of a
//! role that is not a superuser.

use super::error::SuperuserRefused;
use super::server::OWN_TABLE;
use super::{Connection, Error, ident};

/// How the tables will be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Only read. No trigger runs.
    Look,
    /// Written.
    Write,
}

/// Refuses if reading or writing `tables`, or calling `functions`, would run code of another role with a superuser's rights.
/// Objects that do not exist are ignored.
///
/// # Errors
///
/// [`Error::SuperuserRefused`]; the server's error.
pub async fn refuse_superuser(
    connection: &Connection,
    tables: &[&str],
    functions: &[&str],
    purpose: Purpose,
) -> Result<(), Error> {
    // The session role counts, too: RESET ROLE returns to it. Only its owner can put code on a table.
    let superuser = format!(
        "SELECT r.rolname::text AS name,
                EXISTS (SELECT FROM pg_catalog.pg_class c
                        JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
                        WHERE c.relnamespace = (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = 'migrate')
                          AND {OWN_TABLE} AND NOT o.rolsuper) AS by_others
         FROM pg_catalog.pg_roles r
         WHERE r.rolname IN (session_user, current_user) AND r.rolsuper
         LIMIT 1"
    );
    let Some(row) = connection.query_opt(&superuser, &[]).await? else { return Ok(()) };
    if tables.is_empty() && functions.is_empty() && !row.get::<_, bool>("by_others") {
        return Ok(());
    }
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

/// A table of this program.
#[derive(Clone, Debug)]
pub struct OwnTable {
    /// Its name, with the schema `migrate`.
    pub name: String,
    /// The names of its columns: earlier builds made fewer.
    pub columns: Vec<String>,
}

/// Which of these tables of the program are there. They are named with the schema `migrate`. Refuses if reading one of them would run code of
/// another role with a superuser's rights: something called like a table may be a view.
///
/// # Errors
///
/// [`Error::SuperuserRefused`]; the server's error, if the role may not use the schema.
pub async fn own_tables(connection: &Connection, names: &[&str]) -> Result<Vec<OwnTable>, Error> {
    let tables: Vec<_> = names.iter().map(|name| format!("'{}'", name.trim_start_matches("migrate."))).collect();
    // The first role of all (10) is a superuser, and what a superuser makes with its own role is its own.
    let sql = format!(
        "SELECT c.relname::text AS name,
                c.relowner = 10::oid OR session_user = current_user
                AND (pg_catalog.current_setting('is_superuser') = 'off' OR pg_catalog.pg_get_userbyid(c.relowner) = current_user)
                    AS is_harmless,
                ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
                      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
         FROM pg_catalog.pg_class c
         WHERE c.relname = ANY (ARRAY[{}]::name[])
           AND c.relnamespace = (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = 'migrate')",
        tables.join(", ")
    );
    let rows = connection.query(&sql, &[]).await?;
    if rows.iter().any(|row| !row.get::<_, bool>("is_harmless")) {
        refuse_superuser(connection, &[], &[], Purpose::Look).await?;
    }
    let table = |name: &str, columns| OwnTable { name: format!("migrate.{name}"), columns };
    Ok(rows.iter().map(|row| table(row.get("name"), row.get("columns"))).collect())
}

/// The owner of `table`, if it is another role and the session may become it. As that role, the table's triggers run with
/// the rights of their owner.
///
/// # Errors
///
/// The server's error.
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

/// Refuses to write into the schema `migrate` if its tables carry code of others, which would run with the rights of the role
/// that writes there.
///
/// # Errors
///
/// [`Error::AlteredHistory`]; the server's error.
pub async fn check_history(connection: &Connection) -> Result<(), Error> {
    let sql = include_str!("authority_history.sql").replace("{own_table}", OWN_TABLE);
    match connection.query_opt(&sql, &[]).await? {
        Some(row) => Err(Error::AlteredHistory { object: row.get("object"), remedy: row.get("remedy") }),
        None => Ok(()),
    }
}

/// Grants `role`, the owner of the migrated tables, the right to write the history in those tables of the schema `migrate`
/// that this session may grant on: the next run may be by that role. It gets no more, because its own trigger, for example,
/// would run with the rights of the next role that writes there; earlier builds granted everything. It may create objects in
/// the schema: the first role that runs a newer build, or the first repair, creates tables there. [`check_history`] finds code
/// that the role leaves there.
///
/// # Errors
///
/// The server's error.
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
