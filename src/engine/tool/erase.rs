//! Taking a version back in a tool's history, as the tool itself would do it.

use super::insert::{Event, flyway};
use super::quote::{number, text};
use super::tables::{Tool, ToolTable};
use crate::Migration;

/// The statement that records a migration as taken back. `previous` is the migration that is then the last one applied: where
/// a tool keeps only that, it is written instead.
#[must_use]
pub fn delete(table: &ToolTable, migration: &Migration, previous: Option<&Migration>) -> String {
    let (entry, from) = (migration.entry(), &table.qualified);
    let (version, key) = (number(&entry.version), text(&entry.version));
    match table.tool {
        Tool::GolangMigrate => match previous {
            Some(previous) => format!(
                "DELETE FROM {from}; INSERT INTO {from} (version, dirty) VALUES ({}, false)",
                number(&previous.entry().version)
            ),
            None => format!("DELETE FROM {from}"),
        },
        Tool::Goose => format!("DELETE FROM {from} WHERE version_id = {version}"),
        Tool::Prisma => format!(
            "UPDATE {from} SET rolled_back_at = pg_catalog.now() WHERE migration_name = {key} AND rolled_back_at IS NULL"
        ),
        Tool::Drizzle => {
            format!("DELETE FROM {from} WHERE created_at = {}", entry.written_at.unwrap_or_default())
        }
        Tool::DrizzleFolders => format!("DELETE FROM {from} WHERE name = {key}"),
        Tool::Flyway => {
            let script = migration.down().map_or_else(|| migration.file(), |(down, _)| down.path.clone());
            let event = Event { version: Some(&entry.version), kind: "UNDO_SQL", script: &script };
            flyway(table, &event, &entry.described_as, None)
        }
        Tool::Sqlx | Tool::Refinery | Tool::Ecto => format!("DELETE FROM {from} WHERE version = {version}"),
        Tool::Dbmate | Tool::UpDown | Tool::Diesel | Tool::Rails | Tool::Supabase | Tool::Atlas => {
            format!("DELETE FROM {from} WHERE version = {key}")
        }
    }
}
