//! The cleanup behind every interrupted `CREATE INDEX CONCURRENTLY`.
//!
//! Such a build, when it is killed, leaves an index that exists and is never used. `IF NOT EXISTS` then finds it and
//! reports success. So before each file that builds an index without a transaction, whatever bears the index's name is
//! looked at; this hook is derived from the file itself and need not be registered.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::error::SqlState;

use super::hook::{Forecast, Hook, HookContext, HookError, Outcome};
use super::migration::ConcurrentIndex;
use super::session::LOCK_TIMEOUT;
use crate::db::{Connection, Error};

/// What bears the name of an index.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// An index in working order.
    ValidIndex,
    /// An index that an interrupted build left.
    InvalidIndex {
        /// With its schema, quoted for use in SQL.
        qualified_name: String,
    },
    /// Something else.
    Other {
        /// What PostgreSQL calls it.
        kind: String,
    },
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("it does not exist"),
            Self::ValidIndex => f.write_str("it is valid"),
            Self::InvalidIndex { .. } => f.write_str("it is invalid"),
            Self::Other { kind } => write!(f, "that name belongs to another {kind}"),
        }
    }
}

/// Looks up what bears the name of an index, in the schema of its table, where PostgreSQL will put it.
pub(super) async fn look_up(connection: &Connection, index: &ConcurrentIndex) -> Result<Found, Error> {
    const LOOK_UP: &str = "
        SELECT format('%I.%I', n.nspname, c.relname),
               c.relkind IN ('i', 'I') AND i.indrelid = t.oid,
               coalesce(i.indisvalid AND i.indisready, false),
               CASE c.relkind
                   WHEN 'i' THEN CASE WHEN i.indrelid <> t.oid THEN format('index of %s', i.indrelid::regclass) END
                   WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
                   WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'foreign table'
                   WHEN 'c' THEN 'composite type' ELSE 'relation of another kind'
               END
        FROM pg_catalog.pg_class t
        JOIN pg_catalog.pg_class c ON c.relnamespace = t.relnamespace AND c.relname = $1::text
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
        WHERE t.oid = to_regclass(concat_ws('.', quote_ident($2::text), quote_ident($3::text)))";
    let row = connection.query_opt(LOOK_UP, &[&index.name, &index.schema, &index.table]).await?;
    Ok(match row {
        None => Found::Nothing,
        Some(row) if !row.get::<_, bool>(1) => Found::Other { kind: row.get(3) },
        Some(row) if row.get(2) => Found::ValidIndex,
        Some(row) => Found::InvalidIndex { qualified_name: row.get(0) },
    })
}

/// Drops an index that an interrupted build left, beside whoever uses its table.
pub(super) async fn drop_invalid(connection: &Connection, qualified_name: &str) -> Result<(), Error> {
    connection.batch(&format!("DROP INDEX CONCURRENTLY IF EXISTS {qualified_name}")).await
}

/// Drops the index of a build that was given up, if it is invalid. Not concurrently, which would wait for the same sessions
/// as the build; the table is asked for an instant at a time.
pub(super) async fn leave_nothing(connection: &Connection, index: &ConcurrentIndex) -> Result<(), Error> {
    const TRIES: u32 = 5;
    for attempt in 1..=TRIES {
        let Found::InvalidIndex { qualified_name } = look_up(connection, index).await? else { return Ok(()) };
        let transaction = connection.begin().await?;
        let dropped = transaction.batch(&format!("{LOCK_TIMEOUT}; DROP INDEX IF EXISTS {qualified_name}")).await;
        match dropped {
            Ok(()) => return transaction.commit().await,
            Err(error) if error.is(&SqlState::LOCK_NOT_AVAILABLE) && attempt < TRIES => {
                transaction.rollback().await;
                connection.pause(Duration::from_millis(200)).await?;
            }
            Err(error) => {
                transaction.rollback().await;
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Drops an invalid index of the name that the next migration is going to build.
pub(super) struct InvalidIndexCleanup {
    index: ConcurrentIndex,
}

impl InvalidIndexCleanup {
    pub fn new(index: ConcurrentIndex) -> Self {
        Self { index }
    }

    fn in_the_way(&self, kind: &str) -> HookError {
        let name = &self.index.name;
        HookError::with_hint(
            format!("the index {name} cannot be built: its name belongs to another {kind}"),
            format!("rename or drop that {kind}, then run it again"),
        )
    }
}

#[async_trait]
impl Hook for InvalidIndexCleanup {
    fn name(&self) -> &'static str {
        "invalid-index-cleanup"
    }

    async fn plan(&self, cx: &HookContext) -> Result<Forecast, HookError> {
        let connection = cx.connect().await?;
        let name = &self.index.name;
        Ok(match look_up(&connection, &self.index).await? {
            Found::Nothing | Found::ValidIndex => Forecast::nothing("no invalid index to drop"),
            Found::InvalidIndex { .. } => {
                Forecast::work(format!("drop {name}, which an interrupted build left invalid"))
            }
            Found::Other { kind } => return Err(self.in_the_way(&kind)),
        })
    }

    async fn run(&self, cx: &HookContext) -> Result<Outcome, HookError> {
        let connection = cx.connect().await?;
        let name = &self.index.name;
        let outcome = match look_up(&connection, &self.index).await? {
            Found::Nothing | Found::ValidIndex => Outcome::new("no invalid index to drop"),
            Found::InvalidIndex { qualified_name } => {
                drop_invalid(&connection, &qualified_name).await?;
                Outcome::new(format!("dropped {name}, which an interrupted build had left invalid"))
                    .with("dropped", name.as_str())
            }
            Found::Other { kind } => return Err(self.in_the_way(&kind)),
        };
        connection.close().await;
        Ok(outcome)
    }
}
