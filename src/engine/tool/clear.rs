//! How an operator clears what stops a tool, after having looked.

use super::quote::{number, text};
use super::rows::{RowState, ToolRow};
use super::tables::{Tool, ToolTable};

/// What clears an entry that has failed, is dirty or was rolled back: the tool's own command where it has one, and SQL. None
/// for an entry that stops nothing.
#[must_use]
pub fn clears(table: &ToolTable, row: &ToolRow) -> Option<String> {
    if !matches!(row.state, RowState::Failed | RowState::Dirty | RowState::RolledBack) {
        return None;
    }
    let (of, entry) = (&table.qualified, &row.entry);
    let (version, key) = (number(entry), text(entry));
    Some(match table.tool {
        Tool::GolangMigrate => format!(
            "if the whole of {entry} is applied: `migrate force {entry}`, or `UPDATE {of} SET dirty = false`; if nothing \
             of it is applied, the version before it: `migrate force <version>`"
        ),
        Tool::Goose => format!(
            "goose will not apply {entry} again while it has rows: `DELETE FROM {of} WHERE version_id = {version}`"
        ),
        Tool::Prisma => format!(
            "if the whole of {entry} is applied: `prisma migrate resolve --applied {entry}`; if nothing of it is applied: \
             `prisma migrate resolve --rolled-back {entry}`, or `UPDATE {of} SET rolled_back_at = now() \
             WHERE migration_name = {key} AND finished_at IS NULL`"
        ),
        Tool::Flyway => format!(
            "undo what {entry} has done, then `flyway repair`, or `DELETE FROM {of} WHERE {} AND NOT success`",
            if row.described_as.as_deref() == Some(entry) {
                format!("version IS NULL AND description = {key}")
            } else {
                format!("version = {key}")
            }
        ),
        Tool::Atlas => format!(
            "undo what {entry} has done: `DELETE FROM {of} WHERE version = {key}`; or apply the rest of it: \
             `UPDATE {of} SET applied = total, error = '', error_stmt = '' WHERE version = {key}`"
        ),
        Tool::Sqlx => format!(
            "if the whole of {entry} is applied: `UPDATE {of} SET success = true WHERE version = {version}`; if nothing of \
             it is applied: `DELETE FROM {of} WHERE version = {version}`"
        ),
        _ => format!("`DELETE FROM {of} WHERE version = {key}`"),
    })
}
