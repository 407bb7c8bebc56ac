//! What a server says about itself, asked once at the beginning of a run.

use serde::Serialize;

use super::{Connection, Error};

/// Facts about the server, the database and the role that is connected.
#[derive(Clone, Debug, Serialize)]
#[allow(clippy::struct_excessive_bools, reason = "independent answers of the server")]
pub struct ServerFacts {
    /// `server_version_num`, for example 150018.
    pub version_num: i32,
    /// The version as people write it, for example `15.18`.
    pub version: String,
    /// The database connected to.
    pub database: String,
    /// The role that statements run as.
    pub role: String,
    /// The schema that new objects go to; none if nothing in the search path exists.
    pub schema: Option<String>,
    /// A standby, where nothing can be written.
    pub in_recovery: bool,
    /// Whose schema `migrate` is, and a table in it, if none in it is ours.
    pub foreign_history: Option<(String, String)>,
    /// Whether transactions are read-only unless they say otherwise.
    pub read_only: bool,
    /// Whether the role may create objects in `schema`.
    pub may_create_objects: bool,
    /// Whether the role may create a schema, or the schema `migrate` is there and open to it.
    pub may_write_history: bool,
    /// Whether the role may read what is in the schema `migrate`, if that is there.
    pub may_read_history: bool,
}

/// A name as it stands in SQL.
#[must_use]
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl ServerFacts {
    /// Asks the server.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn read(connection: &Connection) -> Result<Self, Error> {
        const FACTS: &str = "
            SELECT pg_catalog.current_setting('server_version_num')::int,
                   pg_catalog.split_part(pg_catalog.current_setting('server_version'), ' ', 1),
                   pg_catalog.current_database()::text,
                   current_user::text,
                   pg_catalog.current_schema()::text,
                   pg_catalog.pg_is_in_recovery(),
                   coalesce(pg_catalog.has_schema_privilege(pg_catalog.current_schema(), 'CREATE'), false),
                   CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'migrate')
                        THEN pg_catalog.has_schema_privilege('migrate', 'USAGE') AND pg_catalog.has_schema_privilege('migrate', 'CREATE')
                        ELSE pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')
                   END AND coalesce(pg_catalog.bool_and(pg_catalog.has_table_privilege(t.oid, 'SELECT') AND pg_catalog.has_table_privilege(t.oid, 'INSERT')
                       AND pg_catalog.has_table_privilege(t.oid, 'UPDATE') AND pg_catalog.has_table_privilege(t.oid, 'DELETE')), true),
                   coalesce(pg_catalog.bool_and(pg_catalog.has_table_privilege(t.oid, 'SELECT')), true)
                   AND NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n
                                   WHERE n.nspname = 'migrate' AND NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE')),
                   pg_catalog.current_setting('default_transaction_read_only')::boolean,
                   (SELECT pg_catalog.pg_get_userbyid(n.nspowner)::text FROM pg_catalog.pg_namespace n WHERE n.nspname = 'migrate'),
                   (SELECT pg_catalog.min(f.relname)::text FROM pg_catalog.pg_class f
                    WHERE f.relkind IN ('r', 'p', 'v') AND pg_catalog.count(t.oid) = 0
                      AND f.relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'migrate'))
            FROM (SELECT) one
            LEFT JOIN pg_catalog.pg_class t
                ON t.relkind = 'r'
               AND t.relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'migrate')
               AND (t.relname ~ '^history_'::text
                    OR t.relname IN ('hook_run', 'hook_state', 'repeatable', 'repair_run', 'repair_change'))";
        let row = connection.query_one(FACTS, &[]).await?;
        Ok(Self {
            version_num: row.get(0),
            version: row.get(1),
            database: row.get(2),
            role: row.get(3),
            schema: row.get(4),
            in_recovery: row.get(5),
            may_create_objects: row.get(6),
            may_write_history: row.get(7),
            may_read_history: row.get(8),
            read_only: row.get(9),
            foreign_history: row.get::<_, Option<_>>(10).zip(row.get(11)),
        })
    }

    /// The major version, for example 15.
    #[must_use]
    pub fn major(&self) -> i32 {
        self.version_num / 10_000
    }
}
