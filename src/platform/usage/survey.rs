//! What there is to roll up.

use time::OffsetDateTime;

use super::RollupError;
use super::pipeline::has_table;
use crate::db::{Connection, Error};

/// What there is to roll up.
#[derive(Clone, Debug)]
pub enum Survey {
    /// There is no table `task_usage`.
    NoUsage,
    /// The tables or functions of the hourly rollup are not there (yet).
    NoPipeline(Extent),
    /// The state row is missing: someone has deleted it.
    NoState,
    /// Everything is there.
    Ready(Extent),
}

/// The span of usage, and the watermark.
#[derive(Clone, Debug)]
pub struct Extent {
    /// The earliest change of a usage row, as the server writes it; none if there is no usage.
    pub earliest: Option<String>,
    /// The latest change, or now if that is in the future.
    pub latest: Option<String>,
    /// The watermark.
    pub watermark: String,
    /// Seconds from the watermark to the latest change; negative if the watermark is later. None without usage.
    pub lag: Option<f64>,
}

/// The columns that tell when a row last changed.
#[derive(Clone, Copy)]
struct Columns {
    updated_at: bool,
}

impl Columns {
    fn fill(self, sql: &str) -> String {
        let (changed, legacy) =
            if self.updated_at { ("u.updated_at", "u.updated_at IS NULL") } else { ("u.created_at", "false") };
        sql.replace("{changed}", changed).replace("{legacy}", legacy)
    }
}

async fn columns(connection: &Connection) -> Result<Option<Columns>, Error> {
    const COLUMNS: &str = "
        SELECT EXISTS (SELECT FROM pg_catalog.pg_attribute a
                       WHERE a.attrelid = c.oid AND a.attname = 'updated_at' AND NOT a.attisdropped) AS updated_at
        FROM (SELECT pg_catalog.to_regclass('task_usage')::oid AS oid) c
        WHERE c.oid IS NOT NULL";
    let row = connection.query_opt(COLUMNS, &[]).await?;
    Ok(row.map(|row| Columns { updated_at: row.get("updated_at") }))
}

impl Survey {
    /// Reads a few index entries, whatever the size of the table.
    ///
    /// # Errors
    ///
    /// [`RollupError`].
    pub async fn read(connection: &Connection) -> Result<Self, RollupError> {
        const PIPELINE: &str = "
            SELECT pg_catalog.to_regclass('task_usage_hourly_rollup_state') IS NOT NULL AS state,
                   pg_catalog.to_regclass('task_usage_hourly') IS NOT NULL
                   AND pg_catalog.to_regprocedure('rollup_task_usage_hourly_window(timestamptz,timestamptz)') IS NOT NULL
                   AND pg_catalog.to_regprocedure('task_usage_hourly_horizon()') IS NOT NULL AS functions";
        let Some(columns) = columns(connection).await? else { return Ok(Self::NoUsage) };
        refuse_impossible_times(connection, columns).await?;

        let row = connection.query_one(PIPELINE, &[]).await?;
        let (state, functions): (bool, bool) = (row.get("state"), row.get("functions"));
        let watermark = if state {
            "(SELECT watermark_at FROM task_usage_hourly_rollup_state WHERE id = 1)"
        } else {
            "'epoch'::timestamptz"
        };
        let sql = columns.fill(include_str!("survey.sql")).replace("{watermark}", watermark);
        let row = connection.query_one(&sql, &[]).await?;
        let Some(watermark) = row.try_get("watermark")? else { return Ok(Self::NoState) };
        let extent = Extent {
            earliest: row.try_get("earliest")?,
            latest: row.try_get("latest")?,
            watermark,
            lag: row.try_get("lag")?,
        };
        Ok(if state && functions { Self::Ready(extent) } else { Self::NoPipeline(extent) })
    }
}

/// Every pass over a row in no calendar would fail, or leave it out. So such a row is refused first, by name.
async fn refuse_impossible_times(connection: &Connection, columns: Columns) -> Result<(), RollupError> {
    const IMPOSSIBLE: &str = include_str!("impossible_time.sql");
    let checked: &[&str] = if columns.updated_at { &["created_at", "updated_at"] } else { &["created_at"] };
    for column in checked {
        if let Some(row) = connection.query_opt(&IMPOSSIBLE.replace("{column}", column), &[]).await? {
            let column = (*column).to_owned();
            return Err(RollupError::UsageWithoutHour { id: row.get("id"), column, value: row.get("value") });
        }
    }
    Ok(())
}

/// One UTC month that holds usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Month {
    pub starts: OffsetDateTime,
    pub ends: OffsetDateTime,
}

/// The months that hold usage, or buckets if those are asked for, ascending.
pub(super) async fn months(connection: &Connection, with_buckets: bool) -> Result<Vec<Month>, Error> {
    let Some(columns) = columns(connection).await? else { return Ok(Vec::new()) };
    let buckets = with_buckets && has_table(connection, "task_usage_hourly").await?;
    let buckets = if buckets { "task_usage_hourly" } else { "(SELECT NULL::timestamptz AS bucket_hour)" };
    let rows = connection.query(&columns.fill(include_str!("months.sql")).replace("{buckets}", buckets), &[]).await?;
    Ok(rows.iter().map(|row| Month { starts: row.get("starts"), ends: row.get("ends") }).collect())
}

/// How many usage rows there are: exact up to a million, the planner's estimate above.
pub(super) async fn rows(connection: &Connection) -> Result<i64, Error> {
    const ENOUGH: i64 = 1_000_000;
    let row = connection
        .query_one(
            "SELECT pg_catalog.count(*) AS counted FROM (SELECT FROM task_usage LIMIT $1::bigint + 1) r",
            &[&ENOUGH],
        )
        .await?;
    let counted: i64 = row.get("counted");
    if counted <= ENOUGH {
        return Ok(counted);
    }
    let row = connection.query_one("EXPLAIN (FORMAT JSON) SELECT FROM task_usage", &[]).await?;
    let plan: serde_json::Value = row.get("QUERY PLAN");
    #[allow(clippy::cast_possible_truncation, reason = "an estimate")]
    let estimate = plan[0]["Plan"]["Plan Rows"].as_f64().unwrap_or(0.0) as i64;
    Ok(estimate.max(counted))
}
