//! Hooks: code that runs at a version boundary, before a migration that depends on it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::Version;
use super::event::{Event, SharedObserver};
use super::repeatable::Why;
use crate::db::{self, Connection, Connector, LockTimeout};

/// Work that has to be done before a migration may run.
///
/// The contract: a hook is idempotent, since every run whose migration is still pending runs it again; restartable,
/// since it may be killed at any moment; it works on connections of its own; and it ends soon after it is told to
/// stop, which statements on such connections do by themselves. An error stops the run before the migration, with
/// nothing recorded as applied.
///
/// It can meet any database whose versions below the boundary are applied, also one whose tables are empty, or, in
/// [`Hook::plan`], not there yet.
#[async_trait]
pub trait Hook: Send + Sync {
    /// The name by which operators skip it and find its runs: lower-case words joined by `-`.
    fn name(&self) -> &str;

    /// What [`Hook::run`] would do now. Must not write; its connections refuse to.
    async fn plan(&self, cx: &HookContext) -> Result<Forecast, HookError>;

    /// Does it.
    async fn run(&self, cx: &HookContext) -> Result<Outcome, HookError>;

    /// Hooks behind repeatable files whose work this one does as well, if that is owed ([`HookContext::is_owed`]).
    fn covers(&self) -> &'static [&'static str] {
        &[]
    }
}

/// Where a hook runs. As JSON, `"before": 103` or `"after": "usage_pipeline"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Boundary {
    /// Before this version.
    Before(Version),
    /// After the repeatable file of this name.
    After(Box<str>),
}

impl std::fmt::Display for Boundary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Before(version) => write!(f, "before version {version}"),
            Self::After(name) => write!(f, "after R__{name}"),
        }
    }
}

/// What a hook expects to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// Whether there is anything to do.
    pub work: bool,
    /// Completes "would …" if there is work, otherwise says why there is none.
    pub summary: String,
}

impl Forecast {
    /// It would do this: "roll up 13 months".
    pub fn work(summary: impl Into<String>) -> Self {
        Self { work: true, summary: summary.into() }
    }

    /// It would do nothing, for this reason.
    pub fn nothing(reason: impl Into<String>) -> Self {
        Self { work: false, summary: reason.into() }
    }
}

/// What a hook did.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// For a person: "rolled up 13 months".
    pub summary: String,
    /// For a program: numbers and times by name.
    pub details: serde_json::Map<String, serde_json::Value>,
}

impl Outcome {
    /// It did this.
    pub fn new(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), details: serde_json::Map::new() }
    }

    /// Adds a number or time for programs.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }
}

/// How far a hook has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// What is counted: "months".
    pub unit: &'static str,
    /// How many are done, those of an earlier run included.
    pub done: u64,
    /// How many there are.
    pub total: u64,
    /// What it has written up to now, an earlier run included.
    pub written: u64,
    /// What that counts: "buckets".
    pub written_unit: &'static str,
}

/// Why a hook failed.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The connection, or a statement.
    #[error(transparent)]
    Database(#[from] db::Error),
    /// A lock it needs was not to be had.
    #[error(transparent)]
    Lock(LockTimeout),
    /// Something it needs is not as it should be.
    #[error("{message}")]
    Failed {
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

impl HookError {
    /// Something is not as it should be.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed { message: message.into(), hint: None }
    }

    /// Something is not as it should be, and this is what to do about it.
    pub fn with_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed { message: message.into(), hint: Some(hint.into()) }
    }
}

impl From<LockTimeout> for HookError {
    fn from(error: LockTimeout) -> Self {
        match error {
            LockTimeout::Database(error) => Self::Database(error),
            timed_out @ LockTimeout::TimedOut { .. } => Self::Lock(timed_out),
        }
    }
}

/// Where a hook stands.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub boundary: Boundary,
    /// Under which its runs and its progress are kept.
    pub version: Version,
    /// Names of hooks behind repeatable files whose work has to be done.
    pub owed: Vec<String>,
    /// Why the file in front of it is to be applied.
    pub due: Option<Why>,
}

/// What a hook is given: connections, a place to keep its progress, and somebody to tell about it.
pub struct HookContext {
    set: String,
    hook: String,
    boundary: Boundary,
    version: Version,
    owed: Vec<String>,
    due: Option<Why>,
    connector: Connector,
    observer: SharedObserver,
    lock_wait: Duration,
    role: Option<String>,
    started: Instant,
    /// Units that earlier runs had done; they say nothing about the speed of this one.
    done_before: Mutex<Option<u64>>,
}

impl HookContext {
    pub(super) fn new(
        set: &str,
        hook: &str,
        at: Place,
        connector: Connector,
        observer: SharedObserver,
        lock_wait: Duration,
        role: Option<String>,
    ) -> Self {
        let Place { boundary, version, owed, due } = at;
        Self {
            set: set.to_owned(),
            hook: hook.to_owned(),
            boundary,
            version,
            owed,
            due,
            connector,
            observer,
            lock_wait,
            role,
            started: Instant::now(),
            done_before: Mutex::new(None),
        }
    }

    /// The version that the hook prepares for; behind a repeatable file, the one from which on that is applied.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the work of this hook, which stands behind a repeatable file, is owed: it was necessary when the file was
    /// applied, and has not been done to its end.
    #[must_use]
    pub fn is_owed(&self, hook: &str) -> bool {
        self.owed.iter().any(|name| name == hook)
    }

    /// The role that owns the tables, if that is not the session's own. What fires their triggers should run as this role:
    /// [`crate::db::Transaction::as_role`].
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }

    /// In [`Hook::plan`] of a hook behind a repeatable file, when that asks whether there is work: why the file is to be applied.
    #[must_use]
    pub fn due(&self) -> Option<&Why> {
        self.due.as_ref()
    }

    /// How long the operator is willing to wait for a lock.
    #[must_use]
    pub fn lock_wait(&self) -> Duration {
        self.lock_wait
    }

    /// Signals that the run is told to stop.
    #[must_use]
    pub fn cancellation(&self) -> &CancellationToken {
        self.connector.cancellation()
    }

    /// Opens a connection of the hook's own; in [`Hook::plan`], one that cannot write.
    ///
    /// # Errors
    ///
    /// As [`Connector::connect`].
    pub async fn connect(&self) -> Result<Connection, db::Error> {
        self.connector.connect(&format!("migrate: {}", self.hook)).await
    }

    /// Tells how far the hook has come.
    ///
    /// # Panics
    ///
    /// Never: the lock inside is not held across anything that could panic.
    pub fn progress(&self, progress: Progress) {
        let elapsed = self.started.elapsed();
        let done_before = {
            let mut first = self.done_before.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *first.get_or_insert(progress.done)
        };
        let done = progress.done.saturating_sub(done_before);
        let left = progress.total.saturating_sub(progress.done);
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        let eta = (done > 0 && left > 0).then(|| elapsed.mul_f64(left as f64 / done as f64));
        self.observer.event(Event::HookProgress {
            hook: self.hook.clone(),
            boundary: self.boundary.clone(),
            progress,
            elapsed,
            eta,
        });
    }

    /// What [`Self::save_state`] saved last, in this run or in one that did not get to the end.
    ///
    /// # Errors
    ///
    /// What the server says, or [`db::Error::Conversion`] if it was saved as something else.
    pub async fn load_state<T: DeserializeOwned>(&self, connection: &Connection) -> Result<Option<T>, db::Error> {
        const PRESENT: &str = "SELECT pg_catalog.to_regclass('migrate.hook_state') IS NOT NULL";
        const LOAD: &str =
            "SELECT state FROM migrate.hook_state WHERE set_name = $1 AND hook = $2 AND before_version = $3";
        if !connection.query_one(PRESENT, &[]).await?.get::<_, bool>(0) {
            return Ok(None);
        }
        let row = connection.query_opt(LOAD, &[&self.set, &self.hook, &self.version]).await?;
        let Some(row) = row else { return Ok(None) };
        serde_json::from_value(row.try_get(0)?).map(Some).map_err(|error| db::Error::Conversion {
            reason: format!("the saved state of hook {} cannot be read: {error}", self.hook),
        })
    }

    /// Saves progress. Inside a transaction it commits together with the work it stands for.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn save_state(&self, connection: &Connection, state: &impl Serialize) -> Result<(), db::Error> {
        const SAVE: &str = "
            INSERT INTO migrate.hook_state (set_name, hook, before_version, state)
            VALUES ($1, $2, $3, $4)
            ON CONFLICT (set_name, hook, before_version)
            DO UPDATE SET state = excluded.state, updated_at = excluded.updated_at";
        let state = serde_json::to_value(state).map_err(|error| db::Error::Conversion { reason: error.to_string() })?;
        connection.execute(SAVE, &[&self.set, &self.hook, &self.version, &state]).await?;
        Ok(())
    }

    /// Forgets what was saved: the work is done.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn clear_state(&self, connection: &Connection) -> Result<(), db::Error> {
        const CLEAR: &str = "DELETE FROM migrate.hook_state WHERE set_name = $1 AND hook = $2 AND before_version = $3";
        connection.execute(CLEAR, &[&self.set, &self.hook, &self.version]).await?;
        Ok(())
    }
}
