//! Showing a plan.

use super::context::Place;
use super::run_hook::hook_error;
use super::{
    Adopted, Boundary, Error, Forecast, LeftAlone, Migration, Migrator, Repeatable, Step, UpOptions, Version, Why,
};

/// One step of a [`Preview`].
#[derive(Clone, Debug)]
pub enum PreviewStep {
    /// What an older migrator has applied. Its objects have been checked.
    Adopt {
        /// The older ledger.
        ledger: String,
        /// What it records.
        versions: Vec<Adopted>,
    },
    /// A hook, with what it expects to do; without, if it is skipped.
    Hook {
        /// Its name.
        hook: String,
        /// Where it runs.
        boundary: Boundary,
        /// What it expects to do.
        forecast: Option<Forecast>,
    },
    /// A repeatable file.
    Repeat {
        /// The file.
        repeatable: Repeatable,
        /// Why.
        why: Why,
    },
    /// A migration.
    Apply {
        /// The migration.
        migration: Migration,
        /// Why, although an older migrator has applied it before.
        again: Option<String>,
    },
}

/// What a run would do.
#[derive(Clone, Debug)]
pub struct Preview {
    /// Version of the database; 0 for an empty history.
    pub current: Version,
    /// Version that the steps lead to.
    pub target: Version,
    /// What the set says before it builds an empty database, if this is one.
    pub note: Option<String>,
    /// Repeatable files that are not applied.
    pub left_alone: Vec<LeftAlone>,
    /// The steps.
    pub steps: Vec<PreviewStep>,
}

impl Migrator {
    /// Shows what [`Self::up`] would do, with the forecast of each hook. Writes nothing: the server is told to refuse
    /// every write of these sessions.
    ///
    /// # Errors
    ///
    /// As [`Self::up`], as far as it can be known beforehand.
    pub async fn preview(&self, options: &UpOptions) -> Result<Preview, Error> {
        options.check(&self.set)?;
        let connector = self.connector.clone().read_only();
        let connection = connector.connect("migrate: dry run").await?;
        let mut plan = self.plan_on_a_fit_server(&connection, options).await?;
        if options.skip_empty && plan.current == 0 {
            plan.steps.clear();
        }
        self.find_owed(&mut plan, connector.clone(), options).await?;
        let mut steps = Vec::new();
        for step in &plan.steps {
            steps.push(match step {
                Step::Adopt { ledger, versions } => {
                    PreviewStep::Adopt { ledger: ledger.clone(), versions: versions.clone() }
                }
                Step::Apply { migration, again } => {
                    PreviewStep::Apply { migration: migration.clone(), again: again.clone() }
                }
                Step::Repeat { repeatable, why } => {
                    PreviewStep::Repeat { repeatable: repeatable.clone(), why: why.clone() }
                }
                Step::Hook { hook, boundary, version, skipped } => {
                    let forecast = if *skipped {
                        None
                    } else {
                        let at = Place { version: *version, owed: plan.owed.clone(), due: None };
                        let cx = self.hook_context(hook.as_ref(), boundary, at, connector.clone(), options);
                        Some(hook.plan(&cx).await.map_err(|source| hook_error(hook.as_ref(), boundary, source))?)
                    };
                    PreviewStep::Hook { hook: hook.name().to_owned(), boundary: boundary.clone(), forecast }
                }
            });
        }
        connection.close().await;
        let note = self.note(&plan);
        Ok(Preview { current: plan.current, target: plan.target, note, left_alone: plan.left_alone, steps })
    }
}
