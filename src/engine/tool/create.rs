//! Making a tool's history table, as the tool itself makes it.

use super::tables::{Tool, ToolTable};
use crate::db::ident;

/// The statements that make the table, and its schema where the tool makes that, too. What is there stays as it is.
#[must_use]
pub fn create(table: &ToolTable) -> String {
    let sql = match table.tool {
        Tool::Sqlx => include_str!("create/sqlx.sql"),
        Tool::GolangMigrate => {
            "CREATE TABLE IF NOT EXISTS {table} (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)"
        }
        Tool::Dbmate => "CREATE TABLE IF NOT EXISTS {table} (version varchar PRIMARY KEY)",
        Tool::Rails => "CREATE TABLE IF NOT EXISTS {table} (version varchar NOT NULL PRIMARY KEY)",
        Tool::Ecto => "CREATE TABLE IF NOT EXISTS {table} (version bigint PRIMARY KEY, inserted_at timestamp(0))",
        Tool::UpDown => include_str!("create/up_down.sql"),
        Tool::Goose => include_str!("create/goose.sql"),
        Tool::Refinery => include_str!("create/refinery.sql"),
        Tool::Flyway => include_str!("create/flyway.sql"),
        Tool::Diesel => include_str!("create/diesel.sql"),
        Tool::Prisma => include_str!("create/prisma.sql"),
        Tool::Drizzle => include_str!("create/drizzle.sql"),
        Tool::DrizzleFolders => include_str!("create/drizzle_folders.sql"),
        Tool::Supabase => include_str!("create/supabase.sql"),
        Tool::Atlas => include_str!("create/atlas.sql"),
    };
    let schema = format!("CREATE SCHEMA IF NOT EXISTS {};\n", ident(&table.schema));
    let schema = table.tool.own_schema().map_or("", |_| schema.as_str());
    let named = |behind: &str| ident(&format!("{}{behind}", table.table));
    let version = if table.is_wide() { "bigint" } else { "integer" };
    let sql = sql
        .replace("{table}", &table.qualified)
        .replace("{key}", &named("_pk"))
        .replace("{index}", &named("_s_idx"))
        .replace("{version}", version);
    format!("{schema}{}", sql.trim_end().trim_end_matches(';'))
}
