//! A baseline: what nobody has recorded counts as applied from here on, up to a version that the operator names.

use std::fmt;

use time::OffsetDateTime;

use super::adopt::Found;
use super::applied::{Adopted, Applied};
use super::history::History;
use super::{Error, Migration, Migrator, Version};
use crate::db::{Connection, Program, readable};

/// Why versions cannot be recorded unseen. Nothing was written.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BaselineError {
    /// A version that the set does not have.
    #[error("there is no version {named} to begin behind: the latest is {latest}")]
    NoSuchVersion {
        /// What was asked for.
        named: String,
        /// Highest version of the set.
        latest: Version,
    },
    /// There is a history.
    #[error("the database has a history already: it is at version {current}")]
    HasHistory {
        /// Where it ends.
        current: Version,
    },
    /// Another tool has one.
    #[error("the database has a history already: {table}")]
    HasLedger {
        /// The table.
        table: String,
    },
    /// There is nothing that could have been applied.
    #[error("database {database} has no tables, so no version is applied there")]
    Empty {
        /// The database.
        database: String,
    },
}

impl BaselineError {
    /// What to do about it, in the words of the program that shows it.
    #[must_use]
    pub fn hint(&self, program: &Program) -> String {
        let flag = program.option("--baseline");
        match self {
            Self::NoSuchVersion { .. } => {
                "nothing was written; give the number or name of the last version that is applied".to_owned()
            }
            Self::HasHistory { .. } | Self::HasLedger { .. } => {
                format!("nothing was written; {} without {flag}: it continues that history", program.run_up())
            }
            Self::Empty { .. } => format!(
                "nothing was written; is this the right database? To build it, {} without {flag}",
                program.run_up()
            ),
        }
    }
}

impl fmt::Debug for BaselineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        readable(self, None, Some(&self.hint(&Program::embedded())), f)
    }
}

impl Migrator {
    /// Makes all versions up to `last` count as applied in a history that has none, which has been judged. Returns them.
    pub(super) async fn baseline(
        &self,
        connection: &Connection,
        history: &mut History,
        last: Version,
    ) -> Result<Vec<Adopted>, Error> {
        if history.current() > Version::NONE {
            return Err(BaselineError::HasHistory { current: history.current() }.into());
        }
        match &history.ledger {
            Found::Ledger(recorded) if !recorded.versions.is_empty() || !recorded.unknown.is_empty() => {
                return Err(BaselineError::HasLedger { table: recorded.table.clone() }.into());
            }
            Found::Foreign(table) => return Err(BaselineError::HasLedger { table: table.clone() }.into()),
            Found::Ledger(_) | Found::Nothing | Found::Unreadable(_) => {}
        }
        let ledger = history.ledger.ledger().map(|recorded| recorded.table.as_str());
        if let Some(database) = empty_database(connection, ledger).await? {
            return Err(BaselineError::Empty { database }.into());
        }
        let at = OffsetDateTime::now_utc();
        let counts = |migration: &&Migration| migration.version() <= last && !migration.is_baseline();
        let migrations: Vec<&Migration> = self.set.migrations().iter().filter(counts).collect();
        history.applied = migrations
            .iter()
            .map(|migration| Applied {
                version: migration.version(),
                name: migration.name().to_owned(),
                checksum: Some(migration.checksum()),
                at,
                adopted: true,
            })
            .collect();
        let adopted = |migration: &&Migration| Adopted {
            version: migration.version(),
            name: migration.name().to_owned(),
            recorded_as: Vec::new(),
            at,
        };
        Ok(migrations.iter().map(adopted).collect())
    }
}

/// The name of the database, if it holds no table but ours, those of extensions, and the history of a tool.
async fn empty_database(connection: &Connection, ledger: Option<&str>) -> Result<Option<String>, Error> {
    const EMPTY: &str = "
        SELECT pg_catalog.current_database()::text AS name,
               NOT EXISTS (
                   SELECT FROM pg_catalog.pg_class c
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                   WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
                     AND n.nspname NOT IN ('migrate', 'information_schema') AND n.nspname !~ '^pg_'
                     AND c.oid IS DISTINCT FROM pg_catalog.to_regclass($1)::oid
                     AND NOT EXISTS (
                         SELECT FROM pg_catalog.pg_depend d
                         WHERE d.classid = 'pg_catalog.pg_class'::regclass::oid AND d.objid = c.oid AND d.deptype = 'e'
                     )
               ) AS empty";
    let row = connection.query_one(EMPTY, &[&ledger]).await?;
    Ok(row.get::<_, bool>("empty").then(|| row.get("name")))
}
