//! `codex-cache`: Codex usage from before the ingestion fix counts cached input twice.
//!
//! `input_tokens` of such a row includes `cache_read_tokens`. A corrected row gets an `updated_at` after the cutoff, so it is never
//! corrected twice.

use async_trait::async_trait;
use clap::Args;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::db::{Connection, Hint};
use crate::derived::HOURLY;
use crate::repair::{Column, Counts, Names, Owner, Repair, RepairError, Rows};

/// The repair `codex-cache`, with the arguments that select its rows.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
#[allow(clippy::doc_markdown, reason = "shown as help, where backticks are noise")]
pub struct CodexCache {
    /// When the first instance of the fixed ingestion was deployed, with a zone: 2026-03-01T14:00:00Z. Rows last written
    /// before it are repaired. Must lie in the past.
    #[arg(long, value_name = "TIME", value_parser = time_with_zone)]
    #[serde(with = "time::serde::rfc3339")]
    cutoff: OffsetDateTime,

    /// Only this workspace.
    #[arg(long, value_name = "UUID", value_parser = uuid)]
    workspace_id: Option<Uuid>,
}

fn uuid(text: &str) -> Result<Uuid, String> {
    Uuid::try_parse(text).map_err(|_| "expected a UUID, such as 8e296a06-7f0c-4d0e-9d7b-2f1a6f5c3b21".to_owned())
}

fn time_with_zone(text: &str) -> Result<OffsetDateTime, String> {
    let expected = "expected a date, a time and a zone, such as 2026-03-01T14:00:00Z or 2026-03-01T14:00:00+02:00";
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| expected.to_owned())?;
    // The same moment in two zones is one argument. The server has microseconds.
    let time = time.to_offset(time::UtcOffset::UTC);
    let time = time.replace_nanosecond(time.microsecond() * 1000).map_err(|_| expected.to_owned())?;
    if (1970..9999).contains(&time.year()) { Ok(time) } else { Err("expected a year from 1970 on".to_owned()) }
}

impl CodexCache {
    fn moment(&self) -> String {
        self.cutoff.format(&Rfc3339).unwrap_or_default()
    }
}

#[async_trait]
impl Repair for CodexCache {
    fn name() -> &'static str {
        "codex-cache"
    }

    fn about() -> &'static str {
        "Take cached input out of the input tokens of Codex usage from before the ingestion fix, where it counts twice"
    }

    fn rows() -> Rows {
        let input = Column::new("input_tokens", "bigint");
        let becomes = "greatest(u.input_tokens - u.cache_read_tokens, 0)";
        Rows {
            stamps: vec!["updated_at"],
            rests_on: vec![Column::new("cache_read_tokens", "bigint")],
            counts: Some(Counts { name: "clamped_rows", condition: "u.input_tokens < u.cache_read_tokens" }),
            owner: Some(Owner {
                name: "workspace",
                joins: "LEFT JOIN agent_task_queue t ON t.id = u.task_id LEFT JOIN agent a ON a.id = t.agent_id",
                expression: "a.workspace_id",
            }),
            names: Names::new("input_before", "input_after", "input_tokens_removed"),
            derived: Some(&HOURLY),
            ..Rows::new("task_usage", Column::new("id", "uuid"), "created_at", input, becomes)
        }
    }

    fn eligible(&self) -> String {
        let of_workspace = self.workspace_id.map_or_else(String::new, |workspace| {
            format!(
                "
             AND EXISTS (
                 SELECT FROM agent_task_queue t JOIN agent a ON a.id = t.agent_id
                 WHERE t.id = u.task_id AND a.workspace_id = '{workspace}'
             )"
            )
        });
        format!(
            "u.provider = 'codex'
             AND u.cache_read_tokens > 0
             AND u.input_tokens > 0
             AND coalesce(u.updated_at, u.created_at) < '{}'::timestamptz{of_workspace}",
            self.moment()
        )
    }

    fn cutoff(&self) -> Option<String> {
        Some(self.moment())
    }

    async fn check(&self, connection: &Connection) -> Result<(), RepairError> {
        const THERE: &str = "
            SELECT pg_catalog.to_regclass('task_usage') IS NOT NULL AS has_table,
                   EXISTS (SELECT FROM pg_catalog.pg_attribute
                           WHERE attrelid = pg_catalog.to_regclass('task_usage')::oid AND attname = 'updated_at' AND NOT attisdropped) AS has_column";
        const IN_THE_PAST: &str = "
            SELECT $1::timestamptz < c.now AS past, pg_catalog.to_json(pg_catalog.date_trunc('second', c.now)) #>> '{}'::text[] AS now
            FROM (SELECT pg_catalog.clock_timestamp() AS now) c";
        let row = connection.query_one(THERE, &[]).await?;
        if !row.get::<_, bool>("has_table") {
            return Err(RepairError::refused_with_hint(
                "there is no table task_usage in this database",
                "check the URL, and the search path",
            ));
        }
        if !row.get::<_, bool>("has_column") {
            return Err(RepairError::refused_with_hint(
                "task_usage has no column updated_at, which says whether a row is from before the cutoff",
                Hint::of(|program| format!("{} first", program.run_up())),
            ));
        }
        let row = connection.query_one(IN_THE_PAST, &[&self.cutoff]).await?;
        if !row.get::<_, bool>("past") {
            let now: String = row.get("now");
            return Err(RepairError::refused_with_hint(
                format!(
                    "the cutoff {} is not in the past: the database's clock is at {now}, and correct rows written before \
                     the cutoff would be reduced",
                    self.moment()
                ),
                "give the time at which the fix was deployed",
            ));
        }
        if let Some(workspace) = self.workspace_id {
            let known = "SELECT EXISTS (SELECT FROM workspace WHERE id = $1) AS known";
            if !connection.query_one(known, &[&workspace]).await?.get::<_, bool>("known") {
                return Err(RepairError::refused(format!("there is no workspace {workspace} in this database")));
            }
        }
        Ok(())
    }
}
