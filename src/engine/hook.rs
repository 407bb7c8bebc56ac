//! Hooks: code that runs at a version boundary, before a migration that depends on it.

use async_trait::async_trait;

use super::context::HookContext;
use super::outcome::{Forecast, Outcome};
use crate::db::{self, Hint, LockTimeout};

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
    fn covers(&self) -> Vec<&str> {
        Vec::new()
    }
}

/// Why a hook failed. Its `Debug` is for people.
#[derive(thiserror::Error)]
pub enum HookError {
    /// The connection, or a statement.
    #[error(transparent)]
    Database(#[from] db::Error),
    /// It could not acquire a lock.
    #[error(transparent)]
    Lock(LockTimeout),
    /// Something it needs is not as it should be.
    #[error("{message}")]
    Failed {
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: Option<Hint>,
    },
    /// It refuses to run, and has changed nothing.
    #[error("{message}")]
    Refused {
        /// Why.
        message: String,
        /// What to do about it.
        hint: Option<Hint>,
    },
}

impl HookError {
    /// Something is not as it should be.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed { message: message.into(), hint: None }
    }

    /// Something is not as it should be, and this is what to do about it.
    pub fn with_hint(message: impl Into<String>, hint: impl Into<Hint>) -> Self {
        Self::Failed { message: message.into(), hint: Some(hint.into()) }
    }

    /// It refuses to run.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Refused { message: message.into(), hint: None }
    }

    /// It refuses to run, and this is what to do about it.
    pub fn refused_with_hint(message: impl Into<String>, hint: impl Into<Hint>) -> Self {
        Self::Refused { message: message.into(), hint: Some(hint.into()) }
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
