//! Showing a plan.

use super::context::Place;
use super::run_hook::hook_error;
use super::{Error, Migrator, Plan, Step, UpOptions};
use crate::db::Connector;

impl Migrator {
    /// What [`Self::up`] would do, with the forecast of each hook. Writes nothing: the server is told to refuse
    /// every write of these sessions.
    ///
    /// # Errors
    ///
    /// As [`Self::up`], as far as it can be known beforehand.
    pub async fn preview(&self, options: &UpOptions) -> Result<Plan, Error> {
        options.check(&self.set)?;
        let connector = self.connector.clone().read_only();
        let connection = connector.connect("migrate: dry run").await?;
        let facts = self.look_at_server(&connection).await?;
        let (mut plan, _) = self.plan_on_a_fit_server(&connection, &facts, options).await?;
        if options.skip_empty && plan.current == 0 {
            plan.steps.clear();
            plan.note = None;
        }
        self.find_owed(&mut plan, connector.clone(), options).await?;
        self.forecast(&mut plan, &connector, options).await?;
        connection.close().await;
        Ok(plan)
    }

    /// Asks each hook of a plan what it expects to do.
    pub(super) async fn forecast(
        &self,
        plan: &mut Plan,
        connector: &Connector,
        options: &UpOptions,
    ) -> Result<(), Error> {
        for step in &mut plan.steps {
            if let Step::Hook { hook, boundary, version, skipped: false, forecast } = step {
                let at = Place { version: *version, owed: plan.owed.clone(), due: None };
                let cx = self.hook_context(hook.as_ref(), boundary, at, connector.clone(), options);
                let planned = hook.plan(&cx).await.map_err(|source| hook_error(hook.as_ref(), boundary, source))?;
                *forecast = Some(planned);
            }
        }
        Ok(())
    }
}
