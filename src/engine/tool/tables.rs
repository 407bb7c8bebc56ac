//! The history tables of other migration tools: which of them a database has, and whose each is.
//!
//! Five tools call theirs `schema_migrations`, and most let it be called anything: so a table is told by its columns.

use std::fmt;

use tokio_postgres::Row;

use crate::db::{Connection, Error, ident};

/// A tool that records what it has applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tool {
    /// sqlx.
    Sqlx,
    /// golang-migrate.
    GolangMigrate,
    /// dbmate.
    Dbmate,
    /// A migrator that records the names of `.up.sql` files, with the time.
    UpDown,
    /// goose.
    Goose,
    /// refinery.
    Refinery,
    /// Flyway.
    Flyway,
    /// Diesel.
    Diesel,
    /// Prisma.
    Prisma,
    /// Drizzle to 0.45.
    Drizzle,
    /// Drizzle 1.0, which records names.
    DrizzleFolders,
    /// Supabase.
    Supabase,
    /// Atlas.
    Atlas,
    /// Rails. Its migrations are not SQL.
    Rails,
    /// Ecto. Its migrations are not SQL.
    Ecto,
}

/// A history table that a database has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolTable {
    /// Whose it is.
    pub tool: Tool,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// Both, quoted where that is necessary.
    pub qualified: String,
    /// Whether its bare name means it: it is the first of its name in the search path.
    pub is_visible: bool,
    /// Its columns, each with its type, as the server writes it.
    pub columns: Vec<String>,
}

impl ToolTable {
    /// A table that a tool would make: in its own schema or this one, under its own name or this one. `is_wide`: refinery was
    /// built for versions of eight bytes.
    #[must_use]
    pub fn planned(tool: Tool, schema: &str, table: Option<&str>, is_wide: bool) -> Self {
        let schema = tool.own_schema().unwrap_or(schema).to_owned();
        let table = table.unwrap_or(tool.own_name()).to_owned();
        let columns: &[&str] = match tool {
            Tool::Refinery if is_wide => &["version bigint"],
            Tool::Refinery => &["version integer"],
            Tool::Supabase => &["version text", "statements text[]", "name text"],
            Tool::DrizzleFolders => &["name text", "applied_at timestamp with time zone"],
            Tool::Atlas => {
                &["error text", "error_stmt text", "partial_hashes jsonb", "operator_version character varying"]
            }
            _ => &[],
        };
        let qualified = format!("{}.{}", ident(&schema), ident(&table));
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Self { tool, schema, table, qualified, is_visible: false, columns }
    }

    /// Whether it has a column of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        named(&self.columns, name)
    }

    /// Whether refinery, as it was built for this table, has versions of eight bytes.
    pub(super) fn is_wide(&self) -> bool {
        self.columns.iter().any(|column| column == "version bigint")
    }
}

fn named(columns: &[String], name: &str) -> bool {
    columns.iter().any(|column| column.split(' ').next() == Some(name))
}

/// What the tools call their tables, unless they are configured otherwise.
const NAMES: [&str; 10] = [
    "_sqlx_migrations",
    "schema_migrations",
    "goose_db_version",
    "refinery_schema_history",
    "flyway_schema_history",
    "schema_version",
    "__diesel_schema_migrations",
    "_prisma_migrations",
    "__drizzle_migrations",
    "atlas_schema_revisions",
];

impl Tool {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Sqlx,
        Self::GolangMigrate,
        Self::Dbmate,
        Self::UpDown,
        Self::Goose,
        Self::Refinery,
        Self::Flyway,
        Self::Diesel,
        Self::Prisma,
        Self::Drizzle,
        Self::DrizzleFolders,
        Self::Supabase,
        Self::Atlas,
        Self::Rails,
        Self::Ecto,
    ];

    /// As it is written in `migrate.toml`: the key of its layout, where it has one.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Sqlx => "sqlx",
            Self::GolangMigrate => "golang-migrate",
            Self::Dbmate => "dbmate",
            Self::UpDown => "up-down",
            Self::Goose => "goose",
            Self::Refinery => "refinery",
            Self::Flyway => "flyway",
            Self::Diesel => "diesel",
            Self::Prisma => "prisma",
            Self::Drizzle => "drizzle",
            Self::DrizzleFolders => "drizzle-folders",
            Self::Supabase => "supabase",
            Self::Atlas => "atlas",
            Self::Rails => "rails",
            Self::Ecto => "ecto",
        }
    }

    /// The tool of this key.
    #[must_use]
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.key() == key)
    }

    /// What it calls its table, unless it is configured otherwise.
    #[must_use]
    pub fn own_name(self) -> &'static str {
        match self {
            Self::Sqlx => "_sqlx_migrations",
            Self::GolangMigrate | Self::Dbmate | Self::UpDown | Self::Supabase | Self::Rails | Self::Ecto => {
                "schema_migrations"
            }
            Self::Goose => "goose_db_version",
            Self::Refinery => "refinery_schema_history",
            Self::Flyway => "flyway_schema_history",
            Self::Diesel => "__diesel_schema_migrations",
            Self::Prisma => "_prisma_migrations",
            Self::Drizzle | Self::DrizzleFolders => "__drizzle_migrations",
            Self::Atlas => "atlas_schema_revisions",
        }
    }

    /// The schema that it makes for its table, if it does.
    #[must_use]
    pub fn own_schema(self) -> Option<&'static str> {
        match self {
            Self::Drizzle | Self::DrizzleFolders => Some("drizzle"),
            Self::Supabase => Some("supabase_migrations"),
            Self::Atlas => Some("atlas_schema_revisions"),
            _ => None,
        }
    }

    /// An entry in the form in which two of one version are equal: for Flyway, 1, 1.0 and 001 are one; Rails compares numbers.
    #[must_use]
    pub fn canonical(self, entry: &str) -> String {
        let number = |part: &str| match part.trim_start_matches('0') {
            "" => "0".to_owned(),
            number => number.to_owned(),
        };
        match self {
            Self::Flyway => {
                let mut parts: Vec<_> = entry.split(['.', '_']).map(number).collect();
                while parts.len() > 1 && parts.last().is_some_and(|part| part == "0") {
                    parts.pop();
                }
                parts.join(".")
            }
            Self::Rails => number(entry),
            _ => entry.to_owned(),
        }
    }

    /// The name that it goes by, in a sentence.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Flyway => "Flyway",
            Self::Diesel => "Diesel",
            Self::Prisma => "Prisma",
            Self::Drizzle | Self::DrizzleFolders => "Drizzle",
            Self::Supabase => "Supabase",
            Self::Atlas => "Atlas",
            Self::Rails => "Rails",
            Self::Ecto => "Ecto",
            Self::UpDown => "the up-down migrator",
            Self::Sqlx | Self::GolangMigrate | Self::Dbmate | Self::Goose | Self::Refinery => self.key(),
        }
    }

    /// Whose table has these columns, each with its type. `has_metadata`: Rails keeps a table of its own beside it.
    fn of(schema: &str, columns: &[String], has_metadata: bool) -> Option<Self> {
        let has = |wanted: &[&str]| wanted.iter().all(|wanted| columns.iter().any(|column| column == wanted));
        let named = |name: &str| named(columns, name);
        let numbered = has(&["version bigint"]);
        let lone = columns.len() == 1 && has(&["version character varying"]);
        Some(match () {
            () if numbered && has(&["success boolean", "checksum bytea", "execution_time bigint"]) => Self::Sqlx,
            () if numbered && has(&["dirty boolean"]) => Self::GolangMigrate,
            () if numbered && named("inserted_at") => Self::Ecto,
            () if schema == "supabase_migrations" && has(&["version text"]) => Self::Supabase,
            () if has(&["version text", "statements text[]", "name text"]) => Self::Supabase,
            () if has(&["version text", "applied_at timestamp with time zone"]) => Self::UpDown,
            () if lone && has_metadata => Self::Rails,
            () if lone => Self::Dbmate,
            () if has(&["version_id bigint", "is_applied boolean"]) => Self::Goose,
            () if named("installed_rank") && named("script") && has(&["checksum integer"]) => Self::Flyway,
            () if named("version") && named("applied_on") && has(&["checksum character varying"]) => Self::Refinery,
            () if has(&["version character varying", "run_on timestamp without time zone"]) => Self::Diesel,
            () if named("migration_name") && named("applied_steps_count") => Self::Prisma,
            () if has(&["hash text", "created_at bigint", "name text"]) => Self::DrizzleFolders,
            () if has(&["hash text", "created_at bigint"]) => Self::Drizzle,
            () if named("version") && named("applied") && named("total") && named("hash") => Self::Atlas,
            () => return None,
        })
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// The history tables of other tools in this database, those that the search path finds first. Only the catalog is read, in
/// one statement. `also`: a table that is called something else, as it would be written in SQL.
///
/// # Errors
///
/// The server's error.
pub async fn find_tool_tables(connection: &Connection, also: Option<&str>) -> Result<Vec<ToolTable>, Error> {
    const FIND: &str = include_str!("tables.sql");
    let rows = connection.query(FIND, &[&NAMES.as_slice(), &also]).await?;
    Ok(rows.iter().filter_map(tool_table).collect())
}

/// The row's table, if a tool has made it.
fn tool_table(row: &Row) -> Option<ToolTable> {
    let (schema, columns): (String, Vec<String>) = (row.get("schema"), row.get("columns"));
    let tool = Tool::of(&schema, &columns, row.get("has_metadata"))?;
    let (table, qualified, is_visible) = (row.get("table"), row.get("qualified"), row.get("visible"));
    Some(ToolTable { tool, schema, table, qualified, is_visible, columns })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flyway_has_many_ways_to_write_one_version() {
        for entry in ["1.2", "1_2", "001.02", "1.2.0", "1.2_0.000"] {
            assert_eq!(Tool::Flyway.canonical(entry), "1.2", "{entry}");
        }
        assert_eq!(["0", "0.0", "10", "1.0.1"].map(|entry| Tool::Flyway.canonical(entry)), ["0", "0", "10", "1.0.1"]);
        assert_eq!((Tool::Dbmate.canonical("001"), Tool::Rails.canonical("001")), ("001".into(), "1".into()));
    }

    #[test]
    fn a_planned_table_is_told_as_its_tool_s() {
        for tool in Tool::ALL {
            assert_eq!(Tool::from_key(tool.key()), Some(tool));
            assert!(NAMES.contains(&tool.own_name()), "{tool}");
        }
    }
}
