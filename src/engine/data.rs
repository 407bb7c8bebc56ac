//! What a way back drops that holds data.

use std::collections::BTreeMap;
use std::fmt;

use migrate_layout::Script;
use serde::Serialize;

use super::drops::{self, What};
use crate::db::{Connection, Error, ServerReport};

/// The SQLSTATE by which a guard tells that there are rows after all. No class of PostgreSQL's own begins with M.
const HOLDS_DATA: &str = "MD001";

/// Data that a way back drops, or may drop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// The line of the statement in the file.
    pub line: usize,
    /// What is lost.
    #[serde(flatten)]
    pub what: Lost,
}

/// What a statement of a way back loses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "loses", rename_all = "snake_case")]
pub enum Lost {
    /// A table that has rows.
    Table {
        /// The table.
        table: String,
    },
    /// A column that has values.
    Column {
        /// Its table.
        table: String,
        /// The column.
        column: String,
    },
    /// Rows of a table.
    Rows {
        /// The table.
        table: String,
    },
    /// It cannot be told.
    Unclear {
        /// What the statement does: "runs a DO block".
        statement: String,
    },
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table { table } => write!(f, "drops table {table}, which holds data"),
            Self::Column { table, column } => write!(f, "drops column {table}.{column}, which holds data"),
            Self::Rows { table } => write!(f, "deletes rows of table {table}"),
            Self::Unclear { statement } => write!(f, "{statement}: whether that drops data cannot be told"),
        }
    }
}

/// What a way back takes away: what of it holds data now, and what must not hold any when it is taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Judged {
    pub losses: Vec<Loss>,
    /// Tables, or columns of them, that hold no data.
    empty: Vec<Lost>,
}

/// Looks at the data that a way back takes away. `renamed`: an earlier file of the run gives tables other names.
pub(super) async fn judge(connection: &Connection, script: &Script, renamed: bool) -> Result<Judged, Error> {
    let drops = drops::of(script);
    let mut found = Vec::new();
    for taken in drops.taken {
        let candidates = candidates(connection, taken.what, renamed || drops.renames).await?;
        found.extend(candidates.into_iter().map(|what| Loss { line: taken.line, what }));
    }
    let mut columns = columns(found.iter().map(|loss| &loss.what));
    for (table, columns) in &mut columns {
        retain_filled(connection, table, columns).await?;
    }
    let mut judged = Judged::default();
    for loss in found {
        let holds = match &loss.what {
            Lost::Column { table, column } => columns.get(table).is_some_and(|filled| filled.contains(column)),
            what => match exists(what) {
                Some(exists) => connection.query_one(&format!("SELECT {exists} AS held"), &[]).await?.get("held"),
                None => true,
            },
        };
        if holds {
            judged.losses.push(loss);
        } else {
            judged.empty.push(loss.what);
        }
    }
    Ok(judged)
}

/// Columns by their table, so that a table is read once for all of them.
fn columns<'l>(all: impl Iterator<Item = &'l Lost>) -> BTreeMap<String, Vec<String>> {
    let mut columns: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for what in all {
        if let Lost::Column { table, column } = what {
            columns.entry(table.clone()).or_default().push(column.clone());
        }
    }
    columns
}

/// Leaves the columns that hold data.
async fn retain_filled(connection: &Connection, table: &str, columns: &mut Vec<String>) -> Result<(), Error> {
    let any = format!("SELECT {} AS held", exists_in(table, columns));
    if !connection.query_one(&any, &[]).await?.get::<_, bool>("held") {
        columns.clear();
    }
    if columns.len() > 1 {
        let each: Vec<_> = columns.iter().map(|column| format!("pg_catalog.bool_or({})", is_filled(column))).collect();
        let each = format!("SELECT ARRAY[{}] AS held FROM {table}", each.join(", "));
        let held: Vec<bool> = connection.query_one(&each, &[]).await?.get("held");
        let mut held = held.into_iter();
        columns.retain(|_| held.next() == Some(true));
    }
    Ok(())
}

/// SQL: the column has a value. A row whose columns are all NULL is one, too.
fn is_filled(column: &str) -> String {
    format!("{column} IS DISTINCT FROM NULL")
}

/// SQL: one of the columns has a value.
fn exists_in(table: &str, columns: &[String]) -> String {
    let filled: Vec<_> = columns.iter().map(|column| is_filled(column)).collect();
    format!("EXISTS (SELECT FROM {table} WHERE {})", filled.join(" OR "))
}

/// Whether a script gives tables or columns other names.
pub(super) fn renames(script: &Script) -> bool {
    drops::of(script).renames
}

/// The tables and columns that a statement means on this server.
async fn candidates(connection: &Connection, what: What, renamed: bool) -> Result<Vec<Lost>, Error> {
    const TABLE: &str = "
        SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS name
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = pg_catalog.to_regclass($1)::oid AND c.relkind IN ('r', 'p')";
    const COLUMN: &str = "
        SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS name, pg_catalog.quote_ident(a.attname) AS column, a.attgenerated <> '' AS computed
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.oid = pg_catalog.to_regclass($1)::oid AND a.attname = $2::text AND c.relkind IN ('r', 'p')";
    // A table that an inheritance or a reference leads to.
    const REFERRING: &str = "
        WITH RECURSIVE emptied (oid) AS (
            SELECT pg_catalog.to_regclass($1)::oid
            UNION
            SELECT k.conrelid FROM emptied e JOIN pg_catalog.pg_constraint k ON k.confrelid = e.oid AND k.contype = 'f'
        )
        SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS name
        FROM emptied e
        JOIN pg_catalog.pg_class c ON c.oid = e.oid AND c.relkind IN ('r', 'p')
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        ORDER BY c.oid = pg_catalog.to_regclass($1)::oid DESC, 1";
    const OF_SCHEMA: &str = "
        SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS name
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1::text AND c.relkind IN ('r', 'p')
        ORDER BY 1";
    const OF_EXTENSION: &str = "
        SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS name
        FROM pg_catalog.pg_extension e
        JOIN pg_catalog.pg_depend d
          ON d.refclassid = 'pg_catalog.pg_extension'::regclass::oid AND d.refobjid = e.oid AND d.deptype = 'e'
         AND d.classid = 'pg_catalog.pg_class'::regclass::oid
        JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind IN ('r', 'p')
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE e.extname = $1::text
        ORDER BY 1";
    let unclear = |statement: String| vec![Lost::Unclear { statement }];
    let (sql, name, made): (&str, &str, fn(String) -> Lost) = match &what {
        What::Unclear(statement) => return Ok(unclear(statement.clone())),
        What::Column { table, column } => {
            let Some(row) = connection.query_opt(COLUMN, &[table, column]).await? else {
                let what = format!("drops {table}.{column} after something was renamed");
                return Ok(if renamed { unclear(what) } else { Vec::new() });
            };
            // What is computed from other columns can be computed again.
            let (table, column) = (row.get("name"), row.get("column"));
            return Ok(if row.get("computed") { Vec::new() } else { vec![Lost::Column { table, column }] });
        }
        What::Table(table) => (TABLE, table, |table| Lost::Table { table }),
        What::Rows { table, cascades: true } => (REFERRING, table, |table| Lost::Rows { table }),
        What::Rows { table, cascades: false } => (TABLE, table, |table| Lost::Rows { table }),
        What::Schema(schema) => (OF_SCHEMA, schema, |table| Lost::Table { table }),
        What::Extension(extension) => (OF_EXTENSION, extension, |table| Lost::Table { table }),
    };
    let rows = connection.query(sql, &[&name]).await?;
    let is_table = matches!(what, What::Table(_) | What::Rows { .. });
    if rows.is_empty() && renamed && is_table {
        return Ok(unclear(format!("drops {name} after something was renamed")));
    }
    Ok(rows.iter().map(|row| made(row.get("name"))).collect())
}

/// The question whether it holds data, as SQL.
fn exists(what: &Lost) -> Option<String> {
    match what {
        Lost::Table { table } | Lost::Rows { table } => Some(format!("EXISTS (SELECT FROM {table})")),
        Lost::Column { table, column } => Some(exists_in(table, std::slice::from_ref(column))),
        Lost::Unclear { .. } => None,
    }
}

impl Judged {
    /// A statement that locks what was found empty as the way back is going to, and fails if data has come since. None if
    /// there is nothing to guard.
    pub fn guard(&self) -> Option<String> {
        let raise = |what: &Lost| {
            let message = what.to_string().replace('\'', "''");
            format!("RAISE EXCEPTION USING ERRCODE = '{HOLDS_DATA}', MESSAGE = '{message}'; ")
        };
        let lock = |table: &str, mode: &str| format!("LOCK TABLE {table} IN {mode} MODE; ");
        let mut checks = String::new();
        for what in &self.empty {
            let mode = match what {
                Lost::Table { .. } => "ACCESS EXCLUSIVE",
                Lost::Rows { .. } => "SHARE ROW EXCLUSIVE",
                Lost::Column { .. } | Lost::Unclear { .. } => continue,
            };
            if let (Lost::Table { table } | Lost::Rows { table }, Some(exists)) = (what, exists(what)) {
                checks.extend([lock(table, mode), format!("IF {exists} THEN {}END IF; ", raise(what))]);
            }
        }
        // Writers wait meanwhile: the table is read once, and again only to tell which column it is.
        for (table, columns) in columns(self.empty.iter()) {
            let any = exists_in(&table, &columns);
            checks.extend([lock(&table, "ACCESS EXCLUSIVE"), format!("IF {any} THEN ")]);
            for column in columns {
                let what = Lost::Column { table: table.clone(), column };
                checks.extend(exists(&what).map(|exists| format!("IF {exists} THEN {}END IF; ", raise(&what))));
            }
            checks += "END IF; ";
        }
        let body = format!("BEGIN {checks}END").replace('\'', "''");
        (!checks.is_empty()).then(|| format!("DO LANGUAGE plpgsql '{body}'"))
    }
}

/// What a guard has found, if the error is a guard's.
pub(super) fn found_by_guard(report: &ServerReport) -> Option<String> {
    (report.sqlstate == HOLDS_DATA).then(|| report.message.clone())
}
