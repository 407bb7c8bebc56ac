//! Rebuilding derived data: a hook, run on demand and recorded as a run.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::RepairError;
use super::access::owner;
use super::event::RepairEvent;
use super::gate;
use super::journal;
use super::outcome::Pacing;
use super::rate::Rate;
use super::repairer::Repairer;
use super::runs::{self, RunState};
use crate::db::{self, Connection, Connector, Observer};
use crate::engine::{Forecast, HookContext, HookHost, Outcome, Progress};

/// The result of a rebuild.
#[derive(Clone, Debug)]
pub enum Rebuilt {
    /// There was nothing to do, for this reason. Nothing was written.
    NothingToDo(String),
    /// It is done, and recorded as this run.
    Done(i64, Outcome),
}

/// Reports the hook's progress, and saves it in the run's record.
struct Host {
    name: String,
    /// None in a dry run, unless there is a run to continue.
    run: Option<i64>,
    observer: Observer<RepairEvent>,
    rate: Mutex<Option<Rate>>,
}

#[async_trait]
impl HookHost for Host {
    fn progress(&self, progress: Progress, _: Duration, _: Option<Duration>) {
        let Some(run) = self.run else { return };
        let Progress { unit, done, total, .. } = progress;
        let (per_second, eta) = {
            let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
            rate.get_or_insert_with(|| Rate::from(done)).at(done, total)
        };
        let repair = self.name.clone();
        self.observer.tell(RepairEvent::RepairProgress { run, repair, unit, done, total, per_second, eta });
    }

    async fn load(&self, connection: &Connection) -> Result<Option<Value>, db::Error> {
        const LOAD: &str = "SELECT progress FROM migrate.repair_run WHERE id = $1 AND progress IS NOT NULL";
        let Some(run) = self.run else { return Ok(None) };
        let row = connection.query_opt(LOAD, &[&run]).await?;
        Ok(row.map(|row| row.try_get("progress")).transpose()?)
    }

    async fn save(&self, connection: &Connection, state: &Value) -> Result<(), db::Error> {
        const SAVE: &str = "UPDATE migrate.repair_run SET progress = $2 WHERE id = $1";
        connection.execute(SAVE, &[&self.run, state]).await?;
        Ok(())
    }

    async fn clear(&self, connection: &Connection) -> Result<(), db::Error> {
        connection.execute("UPDATE migrate.repair_run SET progress = NULL WHERE id = $1", &[&self.run]).await?;
        Ok(())
    }
}

impl Repairer {
    /// What a rebuild would do. Writes nothing.
    ///
    /// # Errors
    ///
    /// [`RepairError`].
    pub async fn forecast(&self, name: &str, arguments: &Value) -> Result<Forecast, RepairError> {
        let (_, hook) = self.repairs.rebuild(name, arguments)?;
        let connection = self.to_look().await?;
        let unfinished = runs::unfinished(&connection, &self.set, name, arguments).await?;
        connection.close().await;
        let cx = self.context(self.connector.clone().read_only(), name, unfinished.map(|run| run.id));
        Ok(hook.plan(&cx).await?)
    }

    /// Plans, and rebuilds. A rebuild uses only the pause and the lock wait of `pacing`.
    ///
    /// # Errors
    ///
    /// [`RepairError`]. Committed work stays; the next execution with the same arguments continues.
    pub async fn rebuild(&self, name: &str, arguments: &Value, pacing: &Pacing) -> Result<Rebuilt, RepairError> {
        self.repairs.rebuild(name, arguments)?;
        let (lock, session) = self.acquire(pacing.lock_wait).await?;
        let result = Box::pin(self.run_rebuild(&session, name, arguments, pacing)).await;
        self.after().await;
        session.close().await;
        lock.release().await;
        result
    }

    async fn run_rebuild(
        &self,
        session: &Connection,
        name: &str,
        arguments: &Value,
        pacing: &Pacing,
    ) -> Result<Rebuilt, RepairError> {
        let (derived, hook) = self.repairs.rebuild(name, arguments)?;
        journal::may_write(session).await?;
        journal::interrupt_killed_runs(session).await?;
        let role = owner(session, derived.source(), Some(derived)).await?;
        let unfinished = runs::unfinished(session, &self.set, name, arguments).await?.map(|unfinished| unfinished.id);
        let context = |connector, run| {
            let cx = self.context(connector, name, run).with_role(role.clone());
            cx.with_lock_wait(pacing.lock_wait).with_pause(pacing.sleep_between_batches)
        };
        let plan = hook.plan(&context(self.connector.clone().read_only(), unfinished)).await?;
        if plan.work {
            self.before_rebuild(name, arguments, &plan).await?;
            journal::prepare(session, role.as_deref()).await?;
        }
        let authorised = match gate::rebuild(session, &self.set, (name, arguments), (hook, plan), unfinished).await? {
            Ok(authorised) => authorised,
            Err(nothing) => return Ok(Rebuilt::NothingToDo(nothing.summary)),
        };
        let run = authorised.run();
        match authorised.what().run(&context(self.connector.clone(), Some(run))).await {
            Ok(outcome) => {
                journal::close(session, run, RunState::Done, Some(&Value::Object(outcome.details.clone()))).await?;
                Ok(Rebuilt::Done(run, outcome))
            }
            Err(error) => {
                let error = error.into();
                journal::close_after(session, run, &error).await;
                Err(error)
            }
        }
    }

    fn context(&self, connector: Connector, name: &str, run: Option<i64>) -> HookContext {
        let (name, observer) = (name.to_owned(), self.observer.clone());
        HookContext::new(name.clone(), connector, Arc::new(Host { name, run, observer, rate: Mutex::new(None) }))
    }
}
