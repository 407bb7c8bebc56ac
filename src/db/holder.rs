//! The holder of a lock, and the event of a wait for it.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};
use tokio_postgres::Row;

/// The session that holds a lock.
#[derive(Clone, Debug, Serialize)]
pub struct Holder {
    /// Process id on the server.
    pub pid: i32,
    /// Its `application_name`, if it has one.
    pub application: Option<String>,
    /// Its client address; none for a local socket.
    pub client: Option<String>,
    /// Start of its transaction, or of its session; not visible to roles without `pg_read_all_stats`.
    #[serde(with = "time::serde::rfc3339::option")]
    pub since: Option<OffsetDateTime>,
}

impl Holder {
    /// From the columns `pid`, `application`, `client` and `since`.
    pub fn from_row(row: &Row) -> Self {
        Self {
            pid: row.get("pid"),
            application: row.get("application"),
            client: row.get("client"),
            since: row.get("since"),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", self.pid)?;
        if let Some(application) = self.application.as_deref().filter(|name| !name.is_empty()) {
            write!(f, " \"{application}\"")?;
        }
        if let Some(client) = &self.client {
            write!(f, " from {client}")?;
        }
        if let Some(since) = self.since {
            let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
            let since = since.to_offset(UtcOffset::UTC).format(format).map_err(|_| fmt::Error)?;
            write!(f, " since {since}")?;
        }
        Ok(())
    }
}

/// Another session holds the lock, and this one keeps trying.
#[derive(Clone, Debug, Serialize)]
pub struct Waiting {
    /// What is waited for.
    pub what: Cow<'static, str>,
    /// Who holds it; none if that session has just ended.
    pub holder: Option<Holder>,
    /// How long the wait has lasted.
    #[serde(serialize_with = "super::as_seconds")]
    pub waited: Duration,
}
