//! Tables as psql's `\d` shows them, and indexes that cannot be used.

use serde::Serialize;

use crate::db::{Connection, Error};

/// The headings of the lists below the columns, in their order.
const LISTS: [&str; 6] =
    ["Indexes", "Check constraints", "Foreign-key constraints", "Exclusion constraints", "Referenced by", "Triggers"];

/// One table.
#[derive(Clone, Debug, Serialize)]
pub struct TableShape {
    /// Its schema and its name.
    pub table: String,
    /// What it is: `Table`, `Partitioned table`, `Foreign table`.
    pub kind: String,
    /// Its columns, in their order.
    pub columns: Vec<ColumnShape>,
    /// What belongs to it: a heading, and a line each.
    pub lists: Vec<(&'static str, Vec<String>)>,
}

/// One column.
#[derive(Clone, Debug, Serialize)]
pub struct ColumnShape {
    /// Its name.
    pub column: String,
    /// Its type.
    #[serde(rename = "type")]
    pub sql_type: String,
    /// `not null`, or nothing.
    pub nullable: String,
    /// What it holds where nothing is said.
    pub default: String,
}

/// Describes these tables, each a name as SQL writes it. What is no table, or is not there, is left out.
///
/// # Errors
///
/// What the server says.
pub async fn describe(connection: &Connection, tables: &[String]) -> Result<Vec<TableShape>, Error> {
    let mut shapes: Vec<TableShape> = Vec::new();
    for row in connection.query(include_str!("describe.sql"), &[&tables]).await? {
        let text = |column| row.get::<_, Option<String>>(column).unwrap_or_default();
        let section: i32 = row.get("section");
        if section == 0 {
            shapes.push(TableShape { table: text("a"), kind: text("b"), columns: Vec::new(), lists: Vec::new() });
            continue;
        }
        let Some(shape) = shapes.last_mut() else { continue };
        let list = usize::try_from(section - 2).ok().and_then(|list| LISTS.get(list));
        match (list, shape.lists.last_mut()) {
            (None, _) => shape.columns.push(ColumnShape {
                column: text("a"),
                sql_type: text("b"),
                nullable: text("c"),
                default: text("d"),
            }),
            (Some(heading), Some((current, lines))) if current == heading => lines.push(text("a")),
            (Some(heading), _) => shape.lists.push((heading, vec![text("a")])),
        }
    }
    Ok(shapes)
}

/// Every index of the database that is not valid, with its table: an interrupted build has left it, or one is at work.
///
/// # Errors
///
/// What the server says.
pub async fn invalid_indexes(connection: &Connection) -> Result<Vec<String>, Error> {
    const INVALID: &str = "
        SELECT pg_catalog.format('%s on %s', i.indexrelid::regclass, i.indrelid::regclass) AS index
        FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
        WHERE NOT (i.indisvalid AND i.indisready) AND c.relnamespace <> 'pg_toast'::regnamespace::oid
        ORDER BY 1";
    Ok(connection.query(INVALID, &[]).await?.iter().map(|row| row.get("index")).collect())
}
