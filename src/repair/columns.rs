//! The columns of a table.

use serde::{Deserialize, Serialize};

use super::rows::Rows;
use crate::db::{self, Connection, ident};

/// Types whose values are hashed as they are. Others are hashed as text.
const HASHED: [&str; 12] = [
    "uuid",
    "text",
    "bigint",
    "integer",
    "smallint",
    "boolean",
    "date",
    "numeric",
    "jsonb",
    "timestamp with time zone",
    "timestamp without time zone",
    "character varying",
];

/// A column that exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Present {
    pub name: String,
    #[serde(rename = "type")]
    pub of_type: String,
}

/// All columns of the table, in order; none if the table does not exist.
pub(super) async fn of_table(connection: &Connection, table: &str) -> Result<Vec<Present>, db::Error> {
    const COLUMNS: &str = "
        SELECT a.attname::pg_catalog.text AS name, pg_catalog.format_type(a.atttypid, NULL) AS of_type
        FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = pg_catalog.to_regclass($1)::oid AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attnum";
    let rows = connection.query(COLUMNS, &[&table]).await?;
    rows.iter().map(|row| Ok(Present { name: row.try_get("name")?, of_type: row.try_get("of_type")? })).collect()
}

/// The columns that a correction does not change.
pub(super) fn others(present: &[Present], rows: &Rows) -> Vec<Present> {
    let changed =
        |name: &str| rows.stamps.contains(&name) || rows.corrects.iter().any(|(column, _)| column.name == name);
    present.iter().filter(|column| !changed(&column.name)).cloned().collect()
}

/// A hash of these columns of the row `u`.
pub(super) fn hash(columns: &[Present]) -> String {
    let values: Vec<String> = columns
        .iter()
        .map(|Present { name, of_type }| {
            let cast = if HASHED.contains(&of_type.as_str()) { "" } else { "::pg_catalog.text" };
            format!("u.{}{cast}", ident(name))
        })
        .collect();
    format!("pg_catalog.hash_record_extended(ROW({}), 0)", values.join(", "))
}

/// A row source `u` with the values of the row `u`, except for the columns in `instead`.
pub(super) fn with(present: &[Present], instead: &[(&str, String)]) -> String {
    let values: Vec<String> = present
        .iter()
        .map(|Present { name, of_type: _ }| {
            let column = ident(name);
            match instead.iter().find(|(changed, _)| changed == name) {
                Some((_, value)) => format!("({value}) AS {column}"),
                None => format!("u.{column} AS {column}"),
            }
        })
        .collect();
    format!("(SELECT {}) AS u", values.join(", "))
}
