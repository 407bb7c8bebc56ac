//! The plan: what a database still needs. A plain value, so that what is shown is what is done.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::applied::Adopted;
use super::event::Event;
use super::history::History;
use super::hook::Hook;
use super::tool::ToolTable;
use super::why::LeftAlone;
use super::{Boundary, Error, Forecast, Migration, Repeatable, Set, UpOptions, Version, Why};

/// One thing to do. As JSON, what a dry run says of it: `event` is `would_adopt`, `would_run_hook`, `would_repeat` or
/// `would_apply`.
#[derive(Clone, Serialize)]
#[serde(tag = "event")]
pub enum Step {
    /// Take over what an older migrator has applied. Its objects have been checked.
    #[serde(rename = "would_adopt")]
    Adopt {
        /// The older ledger.
        ledger: String,
        /// Whether what they should have left was looked up; of another tool's files, nobody knows what that is.
        checked: bool,
        /// What it records.
        versions: Vec<Adopted>,
    },
    /// Record what nobody has recorded, without running it.
    #[serde(rename = "would_baseline")]
    Baseline {
        /// The versions.
        versions: Vec<Adopted>,
    },
    /// Run a hook before the migration that follows; or, at the end, one that a repeatable file has made necessary.
    #[serde(rename = "would_run_hook")]
    Hook {
        /// The hook.
        #[serde(serialize_with = "name_of")]
        hook: Arc<dyn Hook>,
        /// Where it runs.
        #[serde(flatten)]
        boundary: Boundary,
        /// The version under which its runs and its progress are kept.
        #[serde(skip)]
        version: Version,
        /// The operator left it out.
        skipped: bool,
        /// What it expects to do, in a preview.
        #[serde(flatten)]
        forecast: Option<Forecast>,
    },
    /// Apply a repeatable file.
    #[serde(rename = "would_repeat")]
    Repeat {
        /// The file.
        #[serde(flatten)]
        repeatable: Repeatable,
        /// Why.
        #[serde(flatten)]
        why: Why,
    },
    /// Apply a migration.
    #[serde(rename = "would_apply")]
    Apply {
        /// The migration.
        #[serde(flatten)]
        migration: Migration,
        /// Why, although an older migrator has applied it before.
        #[serde(skip_serializing_if = "Option::is_none")]
        again: Option<String>,
    },
}

impl Step {
    /// Whether something is sent for it, and not only recorded.
    pub(super) fn is_sent(&self) -> bool {
        !matches!(self, Self::Adopt { .. } | Self::Baseline { .. })
    }
}

fn name_of<S: serde::Serializer>(hook: &Arc<dyn Hook>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(hook.name())
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hook { hook, boundary, skipped: false, .. } => write!(f, "{} {boundary}", hook.name()),
            Self::Hook { hook, boundary, skipped: true, .. } => write!(f, "skip {} {boundary}", hook.name()),
            Self::Repeat { repeatable, why, .. } => write!(f, "repeat {}: {why}", repeatable.name()),
            Self::Baseline { versions } => write!(f, "baseline {}", versions.len()),
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
    /// What the set says before it builds an empty database, if this is one.
    pub note: Option<String>,
    /// The ledger of an older migrator, in which everything that is applied is recorded too.
    pub ledger: Option<String>,
    /// The history table of another tool, where it is that one.
    pub(super) tool: Option<ToolTable>,
    /// Repeatable files that are not applied.
    pub left_alone: Vec<LeftAlone>,
    /// Hooks behind repeatable files whose work an earlier run has left undone.
    pub owed: Vec<String>,
    /// Hooks, those that cover them included, whose work has become necessary anew, so that it begins anew.
    pub anew: Vec<String>,
    /// The steps.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Compares a history, which has been checked, with a set.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchTarget`] and [`Error::NoSuchHook`] for options that name something else than the set has,
    /// [`Error::TargetBehind`] for a version that the database is past.
    pub(super) fn new(set: &Set, history: &History, options: &UpOptions) -> Result<Self, Error> {
        options.check(set)?;
        let current = history.current();
        if let Some(target) = options.target.filter(|target| *target < current) {
            return Err(Error::TargetBehind { target, current });
        }
        let within = |version: Version| options.target.is_none_or(|target| version <= target);
        let mut steps = Vec::new();
        let recorded = history.ledger.ledger();
        if let Some(recorded) = recorded.filter(|recorded| !recorded.adopt.is_empty()) {
            steps.push(Step::Adopt {
                ledger: recorded.table.clone(),
                checked: set.ledger().is_some(),
                versions: recorded.adopt.clone(),
            });
        }
        let skipped = |hook: &Arc<dyn Hook>| options.skip_hooks.iter().any(|name| name == hook.name());
        let (mut left_alone, mut all_owed, mut last) = (Vec::new(), Vec::new(), Vec::new());
        let mut waiting: Vec<_> = set.repeatables().iter().zip(&history.repeatables).collect();
        // Each stands right behind the version it begins with, so that what comes later finds it in force.
        let mut repeat = |steps: &mut Vec<Step>, reached: Version, is_all: bool| {
            waiting.retain(|(repeatable, standing)| {
                if repeatable.since().map_or(!is_all, |since| since > reached) {
                    return true;
                }
                if let Some(reason) = &standing.left_alone {
                    left_alone.push(LeftAlone { file: repeatable.file(), reason: reason.clone() });
                    return false;
                }
                if let Some(why) = standing.due.clone() {
                    steps.push(Step::Repeat { repeatable: (*repeatable).clone(), why });
                }
                let is_owed = |hook: &&Arc<dyn Hook>| standing.owed.iter().any(|name| name == hook.name());
                last.extend(repeatable.hooks().iter().filter(|hook| standing.due.is_some() || is_owed(hook)).map(
                    |hook| {
                        let (boundary, version) = (repeatable.boundary(), repeatable.place());
                        let (hook, skipped) = (Arc::clone(hook), skipped(hook));
                        Step::Hook { hook, boundary, version, skipped, forecast: None }
                    },
                ));
                all_owed.extend(standing.owed.iter().cloned());
                false
            });
        };
        let mut target = current;
        let baselines = set.migrations().iter().filter(|m| m.is_baseline() && within(m.version()));
        let from =
            baselines.map(Migration::version).max().filter(|_| current == Version::NONE).unwrap_or(Version::NONE);
        for migration in set.migrations() {
            if history.is_recorded(migration.version()) || !within(migration.version()) {
                continue;
            }
            // In an empty database the last baseline stands for all before it; in any other, it is nothing.
            if migration.version() < from || (migration.is_baseline() && migration.version() != from) {
                continue;
            }
            repeat(&mut steps, target, false);
            target = target.max(migration.version());
            let version = migration.version();
            for hook in set.hooks_before(version) {
                steps.push(Step::Hook {
                    hook: Arc::clone(hook),
                    boundary: Boundary::Before(version),
                    version,
                    skipped: skipped(hook),
                    forecast: None,
                });
            }
            let again = recorded.and_then(|recorded| recorded.applied_again(version).map(str::to_owned));
            steps.push(Step::Apply { migration: migration.clone(), again });
        }
        repeat(&mut steps, target, target >= set.latest());
        steps.append(&mut last);
        let ledger = recorded.map(|recorded| recorded.table.clone());
        let note = set.note_on_empty().filter(|_| current == 0 && !steps.is_empty()).map(str::to_owned);
        let tool = recorded.and_then(|recorded| recorded.tool.clone());
        Ok(Self { current, target, note, ledger, tool, left_alone, owed: all_owed, anew: Vec::new(), steps })
    }

    /// What is told of it.
    #[must_use]
    pub fn event(&self) -> Event {
        Event::Planned {
            current: self.current,
            target: self.target,
            adopted: self.adopted(),
            migrations: self.migrations(),
            repeatables: self.repeatables(),
            hooks: self.hooks(),
        }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// How many versions of an older migrator there are to take over.
    #[must_use]
    pub fn adopted(&self) -> usize {
        let adopted = |step: &Step| match step {
            Step::Adopt { versions, .. } | Step::Baseline { versions } => versions.len(),
            Step::Hook { .. } | Step::Repeat { .. } | Step::Apply { .. } => 0,
        };
        self.steps.iter().map(adopted).sum()
    }

    /// The versions that there are to apply.
    #[must_use]
    pub fn versions(&self) -> Vec<Version> {
        let applied = self.steps.iter().filter_map(|step| match step {
            Step::Apply { migration, .. } => Some(migration.version()),
            Step::Adopt { .. } | Step::Baseline { .. } | Step::Hook { .. } | Step::Repeat { .. } => None,
        });
        applied.collect()
    }

    /// How many migrations there are to apply.
    #[must_use]
    pub fn migrations(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Apply { .. })).count()
    }

    /// How many repeatable files there are to apply.
    #[must_use]
    pub fn repeatables(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Repeat { .. })).count()
    }

    /// The repeatable files that there are to apply.
    pub(super) fn to_repeat(&self) -> impl Iterator<Item = (&Repeatable, &Why)> {
        self.steps.iter().filter_map(|step| match step {
            Step::Repeat { repeatable, why } => Some((repeatable, why)),
            Step::Adopt { .. } | Step::Baseline { .. } | Step::Hook { .. } | Step::Apply { .. } => None,
        })
    }

    /// Leaves out what is behind a repeatable file and not owed, or is done by an earlier hook of the plan.
    pub(super) fn only_owed(&mut self, owed: &[String], anew: Vec<String>) {
        let hooks =
            self.steps.iter().filter_map(|step| if let Step::Hook { hook, .. } = step { Some(hook) } else { None });
        let covering = hooks.filter(|hook| hook.covers().iter().any(|name| anew.iter().any(|anew| anew == name)));
        self.anew = covering.map(|hook| hook.name().to_owned()).collect();
        self.anew.extend(anew);
        let mut covered = Vec::new();
        self.steps.retain(|step| {
            let Step::Hook { hook, boundary, skipped, .. } = step else { return true };
            if matches!(boundary, Boundary::Before(_)) {
                if !skipped {
                    covered.extend(hook.covers().into_iter().map(str::to_owned));
                }
                return true;
            }
            owed.iter().any(|name| name == hook.name()) && !covered.iter().any(|name| name == hook.name())
        });
        self.owed = owed.to_vec();
    }

    /// How many hooks there are to run.
    #[must_use]
    pub fn hooks(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Hook { skipped: false, .. })).count()
    }
}
