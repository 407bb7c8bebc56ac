//! The missing windows as candidates of an insertion.

use async_trait::async_trait;

use super::error::ImportError;
use super::keys::Keys;
use crate::compare::{CompareError, Comparison, Counts, Reading, find_missing};
use crate::db::{self, Connection, Observer, Purpose};
use crate::metrics::METRICS;
use crate::repair::{Candidates, Column, Inserts, RepairError};

/// The name under which an import is recorded.
pub const IMPORT: &str = "import-usage";

/// What an import brings into which table.
#[must_use]
pub fn inserts() -> Inserts {
    let mut columns = vec![
        "key_id",
        "model",
        "timestamp",
        "window_start",
        "window_end",
        "project_id",
        "openai_user_id",
        "openai_api_key_id",
        "service_tier",
        "batch",
    ];
    columns.extend(METRICS.map(|metric| metric.column));
    // The first columns of usage_admin_bucket_idx. A table that was there before V1 may have no index of id.
    let found_by = [
        Column::new("key_id", "uuid"),
        Column::new("model", "text"),
        Column::new("window_start", "timestamptz"),
        Column::new("window_end", "timestamptz"),
    ];
    let key = Column::new("id", "uuid");
    Inserts { name: IMPORT, table: "usage_events", key, found_by: found_by.into(), columns }
}

/// What was found of an export.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Its rows in the range.
    pub rows: u64,
    /// Its windows that are missing, and those that are there with other numbers.
    pub counts: Counts,
}

/// Finds the missing windows of an export.
pub struct Missing {
    /// The export.
    pub comparison: Comparison,
    /// The keys that are named.
    pub keys: Keys,
    /// Told how far the reading is.
    pub observer: Observer<Reading>,
    /// What was found.
    pub found: Option<Found>,
    /// Why nothing was.
    pub error: Option<ImportError>,
}

impl Missing {
    /// Makes the candidates in a session.
    ///
    /// # Errors
    ///
    /// [`ImportError`].
    pub async fn find(&mut self, connection: &Connection) -> Result<Found, ImportError> {
        db::refuse_superuser(connection, &["usage_events"], &[], Purpose::Look).await.map_err(CompareError::from)?;
        let (rows, counts) = find_missing(connection, &self.comparison, &self.observer).await?;
        self.make_rows(connection).await?;
        let found = Found { rows, counts };
        self.found = Some(found);
        Ok(found)
    }

    async fn make_rows(&self, connection: &Connection) -> Result<(), ImportError> {
        const OBJECTS: &str = "CREATE TEMP TABLE usage_key (api_key_id text PRIMARY KEY, key_id uuid NOT NULL)";
        let columns = inserts().columns.join(", ");
        let database = |error: db::Error| ImportError::from(CompareError::from(error));
        connection.batch(OBJECTS).await.map_err(database)?;
        let like = format!("CREATE TEMP TABLE insertion AS SELECT {columns} FROM usage_events WHERE false");
        connection.batch(&like).await.map_err(database)?;
        let mut rows = Some(self.keys.rows()).filter(|rows| !rows.is_empty());
        let mut next = || Ok::<_, CompareError>(rows.take());
        connection
            .copy_in("COPY pg_temp.usage_key (api_key_id, key_id) FROM STDIN", &mut next)
            .await
            .map_err(database)??;
        connection.execute(include_str!("keys.sql"), &[]).await.map_err(database)?;
        let row = connection.query_one(include_str!("unknown.sql"), &[]).await.map_err(database)?;
        let count = |name: &str| row.get::<_, i64>(name).unsigned_abs();
        match (count("unknown"), count("without_model")) {
            (0, 0) => {}
            (0, windows) => return Err(ImportError::NoModel(windows)),
            (all, _) => return Err(ImportError::UnknownKeys { all, examples: row.get("examples") }),
        }
        let metrics: Vec<_> = (1..=METRICS.len()).map(|at| format!("d.export[{at}]")).collect();
        let sql =
            include_str!("candidates.sql").replace("{columns}", &columns).replace("{metrics}", &metrics.join(", "));
        connection.execute(&sql, &[]).await.map_err(database)?;
        Ok(())
    }
}

#[async_trait]
impl Candidates for Missing {
    async fn make(&mut self, connection: &Connection) -> Result<(), RepairError> {
        match self.find(connection).await {
            Ok(_) => Ok(()),
            Err(error) => {
                // The caller has more to say about it.
                let refused = RepairError::refused(error.to_string());
                self.error = Some(error);
                Err(refused)
            }
        }
    }
}
