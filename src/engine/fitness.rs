//! Whether this server, database and role can carry a plan out, asked before anything is written.

use tokio_postgres::error::SqlState;

use super::{Error, Origin, Set, tool};
use crate::db::{self, Connection, Rights, ServerFacts, ident};

/// The role must be able to create objects, and to write the history.
pub(super) fn check_rights(facts: &ServerFacts, rights: &Rights) -> Result<(), Error> {
    if facts.in_recovery {
        return Err(Error::Standby);
    }
    let (role, database) = (facts.role.clone(), facts.database.clone());
    if facts.read_only {
        return Err(Error::ReadOnly { role, database });
    }
    let Some(schema) = &facts.schema else {
        return Err(Error::NoSchema { role, database });
    };
    if !rights.may_create_objects {
        let what = format!("create objects in schema {schema}");
        let grant = format!("GRANT CREATE ON SCHEMA {} TO {}", ident(schema), ident(&role));
        return Err(Error::Privilege { role, what, database, grant });
    }
    match (&rights.foreign_history, rights.may_write_history) {
        (Some(foreign), false) => Err(foreign_schema(facts, foreign)),
        (None, false) => Err(unwritable_history(facts)),
        (_, true) => Ok(()),
    }
}

/// No policy may hide rows from the role that connects, or from the one that acts for it.
pub(super) async fn check_row_security(
    connection: &Connection,
    set: &Set,
    facts: &ServerFacts,
    acting: Option<String>,
) -> Result<(), Error> {
    const HIDES: &str = "
        SELECT c.oid::regclass::text AS table_name, r.rolname::text AS role
        FROM pg_catalog.unnest($1::text[]) AS t (name)
        JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(t.name)::oid AND c.relrowsecurity
        JOIN pg_catalog.pg_roles r ON r.rolname = ANY ($2::text[]) AND NOT r.rolsuper AND NOT r.rolbypassrls
        WHERE c.relforcerowsecurity OR NOT pg_catalog.pg_has_role(r.oid, c.relowner, 'USAGE')
        ORDER BY 1
        LIMIT 1";
    let roles: Vec<String> = acting.into_iter().chain([facts.role.clone()]).collect();
    match connection.query_opt(HIDES, &[&set.changed_tables_in_sql(), &roles]).await? {
        Some(row) => Err(Error::RowSecurity { table: row.get("table_name"), role: row.get("role") }),
        None => Ok(()),
    }
}

fn foreign_schema(facts: &ServerFacts, (owner, table): &(String, String)) -> Error {
    Error::ForeignSchema { database: facts.database.clone(), owner: owner.clone(), table: table.clone() }
}

/// What a session may not read: our history, in the words of who must grant it, or something else.
pub(super) async fn unreadable(connection: &Connection, error: db::Error) -> Result<Error, db::Error> {
    if !error.is(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return Ok(error.into());
    }
    let rights = rights(connection).await?;
    if rights.may_read_history {
        return Ok(error.into());
    }
    Ok(unreadable_history(&ServerFacts::read(connection).await?, &rights))
}

/// What the role may do, even if an error has just ended the session's transaction.
pub(super) async fn rights(connection: &Connection) -> Result<Rights, db::Error> {
    let transaction = connection.begin().await?;
    let rights = Rights::read(&transaction).await;
    transaction.rollback().await;
    rights
}

/// The history cannot be read.
fn unreadable_history(facts: &ServerFacts, rights: &Rights) -> Error {
    if let Some(foreign) = &rights.foreign_history {
        return foreign_schema(facts, foreign);
    }
    let role = ident(&facts.role);
    no_history(
        facts,
        "read",
        format!("GRANT USAGE ON SCHEMA migrate TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA migrate TO {role}"),
    )
}

/// The history cannot be created or written.
fn unwritable_history(facts: &ServerFacts) -> Error {
    let (role, database) = (ident(&facts.role), ident(&facts.database));
    no_history(
        facts,
        "write",
        format!(
            "GRANT CREATE ON DATABASE {database} TO {role}; if the schema is there already, GRANT USAGE, CREATE ON SCHEMA \
             migrate TO {role} and GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA migrate TO {role}"
        ),
    )
}

/// The ledger of an older migrator is closed to this role, or the sequence that numbers its rows.
pub(super) fn closed_ledger(
    set: &Set,
    facts: &ServerFacts,
    verb: &str,
    table: &str,
    closed_sequence: Option<&str>,
) -> Error {
    let (role, database) = (facts.role.clone(), facts.database.clone());
    let rights = match set.origin().filter(|_| set.ledger().is_none()) {
        Some(Origin { keep: false, .. }) => "SELECT".to_owned(),
        Some(Origin { tool: Some(tool), .. }) => format!("SELECT, {}", tool::rights(*tool).join(", ")),
        _ => "SELECT, INSERT".to_owned(),
    };
    let to = ident(&role);
    let sequence = closed_sequence.map(|sequence| format!("; GRANT USAGE ON SEQUENCE {sequence} TO {to}"));
    let grant = format!("GRANT {rights} ON {table} TO {to}{}", sequence.unwrap_or_default());
    Error::Privilege { role, what: format!("{verb} {table}, the older migrator's ledger,"), database, grant }
}

fn no_history(facts: &ServerFacts, verb: &str, grant: String) -> Error {
    Error::Privilege {
        role: facts.role.clone(),
        what: format!("{verb} the history in the schema migrate"),
        database: facts.database.clone(),
        grant,
    }
}
