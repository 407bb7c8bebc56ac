//! What there is: the sets, their migrations, hooks and repairs. The only module that names content.
//!
//! To add a migration, put `V<n>__<name>.sql` into the set's folder and run `script/objects`. To add a hook, write it in `hooks/` and name it
//! here, before its version. To add a repair, write it in `src/repairs/` and name it in [`repairs`].

mod ledger;

use crate::engine::{Repeatable, Set, SetError};
use crate::hooks::{hourly_backfill, hourly_rebuild};
use crate::repairs::{CodexCache, HourlyRollup, Repairs};

mod platform_files {
    refinery::embed_migrations!("migrations/platform");
}

/// The name of the platform's own set.
pub const PLATFORM: &str = "platform";

/// The names of all sets, the one used by default first.
pub const SETS: [&str; 1] = [PLATFORM];

/// The set of that name; none if there is no such set.
///
/// # Errors
///
/// [`SetError`] if its files contradict each other.
#[must_use]
pub fn set(name: &str) -> Option<Result<Set, SetError>> {
    match name {
        PLATFORM => Some(platform()),
        _ => None,
    }
}

/// The platform's tables and its usage pipeline. Needs PostgreSQL 15 for `NULLS NOT DISTINCT`.
///
/// # Errors
///
/// [`SetError`] if its files contradict each other.
pub fn platform() -> Result<Set, SetError> {
    Set::builder(PLATFORM)
        .minimum_server(15)
        // The platform's own migrator takes it, too, as a session lock.
        .run_lock(7_244_554_146_635_925_501)
        .embedded(&platform_files::migrations::runner())
        .repeatable(usage_pipeline())
        .before(103, hourly_backfill::HourlyBackfill::default())
        .adopts(ledger::ledger())
        .owned_like("task_usage")
        .notes_on_empty(
            "the database is empty: building the usage tables alone. The platform's own migrator cannot go on from \
             there (it stops at its first file: relation \"workspace\" already exists); to have the whole platform, let it \
             build an empty database first, then run migrate up",
        )
        .described_by(include_str!("../migrations/platform.objects"))
        .build()
}

/// The one rollup in force, whoever migrated last. What another program's has lost is computed again.
fn usage_pipeline() -> Result<Repeatable, SetError> {
    let file = Repeatable::new("R__usage_pipeline", include_str!("../migrations/platform/R__usage_pipeline.sql"))?;
    Ok(file.left_alone_if(crate::usage::UNKNOWN).then(hourly_rebuild::HourlyRebuild))
}

/// The repairs of data in a set's tables.
#[must_use]
pub fn repairs(set: &str) -> Repairs {
    match set {
        PLATFORM => Repairs::new().with(CodexCache).with_rebuild(HourlyRollup),
        _ => Repairs::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{ConcurrentIndex, Mode};

    #[test]
    fn the_platform_keeps_the_versions_that_databases_have() {
        let versions: Vec<_> = platform().unwrap().migrations().iter().map(crate::engine::Migration::version).collect();
        assert!(
            versions.starts_with(&[1, 32, 72, 73, 74, 75, 76, 77, 78, 81, 82, 84, 101, 102, 103, 104, 213, 243, 272])
        );
    }

    #[test]
    fn indexes_of_usage_are_built_outside_a_transaction() {
        let platform = platform().unwrap();
        let built = platform.migrations().iter().filter_map(|migration| match migration.mode() {
            Mode::NoTransaction { index } => Some((migration.version(), index.clone())),
            Mode::Transaction => None,
        });
        let index = |name: &str| {
            let (name, table) = (format!("idx_task_usage_{name}"), "task_usage".to_owned());
            Some(ConcurrentIndex { name, schema: None, table })
        };
        let expected = [(74, index("updated_at")), (75, index("created_at")), (78, index("created_at_legacy"))];
        assert_eq!(built.take(expected.len()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn every_name_leads_to_a_set_of_that_name() {
        for name in SETS {
            assert_eq!(set(name).unwrap().unwrap().name(), name);
        }
    }
}
