//! The cleanup behind every interrupted `CREATE INDEX CONCURRENTLY`.
//!
//! Such a build, when it is killed, leaves an index that exists and is never used. `IF NOT EXISTS` then finds it and
//! reports success. So before each file that builds an index without a transaction, whatever bears the index's name is
//! looked at; this hook is derived from the file itself and need not be registered.

use std::fmt;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio_postgres::error::SqlState;

use super::context::HookContext;
use super::hook::{Hook, HookError};
use super::mode::ConcurrentIndex;
use super::outcome::{Forecast, Outcome};
use super::session::LOCK_TIMEOUT;
use crate::db::{Connection, Error, Holder, LockTimeout, Transaction, Waiting};

/// The name of the hook. Nobody registers it: every file that builds an index without a transaction has it.
pub(super) const CLEANUP: &str = "invalid-index-cleanup";

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
        /// Its table, written in the same way.
        table: String,
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
        SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS index,
               c.relkind IN ('i', 'I') AND i.indrelid = t.oid AS ours,
               coalesce(i.indisvalid AND i.indisready, false) AS valid,
               CASE c.relkind
                   WHEN 'i' THEN CASE WHEN i.indrelid <> t.oid THEN pg_catalog.format('index of %s', i.indrelid::regclass) END
                   WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
                   WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'foreign table'
                   WHEN 'c' THEN 'composite type' ELSE 'relation of another kind'
               END AS kind,
               pg_catalog.format('%I.%I', n.nspname, t.relname) AS table_name
        FROM pg_catalog.pg_class t
        JOIN pg_catalog.pg_class c ON c.relnamespace = t.relnamespace AND c.relname = $1::text
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
        WHERE t.oid = CASE
            WHEN $2::text IS NULL AND pg_catalog.cardinality($4::text[]) > 0 THEN (
                SELECT x.oid
                FROM pg_catalog.unnest($4::text[]) WITH ORDINALITY AS p (name, at)
                JOIN pg_catalog.pg_namespace s ON s.nspname = p.name
                JOIN pg_catalog.pg_class x ON x.relnamespace = s.oid AND x.relname = $3::text
                ORDER BY p.at
                LIMIT 1)
            ELSE pg_catalog.to_regclass(pg_catalog.concat_ws('.', pg_catalog.quote_ident($2::text), pg_catalog.quote_ident($3::text)))::oid
        END";
    let row = connection.query_opt(LOOK_UP, &[&index.name, &index.schema, &index.table, &index.path]).await?;
    Ok(match row {
        None => Found::Nothing,
        Some(row) if !row.get::<_, bool>("ours") => Found::Other { kind: row.get("kind") },
        Some(row) if row.get("valid") => Found::ValidIndex,
        Some(row) => Found::InvalidIndex { qualified_name: row.get("index"), table: row.get("table_name") },
    })
}

/// Drops the index if an interrupted build has left it, and returns what was found at last. An index that is still being built
/// looks the same; but whoever builds one without a transaction holds the table in SHARE UPDATE EXCLUSIVE mode from its
/// beginning to its end. So it is looked at again, and dropped, while we hold the table in that mode. That wait blocks no
/// other; the stronger lock that the drop itself needs is asked for an instant at a time.
///
/// # Errors
///
/// [`LockTimeout`] when the locks could not be had within `limit`.
pub(super) async fn drop_invalid(
    connection: &Connection,
    index: &ConcurrentIndex,
    limit: Duration,
) -> Result<Found, LockTimeout> {
    const WHAT: &str = "the table of an invalid index";
    let since = Instant::now();
    let mut told: Option<Instant> = None;
    loop {
        let found = look_up(connection, index).await?;
        let Found::InvalidIndex { table, .. } = &found else { return Ok(found) };
        let waited = since.elapsed();
        let transaction = connection.begin().await?;
        let dropped = drop_under_lock(&transaction, index, table, limit.saturating_sub(waited).min(BUILD_WAIT)).await;
        match dropped {
            Ok(found) => {
                transaction.commit().await?;
                return Ok(found);
            }
            Err(error) if error.is(&SqlState::LOCK_NOT_AVAILABLE) || error.is(&SqlState::T_R_DEADLOCK_DETECTED) => {
                transaction.rollback().await;
            }
            Err(error) => {
                transaction.rollback().await;
                return Err(error.into());
            }
        }
        let waited = since.elapsed();
        if waited >= limit {
            let holder = in_the_way(connection, table).await?.map(Box::new);
            return Err(LockTimeout::TimedOut { what: WHAT.into(), waited: limit, holder });
        }
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            told = Some(Instant::now());
            connection.tell(Waiting { what: WHAT.into(), holder: in_the_way(connection, table).await?, waited });
        }
        connection.pause(PAUSE).await?;
    }
}

/// How long to wait at a time for a build by another session. Longer than PostgreSQL lets an autovacuum stand in the way.
const BUILD_WAIT: Duration = Duration::from_secs(2);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// How often it is told who is in the way.
const TELL_EVERY: Duration = Duration::from_secs(10);

async fn drop_under_lock(
    transaction: &Transaction<'_>,
    index: &ConcurrentIndex,
    table: &str,
    build_wait: Duration,
) -> Result<Found, Error> {
    transaction.limit_lock_wait(build_wait).await?;
    transaction.batch(&format!("LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")).await?;
    let found = look_up(transaction, index).await?;
    if let Found::InvalidIndex { qualified_name, .. } = &found {
        transaction.batch(&format!("{LOCK_TIMEOUT}; DROP INDEX {qualified_name}")).await?;
    }
    Ok(found)
}

/// Whether another session builds an index of the table without a transaction, or maintains it in another way that excludes that.
/// An autovacuum, which has no user, does not count.
async fn is_being_built(connection: &Connection, table: &str) -> Result<bool, Error> {
    const BUILDER: &str = "
        SELECT EXISTS (
            SELECT FROM pg_catalog.pg_locks l
            JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid AND a.usesysid IS NOT NULL
            WHERE l.locktype = 'relation'
              AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
              AND l.relation = pg_catalog.to_regclass($1)::oid
              AND l.mode = 'ShareUpdateExclusiveLock'
              AND l.granted
        ) AS built";
    Ok(connection.query_one(BUILDER, &[&table]).await?.get("built"))
}

/// Who has used the table for the longest time.
async fn in_the_way(connection: &Connection, table: &str) -> Result<Option<Holder>, Error> {
    const HOLDER: &str = "
        SELECT l.pid, a.application_name AS application, pg_catalog.host(a.client_addr) AS client, coalesce(a.xact_start, a.backend_start) AS since
        FROM pg_catalog.pg_locks l
        LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'relation'
          AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
          AND l.relation = pg_catalog.to_regclass($1)::oid
          AND l.granted
          AND l.pid <> pg_catalog.pg_backend_pid()
        ORDER BY l.mode = 'ShareUpdateExclusiveLock' DESC, a.xact_start NULLS LAST
        LIMIT 1";
    Ok(connection.query_opt(HOLDER, &[&table]).await?.map(|row| Holder::from_row(&row)))
}

/// Drops the index of a build that was given up, if it is invalid. Nobody waits long for that.
pub(super) async fn leave_nothing(connection: &Connection, index: &ConcurrentIndex) -> Result<(), LockTimeout> {
    drop_invalid(connection, index, Duration::from_secs(2)).await.map(drop)
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
        CLEANUP
    }

    async fn plan(&self, cx: &HookContext) -> Result<Forecast, HookError> {
        let connection = cx.connect().await?;
        let name = &self.index.name;
        Ok(match look_up(&connection, &self.index).await? {
            Found::Nothing | Found::ValidIndex => Forecast::nothing("no invalid index to drop"),
            Found::InvalidIndex { table, .. } if is_being_built(&connection, &table).await? => {
                Forecast::work(format!("wait for another session, which is building {name}"))
            }
            Found::InvalidIndex { .. } => {
                Forecast::work(format!("drop {name}, which an interrupted build left invalid"))
            }
            Found::Other { kind } => return Err(self.in_the_way(&kind)),
        })
    }

    async fn run(&self, cx: &HookContext) -> Result<Outcome, HookError> {
        let connection = cx.connect().await?;
        let name = &self.index.name;
        let found = drop_invalid(&connection, &self.index, cx.lock_wait()).await?;
        let outcome = match found {
            Found::Nothing | Found::ValidIndex => Outcome::new("no invalid index to drop"),
            Found::InvalidIndex { .. } => {
                Outcome::new(format!("dropped {name}, which an interrupted build had left invalid"))
                    .with("dropped", name.as_str())
            }
            Found::Other { kind } => return Err(self.in_the_way(&kind)),
        };
        connection.close().await;
        Ok(outcome)
    }
}
