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

    /// The table that it is computed from. The work is done as the role that owns this table.
    fn source(&self) -> &'static str;

    /// The tables that a refresh reads.
    fn reads(&self) -> &'static [&'static str];

    /// The tables that a refresh writes.
    fn writes(&self) -> &'static [&'static str];

    /// The functions that a refresh calls, with the types of their arguments.
    fn calls(&self) -> &'static [&'static str];

    /// The privileges that it takes, by table.
    fn privileges(&self) -> &'static [(&'static str, &'static str)];

    /// How it stands in this database.
    ///
    /// # Errors
    ///
    /// What the server says.
    async fn standing(&self, connection: &Connection) -> Result<Standing, db::Error>;

    /// Begins a transaction under the lock that keeps others from computing it meanwhile.
    ///
    /// # Errors
    ///
    /// [`LockTimeout`].
    async fn begin<'c>(&self, connection: &'c Connection, lock_wait: Duration) -> Result<Transaction<'c>, LockTimeout>;

    /// Computes what depends on rows stamped from `from` up to `to`, as the server writes times; how much it wrote.
    ///
    /// # Errors
    ///
    /// What the server says.
    async fn refresh(&self, transaction: &Connection, from: &str, to: &str) -> Result<u64, db::Error>;

    /// The statement that queues what depends on the rows `u` of this subquery, for whoever keeps the data up to date.
    fn enqueue(&self, rows: &str) -> String;
}

/// How derived data is spoken of.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// Its name: `hourly rollup`.
    pub name: &'static str,
    /// The name of its field in JSON: `rollup`.
    pub field: &'static str,
    /// What a refresh writes, one of it: `bucket`.
    pub unit: &'static str,
    /// Before what a repair would refresh: `would roll up`.
    pub would: &'static str,
    /// What depends on the rows of a repair: `the hours of these rows`.
    pub dependent: &'static str,
    /// By whom it is refreshed where a repair does not: `the next ticks`.
    pub left_to: &'static str,
    /// The value of its field in JSON then: `left_to_ticks`.
    pub left_field: &'static str,
    /// The flag that turns the refresh off: `rebuild-rollup`.
    pub flag: &'static str,
}

/// How derived data stands in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is not there.
    Absent,
    /// Another program keeps it up to date, in its own way.
    Foreign,
    /// It can be refreshed.
    Ours,
}

/// What a repair does about derived data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refresh {
    /// It is refreshed as the repair goes.
    Now,
    /// Whoever keeps it up to date does it; the repair queues what depends on its rows where they would not find it.
    Left {
        /// Whether it queues.
        queue: bool,
    },
    /// It is not there.
    Absent,
    /// Nothing is computed from these rows.
    #[default]
    NotConcerned,
}

impl Refresh {
    /// What a repair does. Rows whose times lie in the past again are not found by a program that goes by time.
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
            // What another program queues, it takes key by key, and loses keys that arrive meanwhile: the less it is given
            // at once, and the older it is, the better.
            Standing::Foreign => Self::Left { queue: restores_times },
        })
    }
}
