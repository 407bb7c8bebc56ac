//! Facts about the server, read once at the start of a run.

use serde::Serialize;

use super::{Connection, Error};

/// Facts about the server, the database and the role that is connected.
#[derive(Clone, Debug, Serialize)]
#[allow(clippy::struct_excessive_bools, reason = "independent answers of the server")]
pub struct ServerFacts {
    /// `server_version_num`, for example 150018.
    pub version_num: i32,
    /// The version as text, for example `15.18`.
    pub version: String,
    /// The database connected to.
    pub database: String,
    /// The role that statements run as.
    pub role: String,
    /// The schema of new objects; none if no schema of the search path exists.
    pub schema: Option<String>,
    /// Whether it is a standby, which accepts no writes.
    pub in_recovery: bool,
    /// The owner of the schema `migrate`, and a table in it, if it has tables and none is this program's.
    #[serde(rename = "foreign_books")]
    pub foreign_history: Option<(String, String)>,
    /// Whether transactions are read-only by default.
    pub read_only: bool,
    /// Whether the role may create objects in `schema`.
    pub may_create_objects: bool,
    /// Whether the role may write the schema `migrate`, or create it if it does not exist.
    #[serde(rename = "may_keep_books")]
    pub may_write_history: bool,
    /// Whether the role may read the schema `migrate`, if it exists.
    #[serde(rename = "may_read_books")]
    pub may_read_history: bool,
}

/// SQL: whether the row `c` of `pg_class`, which is in the schema `migrate`, is a table of this program.
pub(super) const OWN_TABLE: &str = "(c.relname ~ '^(file_)?history_'::text
    OR c.relname IN ('hook_run', 'hook_state', 'repeatable', 'repair_run', 'repair_change'))";

/// A name as a quoted SQL identifier.
#[must_use]
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl ServerFacts {
    /// Reads the facts.
    ///
    /// # Errors
    ///
    /// The server's error.
    pub async fn read(connection: &Connection) -> Result<Self, Error> {
        let facts = format!(
            "SELECT pg_catalog.current_setting('server_version_num')::int AS version_num,
                   pg_catalog.split_part(pg_catalog.current_setting('server_version'), ' ', 1) AS version,
                   pg_catalog.current_database()::text AS database,
                   current_user::text AS role,
                   pg_catalog.current_schema()::text AS schema,
                   pg_catalog.pg_is_in_recovery() AS in_recovery,
                   coalesce(pg_catalog.has_schema_privilege(pg_catalog.current_schema(), 'CREATE'), false) AS may_create_objects,
                   CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'migrate')
                        THEN pg_catalog.has_schema_privilege('migrate', 'USAGE') AND pg_catalog.has_schema_privilege('migrate', 'CREATE')
                        ELSE pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')
                   END AND coalesce(pg_catalog.bool_and(pg_catalog.has_table_privilege(c.oid, 'SELECT') AND pg_catalog.has_table_privilege(c.oid, 'INSERT')
                       AND pg_catalog.has_table_privilege(c.oid, 'UPDATE') AND pg_catalog.has_table_privilege(c.oid, 'DELETE')), true) AS may_write_history,
                   coalesce(pg_catalog.bool_and(pg_catalog.has_table_privilege(c.oid, 'SELECT')), true)
                   AND NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n
                                   WHERE n.nspname = 'migrate' AND NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE')) AS may_read_history,
                   pg_catalog.current_setting('default_transaction_read_only')::boolean AS read_only,
                   (SELECT pg_catalog.pg_get_userbyid(n.nspowner)::text FROM pg_catalog.pg_namespace n WHERE n.nspname = 'migrate') AS schema_owner,
                   (SELECT pg_catalog.min(f.relname)::text FROM pg_catalog.pg_class f
                    WHERE f.relkind IN ('r', 'p', 'v') AND pg_catalog.count(c.oid) = 0
                      AND f.relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'migrate')) AS foreign_table
            FROM (SELECT) one
            LEFT JOIN pg_catalog.pg_class c
                ON c.relkind = 'r'
               AND c.relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'migrate')
               AND {OWN_TABLE}"
        );
        let row = connection.query_one(&facts, &[]).await?;
        Ok(Self {
            version_num: row.get("version_num"),
            version: row.get("version"),
            database: row.get("database"),
            role: row.get("role"),
            schema: row.get("schema"),
            in_recovery: row.get("in_recovery"),
            may_create_objects: row.get("may_create_objects"),
            may_write_history: row.get("may_write_history"),
            may_read_history: row.get("may_read_history"),
            read_only: row.get("read_only"),
            foreign_history: row.get::<_, Option<_>>("schema_owner").zip(row.get("foreign_table")),
        })
    }

    /// The major version, for example 15.
    #[must_use]
    pub fn major(&self) -> i32 {
        self.version_num / 10_000
    }
}
