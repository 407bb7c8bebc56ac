//! Applying a repeatable file, and keeping what its hooks owe.

use std::sync::Arc;
use std::time::Instant;

use super::apply::{Try, failed};
use super::description::Objects;
use super::event::Event;
use super::hook::Hook;
use super::record::AlsoIn;
use super::session::{LOCK_TIMEOUT, READ_AS_WRITTEN};
use super::standing::change;
use super::why::Why;
use super::{Error, Migrator, Plan, Repeatable, Set, UpOptions, objects};
use crate::db::{self, Connection};

impl Migrator {
    /// Applies a repeatable file and records what it has made, in one transaction; rolls back and tries again like any other migration.
    pub(super) async fn repeat(
        &self,
        connection: &Connection,
        repeatable: &Repeatable,
        why: &Why,
        role: Option<&str>,
        also: Option<AlsoIn<'_>>,
        options: &UpOptions,
    ) -> Result<(), Error> {
        let started = Instant::now();
        self.observer.tell(Event::RepeatableStarted { name: repeatable.name().to_owned(), why: why.clone() });
        let attempt = async |this: Try<'_>| {
            Box::pin(self.noting(connection, this, self.repeat_once(connection, repeatable, why, role, also))).await
        };
        let retried = |reason, attempts, holder| {
            let name = repeatable.name().to_owned();
            self.observer.tell(Event::RepeatableRetried { name, reason, attempts, holder });
        };
        self.patiently(connection, options, retried, attempt)
            .await?
            .map_err(|(error, holder)| failed(repeatable.up(), error, holder))?;
        let (name, duration) = (repeatable.name().to_owned(), started.elapsed());
        self.observer.tell(Event::RepeatableApplied { name, why: why.clone(), duration });
        Ok(())
    }

    async fn repeat_once(
        &self,
        connection: &Connection,
        repeatable: &Repeatable,
        why: &Why,
        role: Option<&str>,
        also: Option<AlsoIn<'_>>,
    ) -> Result<Result<(), db::Error>, Error> {
        const BEFORE: &str = "SELECT made FROM migrate.repeatable WHERE set_name = $1 AND name = $2";
        const RECORD: &str = "
            INSERT INTO migrate.repeatable (set_name, name, revision, checksum, made, applied_because)
            VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (set_name, name) DO UPDATE SET
                revision        = excluded.revision,
                checksum        = excluded.checksum,
                made            = excluded.made,
                applied_because = excluded.applied_because,
                applied_at      = excluded.applied_at,
                applied_by      = excluded.applied_by,
                tool_version    = excluded.tool_version";
        let transaction = connection.begin().await?;
        let result: Result<_, db::Error> = async {
            transaction.batch(&[READ_AS_WRITTEN, LOCK_TIMEOUT].join(";\n")).await?;
            transaction.as_role(role, transaction.batch(repeatable.sql())).await?;
            let mut made = if repeatable.is_compared {
                objects::made_in_this_transaction(&transaction, &self.set).await?
            } else {
                Objects::new()
            };
            // What an earlier application has made, and this one found to be there, is still of its making. What holds data is
            // not made anew; if it has changed, that is not for this file to mend.
            if let Some(row) = transaction.query_opt(BEFORE, &[&self.set.name(), &repeatable.name()]).await? {
                let mut before: Objects = serde_json::from_value(row.get("made")).unwrap_or_default();
                before.retain(|object, _| !made.contains_key(object));
                let names: Vec<String> = before.keys().cloned().collect();
                let found = objects::some_objects(&transaction, &self.set, &names).await?;
                for (object, definition) in &before {
                    let is_code = object.starts_with("function ") || object.starts_with("trigger ");
                    if let Some(change) = change(definition, found.get(object)).filter(|_| !is_code) {
                        return Ok(Some((object.clone(), change)));
                    }
                }
                made.extend(found);
            }
            let made = serde_json::to_value(made).unwrap_or_default();
            let (checksum, why) = (repeatable.checksum.to_string(), why.to_string());
            transaction
                .execute(RECORD, &[&self.set.name(), &repeatable.name(), &repeatable.revision, &checksum, &made, &why])
                .await?;
            if let Some(AlsoIn::Tool(table)) = also
                && let Some(row) = repeatable.row_in(table)
            {
                transaction.batch(&row).await?;
            }
            Ok(None)
        }
        .await;
        match result {
            Ok(None) => Ok(transaction.commit().await),
            Ok(Some((object, change))) => {
                transaction.rollback().await;
                Err(Error::NotRemade { file: repeatable.file(), object, change })
            }
            Err(error) => {
                transaction.rollback().await;
                Ok(Err(error))
            }
        }
    }
}

/// The statement after which a repeatable file counts as never applied.
pub(super) fn forget(set: &Set, repeatable: &Repeatable) -> String {
    let name = repeatable.name().replace('\'', "''");
    format!("DELETE FROM migrate.repeatable WHERE set_name = '{}' AND name = '{name}'", set.name())
}

/// Keeps what is owed, before the first step: once that is done, nothing would tell any more. Work that has become necessary
/// anew begins anew, whatever an earlier run had got to.
pub(super) async fn owe(connection: &Connection, set: &Set, plan: &Plan) -> Result<(), db::Error> {
    const OWE: &str = "
        INSERT INTO migrate.repeatable (set_name, name, revision, checksum, made, owed, applied_because)
        VALUES ($1, $2, 0, '', '{}', $3, '')
        ON CONFLICT (set_name, name) DO UPDATE SET owed = excluded.owed";
    const BEGIN_ANEW: &str = "DELETE FROM migrate.hook_state WHERE set_name = $1 AND hook = ANY ($2)";
    for (repeatable, _) in plan.to_repeat() {
        let is_owed = |hook: &&Arc<dyn Hook>| plan.owed.iter().any(|name| name == hook.name());
        let owed: Vec<_> = repeatable.hooks().iter().filter(is_owed).map(|hook| hook.name()).collect();
        if owed.is_empty() {
            continue;
        }
        let transaction = connection.begin().await?;
        transaction.execute(OWE, &[&set.name(), &repeatable.name(), &owed]).await?;
        transaction.execute(BEGIN_ANEW, &[&set.name(), &plan.anew]).await?;
        transaction.commit().await?;
    }
    Ok(())
}

/// Strikes a hook's work off what is owed.
pub(super) async fn no_longer_owed(connection: &Connection, set: &Set, hook: &str) -> Result<(), db::Error> {
    const PAID: &str = "
        UPDATE migrate.repeatable SET owed = pg_catalog.array_remove(owed, $2) WHERE set_name = $1 AND $2 = ANY (owed)";
    connection.execute(PAID, &[&set.name(), &hook]).await?;
    Ok(())
}
