//! What a rebuild is given.

use std::sync::Mutex;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::event::{RepairEvent, RepairObserver};
use super::rate::Rate;
use crate::db::{self, Connection};

/// A place to keep progress, and somebody to tell about it.
pub struct RebuildContext {
    pub(super) name: String,
    /// None in a dry run, unless there is a run to go on with.
    pub(super) run: Option<i64>,
    pub(super) role: Option<String>,
    pub(super) lock_wait: Duration,
    pub(super) pause: Duration,
    pub(super) observer: RepairObserver,
    pub(super) rate: Mutex<Option<Rate>>,
}

impl RebuildContext {
    /// Whoever owns the tables, if that is not the session's role. What fires their triggers should run as this role.
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }

    /// How long the operator is willing to wait for a lock.
    #[must_use]
    pub fn lock_wait(&self) -> Duration {
        self.lock_wait
    }

    /// How long to pause between two transactions, for the application's sake.
    #[must_use]
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Tells how far it is.
    pub fn progress(&self, unit: &'static str, done: u64, total: u64) {
        let Some(run) = self.run else { return };
        let (per_second, eta) = {
            let mut rate = self.rate.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            rate.get_or_insert_with(|| Rate::from(done)).at(done, total)
        };
        let repair = self.name.clone();
        (self.observer)(RepairEvent::RepairProgress { run, repair, unit, done, total, per_second, eta });
    }

    /// What [`Self::save`] kept last, in this execution or in one that did not get to the end.
    ///
    /// # Errors
    ///
    /// What the server says, or [`db::Error::Conversion`] if it was kept as something else.
    pub async fn load<T: DeserializeOwned>(&self, connection: &Connection) -> Result<Option<T>, db::Error> {
        const LOAD: &str = "SELECT progress FROM migrate.repair_run WHERE id = $1 AND progress IS NOT NULL";
        let Some(run) = self.run else { return Ok(None) };
        let Some(row) = connection.query_opt(LOAD, &[&run]).await? else { return Ok(None) };
        serde_json::from_value(row.try_get(0)?).map(Some).map_err(|error| db::Error::Conversion {
            reason: format!("the saved progress of run {run} cannot be read: {error}"),
        })
    }

    /// Keeps progress. Inside a transaction it commits together with the work it stands for.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn save(&self, connection: &Connection, progress: &impl Serialize) -> Result<(), db::Error> {
        const SAVE: &str = "UPDATE migrate.repair_run SET progress = $2 WHERE id = $1";
        let value =
            serde_json::to_value(progress).map_err(|error| db::Error::Conversion { reason: error.to_string() })?;
        connection.execute(SAVE, &[&self.run, &value]).await?;
        Ok(())
    }

    /// Forgets it.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn clear(&self, connection: &Connection) -> Result<(), db::Error> {
        connection.execute("UPDATE migrate.repair_run SET progress = NULL WHERE id = $1", &[&self.run]).await?;
        Ok(())
    }
}
