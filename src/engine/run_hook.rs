//! Running a hook: its record, and what is asked of it beforehand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::Value;

use super::applied::HookState;
use super::context::{HookContext, HookHost, Place};
use super::event::Event;
use super::hook::{Hook, HookError};
use super::outcome::{Boundary, Outcome, Progress};
use super::{Error, Migrator, Plan, UpOptions, Version, history};
use crate::db::{self, Connection, Connector, Observer, Program};

/// How long the record of a hook's failure may take.
const RECORDING_PATIENCE: Duration = Duration::from_secs(2);

/// Passes on what a hook tells, and keeps its progress in `migrate.hook_state`.
struct Host {
    set: String,
    hook: String,
    boundary: Boundary,
    version: Version,
    observer: Observer<Event>,
}

#[async_trait]
impl HookHost for Host {
    fn progress(&self, progress: Progress, elapsed: Duration, eta: Option<Duration>) {
        let (hook, boundary) = (self.hook.clone(), self.boundary.clone());
        self.observer.tell(Event::HookProgress { hook, boundary, progress, elapsed, eta });
    }

    async fn load(&self, connection: &Connection) -> Result<Option<Value>, db::Error> {
        const PRESENT: &str = "SELECT pg_catalog.to_regclass('migrate.hook_state') IS NOT NULL AS present";
        const LOAD: &str =
            "SELECT state FROM migrate.hook_state WHERE set_name = $1 AND hook = $2 AND before_version = $3";
        if !connection.query_one(PRESENT, &[]).await?.try_get::<_, bool>("present")? {
            return Ok(None);
        }
        let row = connection.query_opt(LOAD, &[&self.set, &self.hook, &self.version.key()]).await?;
        Ok(row.map(|row| row.try_get("state")).transpose()?)
    }

    async fn save(&self, connection: &Connection, state: &Value) -> Result<(), db::Error> {
        const SAVE: &str = "
            INSERT INTO migrate.hook_state (set_name, hook, before_version, state)
            VALUES ($1, $2, $3, $4)
            ON CONFLICT (set_name, hook, before_version)
            DO UPDATE SET state = excluded.state, updated_at = excluded.updated_at";
        connection.execute(SAVE, &[&self.set, &self.hook, &self.version.key(), state]).await?;
        Ok(())
    }

    async fn clear(&self, connection: &Connection) -> Result<(), db::Error> {
        const CLEAR: &str = "DELETE FROM migrate.hook_state WHERE set_name = $1 AND hook = $2 AND before_version = $3";
        connection.execute(CLEAR, &[&self.set, &self.hook, &self.version.key()]).await?;
        Ok(())
    }
}

impl Migrator {
    /// Asks the hooks behind repeatable files whether they have work, as the database is before anything is done: the
    /// files, and versions in front of them, replace what would tell.
    pub(super) async fn find_owed(
        &self,
        plan: &mut Plan,
        connector: Connector,
        options: &UpOptions,
    ) -> Result<(), Error> {
        let (mut owed, mut anew) = (plan.owed.clone(), Vec::new());
        for (repeatable, why) in plan.to_repeat() {
            for hook in repeatable.hooks() {
                let boundary = repeatable.boundary();
                // Asked as if nothing were owed: whether there is a new reason.
                let at = Place { version: repeatable.place(), owed: Vec::new(), due: Some(why.clone()) };
                let cx = self.hook_context(hook.as_ref(), &boundary, at, connector.clone(), options);
                let forecast = hook.plan(&cx).await.map_err(|source| hook_error(hook.as_ref(), &boundary, source))?;
                if !forecast.work {
                    continue;
                }
                anew.push(hook.name().to_owned());
                if !owed.iter().any(|name| name == hook.name()) {
                    owed.push(hook.name().to_owned());
                }
            }
        }
        plan.only_owed(&owed, anew);
        Ok(())
    }

    pub(super) fn hook_context(
        &self,
        hook: &dyn Hook,
        boundary: &Boundary,
        at: Place,
        connector: Connector,
        options: &UpOptions,
    ) -> HookContext {
        let host = Host {
            set: self.set.name().to_owned(),
            hook: hook.name().to_owned(),
            boundary: boundary.clone(),
            version: at.version,
            observer: self.observer.clone(),
        };
        HookContext::new(hook.name(), connector, Arc::new(host)).with_lock_wait(options.lock_wait).at(at)
    }

    pub(super) async fn run_hook(
        &self,
        connection: &Connection,
        hook: &dyn Hook,
        boundary: &Boundary,
        at: Place,
        role: Option<&str>,
        options: &UpOptions,
    ) -> Result<(), Error> {
        let (name, boundary) = (hook.name().to_owned(), boundary.clone());
        self.observer.tell(Event::HookStarted { hook: name.clone(), boundary: boundary.clone() });
        let started = Instant::now();
        let run = history::hook_started(connection, &self.set, &name, at.version).await?;
        let cx =
            self.hook_context(hook, &boundary, at, self.connector.clone(), options).with_role(role.map(str::to_owned));
        match hook.run(&cx).await {
            Ok(outcome) => {
                history::hook_ended(connection, run, HookState::Done, &outcome).await?;
                let duration = started.elapsed();
                self.observer.tell(Event::HookFinished { hook: name, boundary, outcome, duration });
                Ok(())
            }
            Err(source) => {
                let (state, why) = match &source {
                    HookError::Database(db::Error::Interrupted) => (HookState::Interrupted, "told to stop".to_owned()),
                    HookError::Failed { message, hint: Some(hint) }
                    | HookError::Refused { message, hint: Some(hint) } => {
                        let hint = hint.text(&Program::embedded()).unwrap_or_default();
                        (HookState::Failed, format!("{message}; {hint}"))
                    }
                    other => (HookState::Failed, other.to_string()),
                };
                let error = hook_error(hook, &boundary, source);
                // The error that matters is the hook's; a database that is gone cannot record it, and is not waited for again.
                let outcome = Outcome::new(why);
                let recording = history::hook_ended(connection, run, state, &outcome);
                match tokio::time::timeout(RECORDING_PATIENCE, recording).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!("the failure of hook {name} could not be recorded: {error}"),
                    Err(_) => tracing::debug!("the failure of hook {name} could not be recorded in time"),
                }
                Err(error)
            }
        }
    }

    pub(super) async fn skip_hook(
        &self,
        connection: &Connection,
        hook: &dyn Hook,
        boundary: &Boundary,
        version: Version,
    ) -> Result<(), Error> {
        let run = history::hook_started(connection, &self.set, hook.name(), version).await?;
        let outcome = Outcome::new("left out by --skip-hook");
        history::hook_ended(connection, run, HookState::Skipped, &outcome).await?;
        self.observer.tell(Event::HookSkipped { hook: hook.name().to_owned(), boundary: boundary.clone() });
        Ok(())
    }
}

pub(super) fn hook_error(hook: &dyn Hook, boundary: &Boundary, source: HookError) -> Error {
    match source {
        HookError::Database(db::Error::Interrupted) => Error::Interrupted,
        source => Error::Hook { hook: hook.name().to_owned(), boundary: boundary.clone(), source },
    }
}
