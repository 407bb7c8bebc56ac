//! What the platform's set consists of. The only file that names migrations, hooks and repairs.

use async_trait::async_trait;

use crate::cli::{Check, Content, Context, Verb};
use crate::db::Program;
use crate::derived::HOURLY;
use crate::engine::{AdoptionError, Error, Repeatable, Set, SetError, Version};
use crate::hooks;
use crate::ledger::ledger;
use crate::repair::Repairs;
use crate::repairs::{self, hourly_rollup::HourlyRollup};
use crate::verbs::{Rollup, VerifyRollup, tell_who_schedules};

mod files {
    refinery::embed_migrations!("../../migrations/platform");
}

/// The name of the platform's set.
pub const PLATFORM: &str = "platform";

/// The platform's set, with everything that belongs to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Platform;

#[async_trait]
impl Content for Platform {
    fn name(&self) -> &'static str {
        PLATFORM
    }

    fn set(&self) -> Result<Set, SetError> {
        platform()
    }

    fn wants_database_of_its_own(&self) -> bool {
        true
    }

    fn repairs(&self) -> Repairs {
        Repairs::new().with::<repairs::codex_cache::CodexCache>().with_rebuild::<HourlyRollup>(
            HourlyRollup::NAME,
            HourlyRollup::ABOUT,
            &HOURLY,
        )
    }

    fn made_up_rows(&self, version: Version) -> Option<&'static str> {
        // It writes updated_at.
        (version >= 72).then_some(include_str!("made_up.sql"))
    }

    fn verbs(&self) -> Vec<Box<dyn Verb>> {
        vec![Box::new(Rollup)]
    }

    fn checks(&self) -> Vec<Box<dyn Check>> {
        vec![Box::new(VerifyRollup)]
    }

    async fn after_up(&self, cx: &Context<'_>) {
        tell_who_schedules(cx).await;
    }

    fn hint(&self, error: &Error, _: &Program) -> Option<String> {
        let Error::Adoption(error) = error else { return None };
        let hint = match error {
            AdoptionError::Incomplete { .. } => {
                "nothing was written; bring this database to v0.2.13 or later with the platform's own migrator first"
            }
            AdoptionError::Unexplained { .. } => {
                "nothing was written; is this the right database, and search path? If it was restored from a backup of one \
                 schema (pg_dump -n public), restore the schema migrate as well, which holds the history; or \
                 public.schema_migrations, where the platform's own migrator has built it"
            }
            _ => return None,
        };
        Some(hint.to_owned())
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
        .embedded(&files::migrations::runner())
        .repeatable(usage_pipeline())
        .before(103, hooks::hourly_backfill::HourlyBackfill::default())
        .adopts(ledger())
        .owned_like("task_usage")
        .notes_on_empty(
            "the database is empty: building the usage tables alone. The platform's own migrator cannot continue \
             from there (it stops at its first file: relation \"workspace\" already exists); to have the whole platform, let it \
             build an empty database first, then run this program again",
        )
        .described_by(include_str!("../../migrations/platform.objects"))
        .build()
}

/// The rollup in force, whichever program migrated last. Where another program's was in force, every bucket is rebuilt.
fn usage_pipeline() -> Result<Repeatable, SetError> {
    let file = Repeatable::new("R__usage_pipeline", include_str!("../../migrations/platform/R__usage_pipeline.sql"))?;
    Ok(file.left_alone_if(crate::usage::UNKNOWN).then(hooks::hourly_rebuild::HourlyRebuild))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{ConcurrentIndex, Mode, Version};

    #[test]
    fn the_platform_keeps_the_versions_that_databases_have() {
        let platform = platform().unwrap();
        let versions: Vec<_> =
            platform.migrations().iter().filter_map(|migration| migration.version().as_number()).collect();
        assert!(
            versions.starts_with(&[1, 32, 72, 73, 74, 75, 76, 77, 78, 81, 82, 84, 101, 102, 103, 104, 213, 243, 272])
        );
    }

    #[test]
    fn indexes_of_usage_are_built_outside_a_transaction() {
        let platform = platform().unwrap();
        let built = platform.migrations().iter().filter_map(|migration| match migration.mode() {
            Mode::NoTransaction { statements } => Some((migration.version(), statements[0].index.clone())),
            _ => None,
        });
        let index = |name: &str| {
            let (name, table) = (format!("idx_task_usage_{name}"), "task_usage".to_owned());
            Some(ConcurrentIndex { name, schema: None, path: Vec::new(), table })
        };
        let expected = [(74, index("updated_at")), (75, index("created_at")), (78, index("created_at_legacy"))]
            .map(|(version, index)| (Version::number(version), index));
        assert_eq!(built.take(expected.len()).collect::<Vec<_>>(), expected);
    }
}
