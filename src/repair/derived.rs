//! Data that is computed from the rows of a repair.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use crate::db::{self, Connection, LockTimeout, Transaction};

/// Data that is computed from the rows of a repair, such as a rollup. A repair brings it up to date as it goes.
#[async_trait]
pub trait Derived: Debug + Send + Sync {
    /// What it is called.
    fn words(&self) -> &'static Words;

    /// The table that it is computed from. A refresh runs as the owner of this table.
    fn source(&self) -> &'static str;

    /// The tables that a refresh reads.
    fn reads(&self) -> &'static [&'static str];

    /// The tables that a refresh writes.
    fn writes(&self) -> &'static [&'static str];

    /// The functions that a refresh calls, with the types of their arguments.
    fn calls(&self) -> &'static [&'static str];

    /// The privileges that a refresh needs, by table.
    fn privileges(&self) -> &'static [(&'static str, &'static str)];

    /// Its state in this database.
    ///
    /// # Errors
    ///
    /// The server's error.
    async fn standing(&self, connection: &Connection) -> Result<Standing, db::Error>;

    /// Begins a transaction that holds the lock of this data: no other session computes it meanwhile.
    ///
    /// # Errors
    ///
    /// [`LockTimeout`].
    async fn begin<'c>(&self, connection: &'c Connection, lock_wait: Duration) -> Result<Transaction<'c>, LockTimeout>;

    /// Computes what depends on rows stamped from `from` up to `to` (times as text of the server). Returns how much it wrote.
    ///
    /// # Errors
    ///
    /// The server's error.
    async fn refresh(&self, transaction: &Connection, from: &str, to: &str) -> Result<u64, db::Error>;

    /// The statement that queues what depends on the rows `u` of this subquery, for the program that refreshes the data.
    fn enqueue(&self, rows: &str) -> String;
}

/// The words for derived data in messages and JSON.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// Its name: `daily totals`.
    pub name: &'static str,
    /// The name of its field in JSON: `rollup`.
    pub field: &'static str,
    /// The unit of what a refresh writes, in the singular: `bucket`.
    pub unit: &'static str,
    /// The label before what a repair would refresh: `would roll up`.
    pub would: &'static str,
    /// What depends on the rows of a repair: `the hours of these rows`.
    pub dependent: &'static str,
    /// What refreshes it if the repair does not: `the next ticks`.
    pub left_to: &'static str,
    /// The value of its JSON field in that case: `left_to_ticks`.
    pub left_field: &'static str,
    /// The flag that turns the refresh off: `rebuild-rollup`.
    pub flag: &'static str,
}

/// The state of derived data in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does not exist.
    Absent,
    /// Another program refreshes it, in its own way.
    Foreign,
    /// A repair can refresh it.
    Ours,
}

/// What a repair does about derived data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refresh {
    /// It refreshes the data during the run.
    Now,
    /// Another program refreshes it. The repair queues what depends on its rows if that program would not find it.
    Left {
        /// Whether the repair queues.
        queue: bool,
    },
    /// The data does not exist.
    Absent,
    /// Nothing is computed from these rows.
    #[default]
    NotConcerned,
}

impl Refresh {
    /// What a repair does. A program that looks for recent rows does not find rows whose times lie in the past again.
    pub(crate) async fn of(
        derived: Option<&dyn Derived>,
        connection: &Connection,
        wanted: bool,
        restores_times: bool,
    ) -> Result<Self, db::Error> {
        let Some(derived) = derived else { return Ok(Self::NotConcerned) };
        Ok(match derived.standing(connection).await? {
            Standing::Absent => Self::Absent,
            Standing::Ours if wanted => Self::Now,
            Standing::Ours => Self::Left { queue: false },
            // An older program drains its queue key by key and loses keys that arrive meanwhile, so we queue only what it
            // would not find otherwise.
            Standing::Foreign => Self::Left { queue: restores_times },
        })
    }
}
