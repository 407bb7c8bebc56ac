//! The key of a bucket.

use serde::Serialize;
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::db::Error;

/// What identifies a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// Its hour.
    #[serde(with = "time::serde::rfc3339")]
    pub bucket_hour: OffsetDateTime,
    /// The workspace of the usage.
    pub workspace_id: Uuid,
    /// The runtime of the tasks.
    pub runtime_id: Uuid,
    /// The agent of the tasks.
    pub agent_id: Uuid,
    /// The project of their issues, if any.
    pub project_id: Option<Uuid>,
    /// The provider of the model.
    pub provider: String,
    /// The model.
    pub model: String,
}

impl Bucket {
    /// Reads the columns of the key. Names are read as bytes: without an encoding, a database may hold any bytes in them.
    pub(super) fn from_row(row: &Row) -> Result<Self, Error> {
        let name = |column| row.try_get(column).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        Ok(Self {
            bucket_hour: row.try_get("bucket_hour")?,
            workspace_id: row.try_get("workspace_id")?,
            runtime_id: row.try_get("runtime_id")?,
            agent_id: row.try_get("agent_id")?,
            project_id: row.try_get("project_id")?,
            provider: name("provider")?,
            model: name("model")?,
        })
    }
}
