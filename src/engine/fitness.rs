//! Whether this server, database and role can carry a plan out, asked before anything is written.

use super::{Error, Plan};
use crate::db::{Connection, ServerFacts};

/// The role must be able to create objects, and to keep the books.
pub(super) fn check_rights(facts: &ServerFacts) -> Result<(), Error> {
    if facts.in_recovery {
        return Err(Error::Standby);
    }
    let (role, database) = (facts.role.clone(), facts.database.clone());
    let Some(schema) = &facts.schema else {
        return Err(Error::NoSchema { role, database });
    };
    if !facts.may_create_objects {
        let what = format!("objects in schema {schema}");
        let grant = format!("GRANT CREATE ON SCHEMA \"{schema}\" TO \"{role}\"");
        return Err(Error::Privilege { role, what, database, grant });
    }
    if facts.may_keep_books { Ok(()) } else { Err(no_books(facts)) }
}

/// The history cannot be read, or not be written.
pub(super) fn no_books(facts: &ServerFacts) -> Error {
    let (role, database) = (facts.role.clone(), facts.database.clone());
    Error::Privilege {
        what: "or use the schema migrate, where the history is kept,".to_owned(),
        grant: format!(
            "GRANT CREATE ON DATABASE \"{database}\" TO \"{role}\"; if the schema is there already, GRANT ALL ON SCHEMA \
             migrate TO \"{role}\" and GRANT ALL ON ALL TABLES IN SCHEMA migrate TO \"{role}\""
        ),
        role,
        database,
    }
}

/// A database that another migrator has built must not get our first migrations on top.
pub(super) async fn refuse_foreign_ledger(
    connection: &Connection,
    facts: &ServerFacts,
    plan: &Plan,
) -> Result<(), Error> {
    if plan.current > 0 {
        return Ok(());
    }
    let row = connection.query_one("SELECT to_regclass('public.schema_migrations')::text", &[]).await?;
    match row.get::<_, Option<String>>(0) {
        Some(ledger) => Err(Error::ForeignLedger { database: facts.database.clone(), ledger }),
        None => Ok(()),
    }
}
