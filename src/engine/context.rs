//! What a hook is given: connections, a place to keep its progress, and a way to tell how far it is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Version;
use super::outcome::Progress;
use super::why::Why;
use crate::db::{self, Connection, Connector};

/// How long a lock is waited for, unless the host sets another limit.
pub(super) const LOCK_WAIT: Duration = Duration::from_mins(10);

/// Who runs a hook: is told how far it is, and keeps its progress from one run to the next.
#[async_trait]
pub trait HookHost: Send + Sync {
    /// How far the hook is; `elapsed` since it began, with an estimate of the time left where there is one.
    fn progress(&self, progress: Progress, elapsed: Duration, eta: Option<Duration>);

    /// What was saved last, in this run or in an earlier one that was stopped.
    async fn load(&self, connection: &Connection) -> Result<Option<Value>, db::Error>;

    /// Saves progress. Inside a transaction it commits together with the work it stands for.
    async fn save(&self, connection: &Connection, state: &Value) -> Result<(), db::Error>;

    /// Deletes what was saved: the work is done.
    async fn clear(&self, connection: &Connection) -> Result<(), db::Error>;
}

/// Keeps progress in memory, and drops what a hook tells.
#[derive(Default)]
struct Alone(Mutex<Option<Value>>);

impl Alone {
    fn set(&self, state: Option<Value>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

#[async_trait]
impl HookHost for Alone {
    fn progress(&self, _: Progress, _: Duration, _: Option<Duration>) {}

    async fn load(&self, _: &Connection) -> Result<Option<Value>, db::Error> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn save(&self, _: &Connection, state: &Value) -> Result<(), db::Error> {
        self.set(Some(state.clone()));
        Ok(())
    }

    async fn clear(&self, _: &Connection) -> Result<(), db::Error> {
        self.set(None);
        Ok(())
    }
}

/// Where a hook stands in a plan.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Under which its runs and its progress are kept.
    pub version: Version,
    /// Names of hooks behind repeatable files whose work has to be done.
    pub owed: Vec<String>,
    /// Why the file in front of it is to be applied.
    pub due: Option<Why>,
}

/// What a hook is given: connections, a place to keep its progress, and a way to tell how far it is.
pub struct HookContext {
    hook: String,
    place: Place,
    connector: Connector,
    host: Arc<dyn HookHost>,
    lock_wait: Duration,
    pause: Duration,
    role: Option<String>,
    started: Instant,
    /// Units that earlier runs had done; they say nothing about the speed of this one.
    done_before: Mutex<Option<u64>>,
}

impl HookContext {
    /// For the hook `name`, run by `host`. Waits for locks for ten minutes, without pauses, as the
    /// session's own role.
    #[must_use]
    pub fn new(name: impl Into<String>, connector: Connector, host: Arc<dyn HookHost>) -> Self {
        Self {
            hook: name.into(),
            place: Place { version: Version::NONE, owed: Vec::new(), due: None },
            connector,
            host,
            lock_wait: LOCK_WAIT,
            pause: Duration::ZERO,
            role: None,
            started: Instant::now(),
            done_before: Mutex::new(None),
        }
    }

    /// For a hook that is run by itself, as in a test: progress is kept in memory, and not shown.
    #[must_use]
    pub fn alone(name: impl Into<String>, connector: Connector) -> Self {
        Self::new(name, connector, Arc::new(Alone::default()))
    }

    /// Sets [`Self::role`].
    #[must_use]
    pub fn with_role(self, role: Option<String>) -> Self {
        Self { role, ..self }
    }

    /// Sets [`Self::lock_wait`].
    #[must_use]
    pub fn with_lock_wait(self, lock_wait: Duration) -> Self {
        Self { lock_wait, ..self }
    }

    /// Sets [`Self::pause`].
    #[must_use]
    pub fn with_pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    pub(super) fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// The version that the hook prepares for; behind a repeatable file, the one from which on that is applied. 0 where no
    /// migration runs it.
    #[must_use]
    pub fn version(&self) -> Version {
        self.place.version
    }

    /// Whether the work of this hook, which stands behind a repeatable file, is owed: it was necessary when the file was
    /// applied, and is not finished.
    #[must_use]
    pub fn is_owed(&self, hook: &str) -> bool {
        self.place.owed.iter().any(|name| name == hook)
    }

    /// The role that owns the tables, if that is not the session's own. What fires their triggers should run as this role:
    /// [`crate::db::Transaction::as_role`].
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }

    /// In [`Hook::plan`] of a hook behind a repeatable file, when that asks whether there is work: why the file is to be applied.
    ///
    /// [`Hook::plan`]: super::Hook::plan
    #[must_use]
    pub fn due(&self) -> Option<&Why> {
        self.place.due.as_ref()
    }

    /// How long the operator is willing to wait for a lock.
    #[must_use]
    pub fn lock_wait(&self) -> Duration {
        self.lock_wait
    }

    /// How long to pause between two transactions, to leave the server to the application; zero during an upgrade.
    #[must_use]
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Signals that the run is told to stop.
    #[must_use]
    pub fn cancellation(&self) -> &CancellationToken {
        self.connector.cancellation()
    }

    /// Opens a connection of the hook's own; in [`Hook::plan`], one that cannot write.
    ///
    /// [`Hook::plan`]: super::Hook::plan
    ///
    /// # Errors
    ///
    /// As [`Connector::connect`].
    pub async fn connect(&self) -> Result<Connection, db::Error> {
        self.connector.connect(&format!("migrate: {}", self.hook)).await
    }

    /// Tells how far the hook is.
    pub fn progress(&self, progress: Progress) {
        let elapsed = self.started.elapsed();
        let done_before = {
            let mut first = self.done_before.lock().unwrap_or_else(PoisonError::into_inner);
            *first.get_or_insert(progress.done)
        };
        let done = progress.done.saturating_sub(done_before);
        let left = progress.total.saturating_sub(progress.done);
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        let eta = (done > 0 && left > 0).then(|| elapsed.mul_f64(left as f64 / done as f64));
        self.host.progress(progress, elapsed, eta);
    }

    /// What [`Self::save_state`] saved last, in this run or in an earlier one that was stopped.
    ///
    /// # Errors
    ///
    /// What the server says, or [`db::Error::Conversion`] if it was saved as another type.
    pub async fn load_state<T: DeserializeOwned>(&self, connection: &Connection) -> Result<Option<T>, db::Error> {
        let Some(state) = self.host.load(connection).await? else { return Ok(None) };
        serde_json::from_value(state).map(Some).map_err(|error| db::Error::Conversion {
            reason: format!("the saved state of hook {} cannot be read: {error}", self.hook),
        })
    }

    /// Saves progress. Inside a transaction it commits together with the work it stands for.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn save_state(&self, connection: &Connection, state: &impl Serialize) -> Result<(), db::Error> {
        let state = serde_json::to_value(state).map_err(|error| db::Error::Conversion { reason: error.to_string() })?;
        self.host.save(connection, &state).await
    }

    /// Deletes what was saved: the work is done.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn clear_state(&self, connection: &Connection) -> Result<(), db::Error> {
        self.host.clear(connection).await
    }
}
