//! What a tool's history table says, by that tool's own rules.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_postgres::Row;

use super::tables::{Tool, ToolTable};
use crate::db::{Connection, Error, in_calendar};

/// What the history of a tool says of one version, or of one file that it applies whenever that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolRow {
    /// What the tool calls it: a number, a text version, the name of a folder; for Drizzle to 0.45 the milliseconds of the
    /// journal; for a repeatable file its description.
    pub entry: String,
    /// Description, name or script, where the tool records one.
    pub described_as: Option<String>,
    /// What the tool keeps of the file's text and compares, as [`migrate_layout::Checksum`] has it.
    pub checksum: Option<String>,
    /// When it was applied. None where that is not recorded, or in no calendar.
    pub at: Option<OffsetDateTime>,
    /// What it means.
    pub state: RowState,
}

/// What a row of a tool's history means to that tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowState {
    /// It is applied.
    Applied,
    /// It and everything before it count as applied: golang-migrate's only row, Drizzle's youngest, a baseline.
    UpTo,
    /// An attempt has failed, and the tool does not go on.
    Failed,
    /// The tool began it, and nobody knows how far it came.
    Dirty,
    /// It was taken back, yet the tool would not apply it again.
    RolledBack,
    /// A file without a version, as it was last applied.
    Repeatable,
}

impl RowState {
    fn parse(text: &str) -> Self {
        match text {
            "applied" => Self::Applied,
            "up to" => Self::UpTo,
            "dirty" => Self::Dirty,
            "rolled back" => Self::RolledBack,
            "repeatable" => Self::Repeatable,
            _ => Self::Failed,
        }
    }
}

/// Reads the history of a tool, in the order in which it was written, as far as that is known. One query.
///
/// What the tool itself would apply (again) has no row here: what was undone, rolled back or deleted.
///
/// # Errors
///
/// The server's error.
pub async fn rows(connection: &Connection, table: &ToolTable) -> Result<Vec<ToolRow>, Error> {
    Ok(connection.query(&query(table), &[]).await?.iter().filter_map(tool_row).collect())
}

/// SQL for a table of which only the versions matter.
const VERSIONS: &str =
    "SELECT version::text AS entry, NULL AS described_as, NULL AS checksum, {at} AS at, NULL AS written,
    'applied' AS state FROM {table} ORDER BY version";

/// The statement. Each returns `entry`, `described_as`, `checksum`, `at` or, as text, `written`, and `state`.
fn query(table: &ToolTable) -> String {
    let (sql, at) = match table.tool {
        Tool::Sqlx => (include_str!("rows/sqlx.sql"), "installed_on"),
        Tool::GolangMigrate => (include_str!("rows/golang_migrate.sql"), ""),
        Tool::Dbmate | Tool::Rails => (VERSIONS, ""),
        Tool::UpDown => (VERSIONS, "applied_at"),
        Tool::Ecto => (VERSIONS, "inserted_at"),
        Tool::Diesel => (VERSIONS, "run_on"),
        Tool::Goose => (include_str!("rows/goose.sql"), "tstamp"),
        Tool::Refinery => (include_str!("rows/refinery.sql"), ""),
        Tool::Flyway => (include_str!("rows/flyway.sql"), "installed_on"),
        Tool::Prisma => (include_str!("rows/prisma.sql"), "finished_at"),
        Tool::Drizzle => (include_str!("rows/drizzle.sql"), ""),
        Tool::DrizzleFolders => (include_str!("rows/drizzle_folders.sql"), "applied_at"),
        Tool::Supabase => (include_str!("rows/supabase.sql"), ""),
        Tool::Atlas => (include_str!("rows/atlas.sql"), "executed_at"),
    };
    // Compared as what it is: to change the type of one that is in no calendar would be an error.
    let at = if at.is_empty() { "NULL::timestamptz".to_owned() } else { format!("({})::timestamptz", in_calendar(at)) };
    let name = if table.has("name") { "name::text" } else { "NULL" };
    let error = if table.has("error") { "error" } else { "NULL" };
    sql.replace("{table}", &table.qualified).replace("{at}", &at).replace("{name}", name).replace("{error}", error)
}

/// The row, unless it names nothing.
fn tool_row(row: &Row) -> Option<ToolRow> {
    let written: Option<String> = row.get("written");
    let written = written.and_then(|written| OffsetDateTime::parse(&written, &Rfc3339).ok());
    Some(ToolRow {
        entry: row.get::<_, Option<String>>("entry")?,
        described_as: row.get("described_as"),
        checksum: row.get("checksum"),
        at: row.get::<_, Option<OffsetDateTime>>("at").or(written),
        state: RowState::parse(row.get("state")),
    })
}
