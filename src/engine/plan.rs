//! The plan: what a database still needs. A plain value, so that what is shown is what is done.

use std::fmt;
use std::sync::Arc;

use super::history::History;
use super::hook::Hook;
use super::{Error, Migration, Set, UpOptions, Version};

/// One thing to do.
#[derive(Clone)]
pub enum Step {
    /// Run a hook before the migration that follows.
    Hook {
        /// The hook.
        hook: Arc<dyn Hook>,
        /// The version it prepares for.
        before: Version,
        /// The operator left it out.
        skipped: bool,
    },
    /// Apply a migration.
    Apply(Migration),
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hook { hook, before, skipped: false } => write!(f, "{} before {before}", hook.name()),
            Self::Hook { hook, before, skipped: true } => write!(f, "skip {} before {before}", hook.name()),
            Self::Apply(migration) => write!(f, "apply {}", migration.version()),
        }
    }
}

/// What a database still needs, in order.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Version of the database; 0 for an empty history.
    pub current: Version,
    /// Version that the steps lead to.
    pub target: Version,
    /// The steps.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Compares a history with a set.
    ///
    /// # Errors
    ///
    /// [`Error::History`] if they contradict each other; [`Error::NoSuchTarget`] and [`Error::NoSuchHook`] for options
    /// that name something else than the set has.
    pub(super) fn new(set: &Set, history: &History, options: &UpOptions) -> Result<Self, Error> {
        options.check(set)?;
        history.check(set)?;
        let current = history.current();
        let limit = options.target.unwrap_or(Version::MAX);
        let mut steps = Vec::new();
        let mut target = current;
        for migration in set.migrations() {
            if migration.version() <= current || migration.version() > limit {
                continue;
            }
            target = migration.version();
            for hook in set.hooks_before(target) {
                let skipped = options.skip_hooks.iter().any(|name| name == hook.name());
                steps.push(Step::Hook { hook: Arc::clone(hook), before: target, skipped });
            }
            steps.push(Step::Apply(migration.clone()));
        }
        Ok(Self { current, target, steps })
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// How many migrations there are to apply.
    #[must_use]
    pub fn migrations(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Apply(_))).count()
    }

    /// How many hooks there are to run.
    #[must_use]
    pub fn hooks(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Hook { skipped: false, .. })).count()
    }
}
