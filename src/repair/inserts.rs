//! What another command brings into a table.

use super::rows::Column;

/// What is brought into which table.
#[derive(Clone, Debug)]
pub struct Inserts {
    /// The name under which runs are recorded.
    pub name: &'static str,
    /// The table, found along the search path.
    pub table: &'static str,
    /// Its primary key, of type uuid. Runs make its values.
    pub key: Column,
    /// The columns that are filled. The others get their defaults.
    pub columns: Vec<&'static str>,
}

impl Inserts {
    /// A statement for this table.
    pub(super) fn fill(&self, sql: &str) -> String {
        let records: Vec<_> = self.columns.iter().map(|column| format!("r.{column}")).collect();
        sql.replace("{table}", self.table)
            .replace("{key}", self.key.name)
            .replace("{type}", self.key.sql_type)
            .replace("{columns}", &self.columns.join(", "))
            .replace("{of_record}", &records.join(", "))
    }
}
