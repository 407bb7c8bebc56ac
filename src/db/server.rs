//! Facts about the server, read once at the start of a run.

use serde::Serialize;

use super::error::SuperuserRefused;
use super::{Connection, Error};

/// Facts about the server, the database and the role that is connected. None needs a look into a table, so that a run with
/// nothing to do stays quick.
#[derive(Clone, Debug, Serialize)]
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
    /// Whether transactions are read-only by default.
    pub read_only: bool,
}

/// What the role that is connected may do. Asked before anything is written, and where reading was refused.
#[derive(Clone, Debug)]
pub struct Rights {
    /// Whether it may create objects in the schema of new objects.
    pub may_create_objects: bool,
    /// Whether it may write the schema `migrate`, or create it if it does not exist.
    pub may_write_history: bool,
    /// Whether it may read the schema `migrate`, if it exists.
    pub may_read_history: bool,
    /// The owner of the schema `migrate`, and a table in it, if it has tables and none is this program's.
    pub foreign_history: Option<(String, String)>,
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
        const FACTS: &str = "
            SELECT pg_catalog.current_setting('server_version_num') AS version_num,
                   pg_catalog.current_setting('server_version') AS version,
                   pg_catalog.current_database()::text AS database,
                   current_user::text AS role,
                   pg_catalog.current_schema()::text AS schema,
                   pg_catalog.pg_is_in_recovery() AS in_recovery,
                   pg_catalog.current_setting('default_transaction_read_only') AS read_only,
                   pg_catalog.current_setting('is_superuser') AS superuser,
                   pg_catalog.current_schemas(true)::text[] AS schemas";
        let row = connection.query_one(FACTS, &[]).await?;
        let (superuser, schemas): (&str, Vec<String>) = (row.get("superuser"), row.get("schemas"));
        let first = schemas.iter().find(|schema| !schema.starts_with("pg_temp"));
        if let Some(first) = first.filter(|first| superuser == "on" && *first != "pg_catalog") {
            refuse_hidden_catalog(connection, row.get("role"), first).await?;
        }
        // "15.18 (Debian 15.18-1)": what follows the blank is of the package.
        let (number, version): (String, String) = (row.get("version_num"), row.get("version"));
        Ok(Self {
            version_num: number.parse().unwrap_or_default(),
            version: version.split(' ').next().unwrap_or_default().to_owned(),
            database: row.get("database"),
            role: row.get("role"),
            schema: row.get("schema"),
            in_recovery: row.get("in_recovery"),
            read_only: row.get::<_, &str>("read_only") == "on",
        })
    }

    /// The major version, for example 15.
    #[must_use]
    pub fn major(&self) -> i32 {
        self.version_num / 10_000
    }
}

impl Rights {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// The server's error.
    pub async fn read(connection: &Connection) -> Result<Self, Error> {
        let rights = include_str!("rights.sql").replace("{own_table}", OWN_TABLE);
        let row = connection.query_one(&rights, &[]).await?;
        Ok(Self {
            may_create_objects: row.get("may_create_objects"),
            may_write_history: row.get("may_write_history"),
            may_read_history: row.get("may_read_history"),
            foreign_history: row.get::<_, Option<_>>("schema_owner").zip(row.get("foreign_table")),
        })
    }
}

/// A search path that names another schema before `pg_catalog` lets that one's owner decide what `=` means. No name is left to the
/// search path here.
async fn refuse_hidden_catalog(connection: &Connection, role: String, schema: &str) -> Result<(), Error> {
    const OWNER: &str = "
        SELECT r.rolname::text AS owner, r.rolcanlogin AS may_log_in
        FROM pg_catalog.pg_namespace n
        JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) n.nspowner
        WHERE n.nspname OPERATOR(pg_catalog.=) $1::text::name AND NOT r.rolsuper";
    let Some(row) = connection.query_opt(OWNER, &[&schema]).await? else { return Ok(()) };
    Err(Error::SuperuserRefused(Box::new(SuperuserRefused {
        role,
        object: format!("schema {schema}"),
        owner: row.get("owner"),
        may_log_in: row.get("may_log_in"),
        what: Some("the search path names it before pg_catalog, so it decides what every = calls".to_owned()),
    })))
}

/// Whether two sessions are on one database of one server, whatever their URLs say. What a standby has is its primary's.
///
/// # Errors
///
/// What a server says.
pub async fn is_same_database(one: &Connection, other: &Connection) -> Result<bool, Error> {
    const PLACE: &str = "
        SELECT pg_catalog.current_database()::text AS name, pg_catalog.pg_is_in_recovery() AS standby,
               c.system_identifier AS system
        FROM pg_catalog.pg_control_system() c";
    let is_same_server = one.identity().await?.is_same(&other.identity().await?);
    let [one, other] = [one.query_one(PLACE, &[]).await?, other.query_one(PLACE, &[]).await?];
    let is_standby = one.get::<_, bool>("standby") || other.get("standby");
    let is_same_system = one.get::<_, i64>("system") == other.get::<_, i64>("system");
    let is_same_name = one.get::<_, &str>("name") == other.get::<_, &str>("name");
    Ok(is_same_name && (is_same_server || is_same_system && is_standby))
}
