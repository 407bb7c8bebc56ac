//! The plan: what a database still needs. A plain value, so that what is shown is what is done.

use std::fmt;
use std::sync::Arc;

use super::adopt::Adopted;
use super::history::History;
use super::hook::Hook;
use super::{Error, Migration, Set, UpOptions, Version};

/// One thing to do.
#[derive(Clone)]
pub enum Step {
    /// Take over what an older migrator has applied. Its objects have been checked.
    Adopt {
        /// The older ledger.
        ledger: String,
        /// What it records.
        versions: Vec<Adopted>,
    },
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
    Apply {
        /// The migration.
        migration: Migration,
        /// Why, although an older migrator has applied it before.
        again: Option<&'static str>,
    },
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hook { hook, before, skipped: false } => write!(f, "{} before {before}", hook.name()),
            Self::Hook { hook, before, skipped: true } => write!(f, "skip {} before {before}", hook.name()),
            Self::Adopt { versions, .. } => write!(f, "adopt {}", versions.len()),
            Self::Apply { migration, .. } => write!(f, "apply {}", migration.version()),
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
    /// The ledger of an older migrator, in which everything that is applied is recorded too.
    pub ledger: Option<String>,
    /// The steps.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Compares a history, which has been checked, with a set.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchTarget`] and [`Error::NoSuchHook`] for options that name something else than the set has.
    pub(super) fn new(set: &Set, history: &History, options: &UpOptions) -> Result<Self, Error> {
        options.check(set)?;
        let current = history.current();
        let limit = options.target.unwrap_or(Version::MAX);
        let mut steps = Vec::new();
        let recorded = history.ledger.ledger();
        if let Some(recorded) = recorded.filter(|recorded| !recorded.adopt.is_empty()) {
            steps.push(Step::Adopt { ledger: recorded.table.clone(), versions: recorded.adopt.clone() });
        }
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
            let again = recorded.and_then(|recorded| recorded.applied_again(target));
            steps.push(Step::Apply { migration: migration.clone(), again });
        }
        Ok(Self { current, target, ledger: recorded.map(|recorded| recorded.table.clone()), steps })
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// How many versions of an older migrator there are to take over.
    #[must_use]
    pub fn adopted(&self) -> usize {
        self.steps.iter().map(|step| if let Step::Adopt { versions, .. } = step { versions.len() } else { 0 }).sum()
    }

    /// The versions that there are to apply.
    #[must_use]
    pub fn versions(&self) -> Vec<Version> {
        let applied = self.steps.iter().filter_map(|step| match step {
            Step::Apply { migration, .. } => Some(migration.version()),
            Step::Adopt { .. } | Step::Hook { .. } => None,
        });
        applied.collect()
    }

    /// How many migrations there are to apply.
    #[must_use]
    pub fn migrations(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Apply { .. })).count()
    }

    /// How many hooks there are to run.
    #[must_use]
    pub fn hooks(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Hook { skipped: false, .. })).count()
    }
}
