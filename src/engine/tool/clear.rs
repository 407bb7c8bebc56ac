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
    let which = "if all of its statements are applied, run:";
    Some(match table.tool {
        Tool::GolangMigrate if entry.starts_with('-') => format!("if nothing is applied, run: DELETE FROM {of}"),
        Tool::GolangMigrate => format!(
            "{which} UPDATE {of} SET dirty = false; if none is: UPDATE {of} SET version = <the version before>, dirty = false"
        ),
        Tool::Goose => format!("to have it applied again, run: DELETE FROM {of} WHERE version_id = {version}"),
        Tool::Prisma => format!(
            "{which} prisma migrate resolve --applied {entry}; if none is: prisma migrate resolve --rolled-back {entry}, or \
             UPDATE {of} SET rolled_back_at = pg_catalog.now() WHERE migration_name = {key} AND finished_at IS NULL"
        ),
        Tool::Flyway if row.described_as.as_deref() == Some(entry) => format!(
            "undo what it has done, then run: flyway repair, or DELETE FROM {of} WHERE version IS NULL AND description = {key} \
             AND NOT success"
        ),
        Tool::Flyway => format!(
            "undo what it has done, then run: flyway repair, or DELETE FROM {of} WHERE version = {key} AND NOT success"
        ),
        Tool::Atlas => format!(
            "{which} UPDATE {of} SET applied = total, error = '', error_stmt = '' WHERE version = {key}; if none is: \
             DELETE FROM {of} WHERE version = {key}"
        ),
        Tool::Sqlx => format!(
            "{which} UPDATE {of} SET success = true WHERE version = {version}; if none is: DELETE FROM {of} \
             WHERE version = {version}"
        ),
        _ => format!("run: DELETE FROM {of} WHERE version = {key}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleared(tool: Tool, entry: &str, described_as: Option<&str>, state: RowState) -> Option<String> {
        let table = ToolTable::planned(tool, "public", Some("t"), false);
        let described_as = described_as.map(str::to_owned);
        clears(&table, &ToolRow { entry: entry.to_owned(), described_as, checksum: None, at: None, state })
    }

    #[test]
    fn only_what_stops_a_run_is_cleared() {
        for state in [RowState::Applied, RowState::UpTo, RowState::Repeatable] {
            assert_eq!(cleared(Tool::Sqlx, "1", None, state), None);
        }
        let dirty = cleared(Tool::GolangMigrate, "-1", None, RowState::Dirty).unwrap();
        assert_eq!(dirty, "if nothing is applied, run: DELETE FROM \"public\".\"t\"");
    }

    #[test]
    fn what_an_entry_is_called_is_data() {
        let failed = cleared(Tool::Flyway, "it's", Some("it's"), RowState::Failed).unwrap();
        assert_eq!(
            failed,
            "undo what it has done, then run: flyway repair, or DELETE FROM \"public\".\"t\" WHERE version IS NULL AND \
             description = 'it''s' AND NOT success"
        );
        let failed = cleared(Tool::Atlas, "4", None, RowState::Failed).unwrap();
        let table = "\"atlas_schema_revisions\".\"t\"";
        assert_eq!(
            failed,
            format!(
                "if all of its statements are applied, run: UPDATE {table} SET applied = total, error = '', error_stmt = '' \
                 WHERE version = '4'; if none is: DELETE FROM {table} WHERE version = '4'"
            )
        );
    }
}
