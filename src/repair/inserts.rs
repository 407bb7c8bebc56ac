//! What another command brings into a table.

use super::rows::Column;

/// What is brought into which table.
#[derive(Clone, Debug)]
pub struct Inserts {
    /// The name under which runs are recorded.
    pub name: &'static str,
    /// The table, found along the search path.
    pub table: &'static str,
    /// The column that tells its rows apart, of type uuid. Runs make its values. It need not have an index.
    pub key: Column,
    /// The columns by which a row is looked for, because an index begins with them. No row that is inserted has NULL in one.
    pub found_by: Vec<Column>,
    /// The columns that are filled. The others get their defaults.
    pub columns: Vec<&'static str>,
}

impl Inserts {
    /// A statement for this table.
    pub(super) fn fill(&self, sql: &str) -> String {
        let records: Vec<_> = self.columns.iter().map(|column| format!("r.{column}")).collect();
        let found =
            |Column { name, sql_type }: &Column| format!("t.{name} = (b.before ->> '{name}'::text)::{sql_type}");
        let found: Vec<_> = self.found_by.iter().map(found).collect();
        sql.replace("{table}", self.table)
            .replace("{found}", &found.join(" AND "))
            .replace("{key}", self.key.name)
            .replace("{type}", self.key.sql_type)
            .replace("{columns}", &self.columns.join(", "))
            .replace("{of_record}", &records.join(", "))
    }
}
