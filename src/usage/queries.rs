//! Usage as the application writes and reads it.
//!
//! A row belongs to the workspace of its task's agent, never to that of its issue, and counts only when its task has a
//! runtime. Days are UTC days of the usage row's `created_at`, not of its task's.

use serde::Serialize;
use time::{Date, OffsetDateTime};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::db::{Connection, Error};

/// Four counts of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// Sent to the model, not from its cache.
    pub input: i64,
    /// Written by the model.
    pub output: i64,
    /// Read from the model's cache.
    pub cache_read: i64,
    /// Written to the model's cache.
    pub cache_write: i64,
}

impl Tokens {
    /// Four columns of a row, from `first` on.
    pub(super) fn from_row(row: &Row, first: usize) -> Self {
        Self {
            input: row.get(first),
            output: row.get(first + 1),
            cache_read: row.get(first + 2),
            cache_write: row.get(first + 3),
        }
    }
}

/// What one task used of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskUsage {
    /// The task.
    pub task_id: Uuid,
    /// Who offers the model, `codex` for example.
    pub provider: String,
    /// The model.
    pub model: String,
    /// How much.
    pub tokens: Tokens,
}

/// A row of `task_usage`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// Its id.
    pub id: Uuid,
    /// What it says.
    pub usage: TaskUsage,
    /// When it was first written.
    pub created_at: OffsetDateTime,
    /// When it was last written; none for rows from before version 72.
    pub updated_at: Option<OffsetDateTime>,
}

/// What a workspace used of a model on a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayUsage {
    /// The UTC day.
    pub day: Date,
    /// The model.
    pub model: String,
    /// How much.
    pub tokens: Tokens,
    /// By how many tasks.
    pub tasks: i64,
}

/// What a workspace used of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelUsage {
    /// The model.
    pub model: String,
    /// How much.
    pub tokens: Tokens,
    /// By how many tasks.
    pub tasks: i64,
}

/// Writes what a task has used of a model up to now. It replaces what was written before, and keeps `created_at`.
///
/// # Errors
///
/// What the server says.
pub async fn upsert(connection: &Connection, usage: &TaskUsage) -> Result<(), Error> {
    const UPSERT: &str = "
        INSERT INTO task_usage AS u (
            task_id, provider, model, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, updated_at
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, now())
        ON CONFLICT (task_id, provider, model) DO UPDATE SET
            input_tokens       = excluded.input_tokens,
            output_tokens      = excluded.output_tokens,
            cache_read_tokens  = excluded.cache_read_tokens,
            cache_write_tokens = excluded.cache_write_tokens,
            updated_at         = now()";
    let TaskUsage { task_id, provider, model, tokens } = usage;
    let Tokens { input, output, cache_read, cache_write } = tokens;
    connection.execute(UPSERT, &[task_id, provider, model, input, output, cache_read, cache_write]).await?;
    Ok(())
}

/// A task's rows, ordered by model.
///
/// # Errors
///
/// What the server says.
pub async fn of_task(connection: &Connection, task: Uuid) -> Result<Vec<UsageRow>, Error> {
    const OF_TASK: &str = "
        SELECT id, task_id, provider, model, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
               created_at, updated_at
        FROM task_usage
        WHERE task_id = $1
        ORDER BY model, provider";
    let rows = connection.query(OF_TASK, &[&task]).await?;
    let read = |row: &Row| UsageRow {
        id: row.get(0),
        usage: TaskUsage {
            task_id: row.get(1),
            provider: row.get(2),
            model: row.get(3),
            tokens: Tokens::from_row(row, 4),
        },
        created_at: row.get(8),
        updated_at: row.get(9),
    };
    Ok(rows.iter().map(read).collect())
}

/// Sums over rows `u` of tasks `t`.
const SUMS: &str = "
    coalesce(sum(u.input_tokens), 0)::bigint, coalesce(sum(u.output_tokens), 0)::bigint,
    coalesce(sum(u.cache_read_tokens), 0)::bigint, coalesce(sum(u.cache_write_tokens), 0)::bigint,
    count(DISTINCT u.task_id)";

/// The rows that count for workspace $1 since the start of the UTC day of $2.
const OF_WORKSPACE: &str = "
    FROM task_usage u
    JOIN agent_task_queue t ON t.id = u.task_id
    JOIN agent a ON a.id = t.agent_id
    WHERE a.workspace_id = $1
      AND t.runtime_id IS NOT NULL
      AND u.created_at >= date_trunc('day', $2::timestamptz, 'UTC')";

/// A workspace's usage by day and model, from the start of the UTC day of `since`; the newest day first.
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
        "SELECT {SUMS}, (u.created_at AT TIME ZONE 'UTC')::date AS day, u.model {OF_WORKSPACE}
         GROUP BY day, u.model
         ORDER BY day DESC, u.model"
    );
    let rows = connection.query(&sql, &[&workspace, &since]).await?;
    let read = |row: &Row| DayUsage {
        day: row.get(5),
        model: row.get(6),
        tokens: Tokens::from_row(row, 0),
        tasks: row.get(4),
    };
    Ok(rows.iter().map(read).collect())
}

/// A workspace's usage by model, from the start of the UTC day of `since`; the largest input and output first.
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
        "SELECT {SUMS}, u.model {OF_WORKSPACE}
         GROUP BY u.model
         ORDER BY sum(u.input_tokens + u.output_tokens) DESC, u.model"
    );
    let rows = connection.query(&sql, &[&workspace, &since]).await?;
    let read = |row: &Row| ModelUsage { model: row.get(5), tokens: Tokens::from_row(row, 0), tasks: row.get(4) };
    Ok(rows.iter().map(read).collect())
}

/// An issue's usage and the number of tasks it comes from; zeros when there is none.
///
/// # Errors
///
/// What the server says.
pub async fn of_issue(connection: &Connection, issue: Uuid) -> Result<(Tokens, i64), Error> {
    let sql = format!(
        "SELECT {SUMS}
         FROM task_usage u
         JOIN agent_task_queue t ON t.id = u.task_id
         WHERE t.issue_id = $1 AND t.runtime_id IS NOT NULL"
    );
    let row = connection.query_one(&sql, &[&issue]).await?;
    Ok((Tokens::from_row(&row, 0), row.get(4)))
}
