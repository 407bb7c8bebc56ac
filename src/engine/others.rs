//! Tables of somebody else, where nobody has said that the set is the right one.

use std::fmt;

use super::history::{Extent, History};
use super::{Error, Migrator, Version, adopt};
use crate::db::{Connection, Program};

/// A database that somebody else has filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Others {
    /// The set that knows nothing of it.
    pub set: String,
    /// `host:port` of the server.
    pub server: String,
    /// The database.
    pub database: String,
    /// The first of its tables, views and sequences.
    pub tables: Vec<String>,
    /// How many there are.
    pub total: usize,
}

impl fmt::Display for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { set, server, database, tables, total } = self;
        let more = match total.saturating_sub(tables.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let tables = tables.join(", ");
        write!(f, "database {database} on {server} holds {tables}{more}, and set {set} has never been applied there")
    }
}

impl Others {
    /// What to do about it, in the words of the program that shows it.
    #[must_use]
    pub fn hint(&self, program: &Program) -> String {
        self.hint_beside("migrations", program)
    }

    /// The same where a folder of migrations is known.
    #[must_use]
    pub fn hint_beside(&self, folder: &str, program: &Program) -> String {
        let with = |flag: &str, value: &str| program.clone().with(flag).with(value).command("up");
        match (with("--dir", folder), with("--set", &self.set)) {
            (Some(folder), Some(set)) if program.name().is_some() => format!(
                "nothing was written; check the URL. To apply a folder of migrations: {folder}. To lay the tables of set {} \
                 beside these: {set}",
                self.set
            ),
            _ => "nothing was written; check the URL".to_owned(),
        }
    }
}

impl Migrator {
    /// Refuses a database that holds tables of somebody else, unless the set has been applied there before. For a set that is
    /// taken because nobody has named another one.
    #[must_use]
    pub fn refuse_others(mut self) -> Self {
        self.refuses_others = true;
        self
    }

    /// Looks for tables that are not this set's.
    pub(super) async fn check_others(&self, connection: &Connection, history: &History) -> Result<(), Error> {
        const OTHERS: &str = include_str!("others.sql");
        const DATABASE: &str = "SELECT pg_catalog.current_database()::text AS name";
        let is_known = history.current() > Version::NONE || matches!(history.ledger, adopt::Found::Ledger(_));
        if !self.refuses_others || is_known {
            return Ok(());
        }
        let found = connection.query(OTHERS, &[]).await?;
        let Some(first) = found.first() else { return Ok(()) };
        // Another run may have made them between one look and the other.
        if History::read(connection, &self.set, Extent::Run).await?.current() > Version::NONE {
            return Ok(());
        }
        let (host, port) = self.connector.server().await.unwrap_or_default();
        Err(Error::SomebodyElses(Box::new(Others {
            set: self.set.name().to_owned(),
            server: format!("{host}:{port}"),
            database: connection.query_one(DATABASE, &[]).await?.get("name"),
            total: usize::try_from(first.get::<_, i64>("total")).unwrap_or(usize::MAX),
            tables: found.iter().map(|row| row.get("name")).collect(),
        })))
    }
}
