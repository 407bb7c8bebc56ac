//! Which hourly rollup is in force: this program's, or another's.
//!
//! The platform's own migrator creates functions and triggers of the same names. So before buckets are computed or compared,
//! [`Pipeline::read`] tells which are in force, and whether there is something that this program does not know.

use serde::Serialize;

use crate::db::{Connection, Error};

/// A query for what this program does not know about the tables of the rollup: one row of text, or none. If there is a row, the
/// functions must not be replaced, and no bucket computed by ours.
pub const UNKNOWN: &str = include_str!("unknown.sql");

/// The hook that computes every bucket again. Until it has run, they cannot be relied on.
pub const REBUILD: &str = "hourly-rebuild";

/// The queue that our triggers fill.
pub(super) const OWN_QUEUE: &str = "task_usage_hourly_invalidation";

/// The rollup in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pipeline {
    /// Its parts that are another program's or missing; empty if all of it is ours.
    pub foreign: Vec<String>,
    /// What this program does not know about it.
    pub unknown: Option<String>,
    /// Whether a rebuild of it is due or unfinished.
    pub owed: bool,
    /// Usage and buckets have columns for cost.
    #[serde(skip)]
    pub has_cost: bool,
}

impl Pipeline {
    /// Reads it; none if there is no rollup, or only its tables.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn read(connection: &Connection) -> Result<Option<Self>, Error> {
        const THERE: &str = "
            SELECT pg_catalog.count(pg_catalog.to_regclass(t.name)) = 4
                   AND pg_catalog.to_regprocedure('rollup_task_usage_hourly_window(timestamptz,timestamptz)') IS NOT NULL AS there
            FROM (VALUES ('task_usage'), ('task_usage_hourly'), ('task_usage_hourly_dirty'),
                         ('task_usage_hourly_rollup_state')) AS t (name)";
        if !connection.query_one(THERE, &[]).await?.get::<_, bool>("there") {
            return Ok(None);
        }
        let rows = connection.query(include_str!("pipeline.sql"), &[]).await?;
        let foreign = rows.iter().map(|row| row.get("what")).collect();
        let unknown = connection.query_opt(UNKNOWN, &[]).await?.map(|row| row.get("what"));
        Ok(Some(Self { foreign, unknown, owed: is_owed(connection).await?, has_cost: has_cost(connection).await? }))
    }

    /// Whether it is this program's, and knows all columns there are. Then no change of usage is lost, and its functions may be
    /// called.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.foreign.is_empty() && self.unknown.is_none()
    }

    /// Why `migrate up` has to be run before the buckets can be relied on, in one line.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        if self.unknown.is_some() {
            return None;
        }
        match (self.foreign.as_slice(), self.owed) {
            ([], false) => None,
            ([], true) => Some("the rollup is being rebuilt, and the rebuild has not finished".to_owned()),
            ([first], _) => Some(format!("the rollup in force is not this program's and loses changes: {first}")),
            ([first, more @ ..], _) => Some(format!(
                "the rollup in force is not this program's and loses changes: {first}, and {} more",
                more.len()
            )),
        }
    }

    /// Whether `migrate up` would replace it.
    #[must_use]
    pub fn is_to_be_replaced(&self) -> bool {
        !self.foreign.is_empty() && self.unknown.is_none()
    }
}

/// Whether there is a table of this name.
pub(super) async fn has_table(connection: &Connection, name: &str) -> Result<bool, Error> {
    const THERE: &str = "SELECT pg_catalog.to_regclass($1) IS NOT NULL AS there";
    Ok(connection.query_one(THERE, &[&name]).await?.get("there"))
}

/// The queue that our triggers fill, or, where those of an older program are in place, the one that theirs do.
pub(super) async fn queue(connection: &Connection) -> Result<&'static str, Error> {
    let own = has_table(connection, OWN_QUEUE).await?;
    Ok(if own { OWN_QUEUE } else { "task_usage_hourly_dirty" })
}

/// Whether a walk over everything is due or unfinished.
async fn is_owed(connection: &Connection) -> Result<bool, Error> {
    const KEPT: &str = "
        SELECT coalesce(pg_catalog.has_table_privilege(pg_catalog.to_regclass('migrate.repeatable'), 'SELECT')
                        AND pg_catalog.has_schema_privilege(pg_catalog.to_regnamespace('migrate')::oid, 'USAGE'), false) AS kept";
    const OWED: &str = "SELECT EXISTS (SELECT FROM migrate.repeatable r WHERE $1 = ANY (r.owed)) AS owed";
    if !connection.query_one(KEPT, &[]).await?.get::<_, bool>("kept") {
        return Ok(false);
    }
    Ok(connection.query_one(OWED, &[&REBUILD]).await?.get("owed"))
}

/// Whether usage and buckets have columns for cost, which version 213 brings.
pub(super) async fn has_cost(connection: &Connection) -> Result<bool, Error> {
    const COLUMNS: &str = include_str!("has_cost.sql");
    Ok(connection.query_one(COLUMNS, &[]).await?.get("costed"))
}

/// A statement with the lines behind `--cost` if there are columns for cost, else without them.
pub(super) fn fitted(sql: &str, has_cost: bool) -> String {
    if has_cost { sql.replace("--cost", "") } else { sql.to_owned() }
}
