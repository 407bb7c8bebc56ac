//! What a run is asked to do.

use std::time::Duration;

use super::context::LOCK_WAIT;
use super::{Error, Set, Version};

/// What a run is asked to do.
#[derive(Clone, Debug)]
pub struct UpOptions {
    /// The last version to apply; all of them if none is given.
    pub target: Option<Version>,
    /// Hooks to leave out. The guard of the migration behind them decides whether it may run all the same.
    pub skip_hooks: Vec<String>,
    /// How long to wait for a lock that another session holds.
    pub lock_wait: Duration,
    /// Leave an empty database as it is: another program builds it first.
    pub skip_empty: bool,
    /// Record all versions up to this one as applied, without running them. Only where nothing is recorded yet.
    pub baseline: Option<Version>,
}

impl Default for UpOptions {
    /// Everything, waiting up to ten minutes for a lock.
    fn default() -> Self {
        Self { target: None, skip_hooks: Vec::new(), lock_wait: LOCK_WAIT, skip_empty: false, baseline: None }
    }
}

impl UpOptions {
    /// Checks that target and hooks exist in `set`.
    pub(super) fn check(&self, set: &Set) -> Result<(), Error> {
        if let Some(target) = self.target.filter(|target| *target > set.latest()) {
            return Err(Error::NoSuchTarget { target, latest: set.latest() });
        }
        let known = set.hook_names();
        match self.skip_hooks.iter().find(|name| !known.contains(&name.as_str())) {
            Some(name) => {
                Err(Error::NoSuchHook { name: name.clone(), known: known.into_iter().map(str::to_owned).collect() })
            }
            None => Ok(()),
        }
    }
}
