//! Whose hourly rollup is in force.
//!
//! The platform's own migrator brings functions and triggers of the same names. So before computing or judging buckets,
//! ask whose window is in force, and whether it knows more than this program does.

use serde::Serialize;

use crate::db::{Connection, Error};

/// A query for what the tables of the rollup have that this program does not know: one row of text, or none. What is there
/// then must not be replaced, and no bucket computed without it.
pub const UNKNOWN: &str = include_str!("unknown.sql");

/// The hook that computes every bucket again. Until it has run, they cannot be relied on.
pub const REBUILD: &str = "hourly-rebuild";

/// The rollup in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pipeline {
    /// What of it is another program's, or is missing; nothing where all of it is ours.
    pub foreign: Vec<String>,
    /// What there is that this program does not know.
    pub unknown: Option<String>,
    /// Whether a rebuild of it is due or unfinished.
    pub owed: bool,
    /// Usage and buckets have columns for cost.
    #[serde(skip)]
    pub has_cost: bool,
}

impl Pipeline {
    /// Looks at it; none if there is no rollup, or only its tables.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn read(connection: &Connection) -> Result<Option<Self>, Error> {
        const THERE: &str = "
            SELECT pg_catalog.to_regclass('task_usage') IS NOT NULL
                   AND pg_catalog.to_regclass('task_usage_hourly') IS NOT NULL
                   AND pg_catalog.to_regclass('task_usage_hourly_dirty') IS NOT NULL
                   AND pg_catalog.to_regclass('task_usage_hourly_rollup_state') IS NOT NULL
                   AND pg_catalog.to_regprocedure('rollup_task_usage_hourly_window(timestamptz,timestamptz)') IS NOT NULL AS there";
        if !connection.query_one(THERE, &[]).await?.get::<_, bool>("there") {
            return Ok(None);
        }
        let rows = connection.query(include_str!("pipeline.sql"), &[]).await?;
        let foreign = rows.iter().map(|row| row.get("what")).collect();
        let unknown = connection.query_opt(UNKNOWN, &[]).await?.map(|row| row.get("what"));
        Ok(Some(Self { foreign, unknown, owed: is_owed(connection).await?, has_cost: has_cost(connection).await? }))
    }

    /// Whether it is the rollup of this program, fitted to all that there is. Then no change of usage is lost, and its
    /// functions may be called.
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
            ([], true) => Some("the rollup is being computed again, and that has not come to its end".to_owned()),
            ([first], _) => Some(format!("the rollup in force is not this program's and loses changes: {first}")),
            ([first, more @ ..], _) => Some(format!(
                "the rollup in force is not this program's and loses changes: {first}, and {} more",
                more.len()
            )),
        }
    }

    /// Whether `migrate up` would put ours in its place.
    #[must_use]
    pub fn is_to_be_replaced(&self) -> bool {
        !self.foreign.is_empty() && self.unknown.is_none()
    }
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
    const COLUMNS: &str = "
        SELECT pg_catalog.count(*) = 6 AS costed
        FROM pg_catalog.pg_attribute a
        WHERE NOT a.attisdropped
          AND (a.attrelid = pg_catalog.to_regclass('task_usage')::oid AND a.attname = 'cost_usd_ticks'
               OR a.attrelid = pg_catalog.to_regclass('task_usage_hourly')::oid
                  AND a.attname IN ('cost_usd_ticks', 'uncosted_input_tokens', 'uncosted_output_tokens',
                                    'uncosted_cache_read_tokens', 'uncosted_cache_write_tokens'))";
    Ok(connection.query_one(COLUMNS, &[]).await?.get("costed"))
}

/// A statement as it reads where there are columns for cost: with the lines behind `--cost`; and as it reads elsewhere.
pub(super) fn fitted(sql: &str, has_cost: bool) -> String {
    if has_cost { sql.replace("--cost", "") } else { sql.to_owned() }
}
