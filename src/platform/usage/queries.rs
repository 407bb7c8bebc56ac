//! The queries by which the application writes and reads usage.
//!
//! A row belongs to the workspace of its task's agent, not of its issue, and counts only if its task has a runtime. Days are UTC
//! days of the usage row's `created_at`, not of its task's.

use serde::Serialize;
use time::{Date, OffsetDateTime};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::pipeline;
use crate::db::{Connection, Error, in_calendar};

/// Four counts of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// Tokens sent to the model, without those read from its cache.
    pub input: i64,
    /// Tokens written by the model.
    pub output: i64,
    /// Tokens read from the model's cache.
    pub cache_read: i64,
    /// Tokens written to the model's cache.
    pub cache_write: i64,
}

impl Tokens {
    /// The columns `<prefix>input_tokens` and so on of a row.
    pub(super) fn from_row(row: &Row, prefix: &str) -> Self {
        let count = |kind: &str| row.get(format!("{prefix}{kind}_tokens").as_str());
        Self {
            input: count("input"),
            output: count("output"),
            cache_read: count("cache_read"),
            cache_write: count("cache_write"),
        }
    }
}

/// The cost that providers have reported. Before version 213, the cost is zero and every token uncosted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// The sum over the rows with a cost, in 1e-10 US dollars.
    pub usd_ticks: i64,
    /// The tokens of the rows without a cost, to be priced otherwise.
    pub uncosted: Tokens,
}

/// The usage of one model by one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskUsage {
    /// The task.
    pub task_id: Uuid,
    /// The provider of the model, `codex` for example.
    pub provider: String,
    /// The model.
    pub model: String,
    /// Its tokens.
    pub tokens: Tokens,
    /// The cost that the provider reports, in 1e-10 US dollars; none if it reports none.
    pub cost_usd_ticks: Option<i64>,
}

/// A row of `task_usage`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// Its id.
    pub id: Uuid,
    /// Its usage.
    pub usage: TaskUsage,
    /// When it was first written.
    pub created_at: OffsetDateTime,
    /// When it was last written; none for rows from before version 72.
    pub updated_at: Option<OffsetDateTime>,
}

/// The usage of one model by a workspace on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayUsage {
    /// The UTC day.
    pub day: Date,
    /// The model.
    pub model: String,
    /// Its tokens.
    pub tokens: Tokens,
    /// Its cost.
    pub cost: Cost,
    /// The number of tasks.
    pub tasks: i64,
}

/// The usage of one model by a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelUsage {
    /// The model.
    pub model: String,
    /// Its tokens.
    pub tokens: Tokens,
    /// Its cost.
    pub cost: Cost,
    /// The number of tasks.
    pub tasks: i64,
}

/// Writes the usage of a model by a task up to now. Replaces the counts of an existing row, and keeps its `created_at`. Fails for
/// usage with a cost before version 213, which has no column for it.
///
/// # Errors
///
/// What the server says.
pub async fn upsert(connection: &Connection, usage: &TaskUsage) -> Result<(), Error> {
    const UPSERT: &str = "
        INSERT INTO task_usage AS u (
            task_id, provider, model, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, updated_at
            --cost , cost_usd_ticks
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, pg_catalog.now()
            --cost , $8
        )
        ON CONFLICT (task_id, provider, model) DO UPDATE SET
            input_tokens       = excluded.input_tokens,
            output_tokens      = excluded.output_tokens,
            cache_read_tokens  = excluded.cache_read_tokens,
            cache_write_tokens = excluded.cache_write_tokens,
            --cost cost_usd_ticks = excluded.cost_usd_ticks,
            updated_at         = pg_catalog.now()";
    let TaskUsage { task_id, provider, model, tokens, cost_usd_ticks } = usage;
    let Tokens { input, output, cache_read, cache_write } = tokens;
    let mut params: Vec<&(dyn ToSql + Sync)> = vec![task_id, provider, model, input, output, cache_read, cache_write];
    // A cost without a column for it must not be lost silently: the server reports the missing column.
    let has_cost = cost_usd_ticks.is_some() || pipeline::has_cost(connection).await?;
    if has_cost {
        params.push(cost_usd_ticks);
    }
    connection.execute(&pipeline::fitted(UPSERT, has_cost), &params).await?;
    Ok(())
}

/// A task's rows, ordered by model.
///
/// # Errors
///
/// What the server says.
pub async fn of_task(connection: &Connection, task: Uuid) -> Result<Vec<UsageRow>, Error> {
    let sql = format!(
        "SELECT u.*, {} AS created, {} AS updated
         FROM {USAGE} u WHERE u.task_id = $1 ORDER BY u.model, u.provider",
        in_calendar("u.created_at"),
        in_calendar("u.updated_at")
    );
    let rows = connection.query(&sql, &[&task]).await?;
    let read = |row: &Row| {
        let id: Uuid = row.get("id");
        Ok(UsageRow {
            id,
            usage: TaskUsage {
                task_id: row.get("task_id"),
                provider: row.get("provider"),
                model: row.get("model"),
                tokens: Tokens::from_row(row, ""),
                cost_usd_ticks: row.get("cost_usd_ticks"),
            },
            created_at: row.get::<_, Option<_>>("created").ok_or_else(|| in_no_calendar(&format!("usage row {id}")))?,
            updated_at: row.get("updated"),
        })
    };
    rows.iter().map(read).collect()
}

fn in_no_calendar(what: &str) -> Error {
    Error::Conversion { reason: format!("created_at of {what} is infinite, before the year 1, or after 9999") }
}

/// The rows of `task_usage`. If it has no column for the cost, the name refers to the column of `absent`, which is NULL.
const USAGE: &str = "(
    SELECT r.*
    FROM (SELECT NULL::bigint AS cost_usd_ticks) AS absent
    CROSS JOIN LATERAL (
        SELECT id, task_id, provider, model, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
               cost_usd_ticks, created_at, updated_at
        FROM task_usage
    ) r
)";

/// Sums over rows `u`, as text: they may exceed a bigint.
const SUMS: &str = "
    coalesce(pg_catalog.sum(u.input_tokens), 0)::text AS input_tokens,
    coalesce(pg_catalog.sum(u.output_tokens), 0)::text AS output_tokens,
    coalesce(pg_catalog.sum(u.cache_read_tokens), 0)::text AS cache_read_tokens,
    coalesce(pg_catalog.sum(u.cache_write_tokens), 0)::text AS cache_write_tokens,
    coalesce(pg_catalog.sum(u.cost_usd_ticks), 0)::text AS cost_usd_ticks,
    coalesce(pg_catalog.sum(u.input_tokens) FILTER (WHERE u.cost_usd_ticks IS NULL), 0)::text AS uncosted_input_tokens,
    coalesce(pg_catalog.sum(u.output_tokens) FILTER (WHERE u.cost_usd_ticks IS NULL), 0)::text AS uncosted_output_tokens,
    coalesce(pg_catalog.sum(u.cache_read_tokens) FILTER (WHERE u.cost_usd_ticks IS NULL), 0)::text
        AS uncosted_cache_read_tokens,
    coalesce(pg_catalog.sum(u.cache_write_tokens) FILTER (WHERE u.cost_usd_ticks IS NULL), 0)::text
        AS uncosted_cache_write_tokens,
    pg_catalog.count(DISTINCT u.task_id) AS tasks";

/// Reads one of [`SUMS`] of `what`.
fn sum(row: &Row, column: &str, what: &str) -> Result<i64, Error> {
    let text: &str = row.get(column);
    text.parse().map_err(|_| Error::Conversion {
        reason: format!(
            "{what} adds up to {text} {column}, which is more than a bigint holds; one of its rows must be wrong"
        ),
    })
}

impl Tokens {
    fn summed(row: &Row, prefix: &str, what: &str) -> Result<Self, Error> {
        let count = |kind: &str| sum(row, &format!("{prefix}{kind}_tokens"), what);
        Ok(Self {
            input: count("input")?,
            output: count("output")?,
            cache_read: count("cache_read")?,
            cache_write: count("cache_write")?,
        })
    }
}

impl Cost {
    fn summed(row: &Row, what: &str) -> Result<Self, Error> {
        Ok(Self { usd_ticks: sum(row, "cost_usd_ticks", what)?, uncosted: Tokens::summed(row, "uncosted_", what)? })
    }
}

/// The rows that count for workspace $1 since the start of the UTC day of $2.
const OF_WORKSPACE: &str = "
    JOIN agent_task_queue t ON t.id = u.task_id
    JOIN agent a ON a.id = t.agent_id
    WHERE a.workspace_id = $1
      AND t.runtime_id IS NOT NULL
      AND u.created_at >= pg_catalog.date_trunc('day', $2::timestamptz, 'UTC')";

/// A workspace's usage by day and model from the start of the UTC day of `since`, newest day first.
///
/// # Errors
///
/// What the server says.
pub async fn by_day_and_model(
    connection: &Connection,
    workspace: Uuid,
    since: OffsetDateTime,
) -> Result<Vec<DayUsage>, Error> {
    let sql = format!(
        "SELECT {SUMS}, ({} AT TIME ZONE 'UTC')::date AS day, u.model
         FROM {USAGE} u {OF_WORKSPACE}
         GROUP BY day, u.model
         ORDER BY day DESC, u.model",
        in_calendar("u.created_at")
    );
    let rows = connection.query(&sql, &[&workspace, &since]).await?;
    let read = |row: &Row| {
        let model: String = row.get("model");
        let day: Date =
            row.get::<_, Option<_>>("day").ok_or_else(|| in_no_calendar(&format!("usage of model {model}")))?;
        let what = format!("usage of model {model} on {day}");
        Ok(DayUsage {
            day,
            model,
            tokens: Tokens::summed(row, "", &what)?,
            cost: Cost::summed(row, &what)?,
            tasks: row.get("tasks"),
        })
    };
    rows.iter().map(read).collect()
}

/// A workspace's usage by model from the start of the UTC day of `since`, largest input and output first.
///
/// # Errors
///
/// What the server says.
pub async fn by_model(
    connection: &Connection,
    workspace: Uuid,
    since: OffsetDateTime,
) -> Result<Vec<ModelUsage>, Error> {
    let sql = format!(
        "SELECT {SUMS}, u.model
         FROM {USAGE} u {OF_WORKSPACE}
         GROUP BY u.model
         ORDER BY pg_catalog.sum(u.input_tokens) + pg_catalog.sum(u.output_tokens) DESC, u.model"
    );
    let rows = connection.query(&sql, &[&workspace, &since]).await?;
    let read = |row: &Row| {
        let model: String = row.get("model");
        let what = format!("usage of model {model}");
        let (tokens, cost) = (Tokens::summed(row, "", &what)?, Cost::summed(row, &what)?);
        Ok(ModelUsage { model, tokens, cost, tasks: row.get("tasks") })
    };
    rows.iter().map(read).collect()
}

/// An issue's usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IssueUsage {
    /// Its tokens.
    pub tokens: Tokens,
    /// Its cost.
    pub cost: Cost,
    /// The number of tasks.
    pub tasks: i64,
}

/// Reads an issue's usage; zeros if there is none.
///
/// # Errors
///
/// What the server says.
pub async fn of_issue(connection: &Connection, issue: Uuid) -> Result<IssueUsage, Error> {
    let sql = format!(
        "SELECT {SUMS}
         FROM {USAGE} u
         JOIN agent_task_queue t ON t.id = u.task_id
         WHERE t.issue_id = $1 AND t.runtime_id IS NOT NULL"
    );
    let row = connection.query_one(&sql, &[&issue]).await?;
    let what = format!("usage of issue {issue}");
    let (tokens, cost) = (Tokens::summed(&row, "", &what)?, Cost::summed(&row, &what)?);
    Ok(IssueUsage { tokens, cost, tasks: row.get("tasks") })
}
