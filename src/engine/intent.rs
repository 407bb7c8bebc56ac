//! A plan as whoever witnesses a run is shown it.

use migrate_layout::Script;
use serde_json::{Value, json};

use super::applied::Adopted;
use super::hook::HookError;
use super::invalid_index::CLEANUP;
use super::mode::Mode;
use super::witness::{Intent, Sent};
use super::{
    DownPlan, DownStep, Error, Migration, Migrator, Plan, Repeatable, Set, Step, UpOptions, Version, record, sql,
};
use crate::db::Connection;

impl Migrator {
    /// Shows the plan, with the forecast of each hook, to whoever witnesses the run.
    pub(super) async fn before_up(
        &self,
        plan: &mut Plan,
        role: Option<&str>,
        options: &UpOptions,
    ) -> Result<(), Error> {
        if self.witnesses.is_empty() {
            return Ok(());
        }
        self.forecast(plan, &self.connector.clone().read_only(), options).await?;
        self.before(&of_up(&self.set, plan, role)).await
    }

    /// The same of the way back.
    pub(super) async fn before_down(&self, plan: &DownPlan, role: Option<&str>) -> Result<(), Error> {
        if self.witnesses.is_empty() {
            return Ok(());
        }
        self.before(&of_down(&self.set, plan, role)).await
    }

    async fn before(&self, intent: &Intent) -> Result<(), Error> {
        let connector = self.connector.clone().read_only();
        for witness in &self.witnesses {
            witness.before(intent.clone(), &connector).await.map_err(objected)?;
        }
        Ok(())
    }

    /// Tells whoever witnesses the run that the next thing is sent.
    pub(super) async fn begins(&self) -> Result<(), Error> {
        for witness in &self.witnesses {
            witness.begins().await?;
        }
        Ok(())
    }

    /// Tells that this session is done with it.
    pub(super) async fn ends(&self, connection: &Connection) -> Result<(), Error> {
        for witness in &self.witnesses {
            witness.ends(connection).await?;
        }
        Ok(())
    }

    /// Shows what has become of it.
    pub(super) async fn after(&self) {
        for witness in &self.witnesses {
            witness.after(&self.connector.clone().read_only()).await;
        }
    }
}

fn objected(error: HookError) -> Error {
    match error {
        HookError::Database(error) => error.into(),
        HookError::Lock(error) => error.into(),
        other => Error::Objection(other),
    }
}

fn subject(set: &Set, from: Version, to: Version) -> Vec<(&'static str, String)> {
    vec![("set", set.name().to_owned()), ("from", from.to_string()), ("to", to.to_string())]
}

fn of_up(set: &Set, plan: &Plan, role: Option<&str>) -> Intent {
    let mut intent = Intent {
        from: Some(plan.current),
        subject: subject(set, plan.current, plan.target),
        is_stepwise: true,
        ..Intent::default()
    };
    for step in &plan.steps {
        intent.steps.extend(serde_json::to_value(step));
        match step {
            Step::Adopt { ledger, versions, .. } => {
                intent.records.push(format!("{}, which {ledger} records: taken over as applied", span(versions)));
            }
            Step::Baseline { versions } => {
                intent.records.push(format!("{}: recorded as applied because --baseline says so", span(versions)));
            }
            Step::Hook { hook, boundary, skipped, forecast, .. } => {
                let does = match forecast {
                    _ if *skipped => "left out by --skip-hook".to_owned(),
                    Some(forecast) if forecast.work => format!("expects to {}", forecast.summary),
                    Some(forecast) => format!("expects nothing to do: {}", forecast.summary),
                    None => "what it does depends on the data".to_owned(),
                };
                let verb = if *skipped { "skip hook" } else { "hook" };
                let notes = vec![format!("a program, {boundary}; {does}")];
                intent.sends.push(Sent { title: format!("{verb} {}", hook.name()), notes, ..Sent::default() });
                if hook.name() != CLEANUP {
                    intent.back.push(Sent {
                        title: format!("hook {}", hook.name()),
                        notes: vec!["is not undone: what it has done stays".to_owned()],
                        ..Sent::default()
                    });
                }
            }
            Step::Repeat { repeatable, why } => {
                intent.sends.push(of_repeatable(repeatable, &why.to_string(), role));
                intent.back.push(Sent {
                    title: format!("repeatable {}", repeatable.name()),
                    notes: vec!["stays: it is applied over itself, and has no way back".to_owned()],
                    ..Sent::default()
                });
            }
            Step::Apply { migration, again } => {
                let also = again.iter().map(|why| format!("applied again: {why}"));
                intent.sends.push(of_migration(set, migration, role, plan.ledger.as_deref(), also.collect()));
                intent.back.push(way_back(migration));
                intent.versions.push(migration.version());
            }
        }
    }
    intent.back.reverse();
    let can_go_back = |version: &Version| set.migration(*version).is_some_and(|migration| migration.down().is_some());
    if !intent.versions.is_empty() && intent.versions.iter().all(can_go_back) {
        intent.back_command = Some(format!("down --to {} --execute", crate::db::quoted(&plan.current.to_string())));
    }
    intent
}

fn of_down(set: &Set, plan: &DownPlan, role: Option<&str>) -> Intent {
    let mut intent = Intent {
        from: Some(plan.current),
        subject: subject(set, plan.current, plan.target),
        is_stepwise: true,
        ..Intent::default()
    };
    intent.steps = plan.steps.iter().filter_map(|step| serde_json::to_value(step).ok()).collect();
    intent.sends = plan.steps.iter().map(|step| of_down_step(set, step, role)).collect();
    let forward = |step: &DownStep| {
        let gone = "data that its way back has dropped does not come back".to_owned();
        let lost = (!step.losses.is_empty()).then_some(gone);
        of_migration(set, &step.migration, None, None, lost.into_iter().collect())
    };
    intent.back = plan.steps.iter().rev().map(forward).collect();
    intent.back_command = Some(format!("up --target {}", crate::db::quoted(&plan.current.to_string())));
    intent
}

/// Which versions these are, in a few words.
fn span(versions: &[Adopted]) -> String {
    match versions {
        [] => "no version".to_owned(),
        [only] => only.version.label(),
        [first, .., last] => {
            format!("{} versions, {} to {}", versions.len(), first.version.label(), last.version.label())
        }
    }
}

fn title(version: Version, name: &str) -> String {
    format!("{}, {name}", version.label())
}

fn as_role(role: Option<&str>) -> Option<String> {
    role.map(|role| format!("as role {role}"))
}

fn table(set: &Set, migration: &Migration) -> String {
    if migration.number().is_some() { record::history_table(set) } else { record::file_history_table(set) }
}

/// The texts of a file as they are sent, and how.
fn texts(script: &Script, mode: &Mode, row: &str) -> (Vec<String>, String) {
    // Values of the environment that the file asks for may be secrets: their names stand in their place.
    let shown = |text: &str| script.hidden.as_ref().map_or_else(|| text.to_owned(), |hidden| hidden.mask(text));
    let whole = || vec![sql::without_mark(script.shown()).to_owned()];
    let (texts, how) = match mode {
        Mode::Transaction => (whole(), format!("one transaction, in which {row}")),
        Mode::NoTransaction { statements } => {
            (statements.iter().map(|alone| shown(&alone.sql)).collect(), format!("outside a transaction; then {row}"))
        }
        Mode::OwnTransaction { record_at: Some(_) } => {
            (whole(), format!("it begins and ends its transaction itself; in front of its COMMIT {row}"))
        }
        Mode::OwnTransaction { record_at: None } => (whole(), format!("with transactions of its own; then {row}")),
    };
    let hidden = script.hidden.is_some().then_some("; names stand for values of the environment, which are not shown");
    (texts, how + hidden.unwrap_or_default())
}

fn of_migration(set: &Set, migration: &Migration, role: Option<&str>, ledger: Option<&str>, more: Vec<String>) -> Sent {
    let ledger = ledger.map(|ledger| format!(", and {ledger}")).unwrap_or_default();
    let row = format!("{}{ledger} gets its row", table(set, migration));
    let (texts, how) = texts(migration.up(), migration.mode(), &row);
    Sent {
        title: title(migration.version(), migration.name()),
        file: Some(migration.file()),
        recorded: Some(migration.checksum()),
        notes: [how].into_iter().chain(as_role(role)).chain(more).collect(),
        texts,
        is_transaction: matches!(migration.mode(), Mode::Transaction),
    }
}

fn of_repeatable(repeatable: &Repeatable, why: &str, role: Option<&str>) -> Sent {
    let how = "one transaction, in which migrate.repeatable gets its row".to_owned();
    Sent {
        title: format!("repeatable {}", repeatable.name()),
        file: Some(repeatable.file()),
        recorded: Some(repeatable.checksum),
        notes: [format!("applied because: {why}"), how].into_iter().chain(as_role(role)).collect(),
        texts: vec![sql::without_mark(repeatable.up().shown()).to_owned()],
        is_transaction: true,
    }
}

fn way_back(migration: &Migration) -> Sent {
    let title = title(migration.version(), migration.name());
    let Some((script, mode)) = migration.down() else {
        let notes = vec!["has no way back in the set: only a backup from before it brings that state back".to_owned()];
        return Sent { title, notes, ..Sent::default() };
    };
    let (texts, how) = texts(script, mode, "its row goes");
    Sent { title, file: Some(script.path.clone()), notes: vec![how], texts, ..Sent::default() }
}

fn of_down_step(set: &Set, step: &DownStep, role: Option<&str>) -> Sent {
    let row = format!("its row in {} is deleted", table(set, &step.migration));
    let is_transaction = matches!(step.migration.down(), Some((_, Mode::Transaction)));
    let (texts, how) = match step.migration.down() {
        Some((script, mode)) => texts(script, mode, &row),
        None => (Vec::new(), row),
    };
    let also = step.recorded_in.iter().map(|ledger| format!("{ledger} no longer records it"));
    let losses = step.losses.iter().map(|loss| format!("line {} {}", loss.line, loss.what));
    let hooks = step.hooks.iter().map(|hook| format!("hook {hook} has run before it, and what that has done stays"));
    Sent {
        title: format!("{}, taken back", title(step.version, &step.name)),
        file: Some(step.file.clone()),
        recorded: None,
        notes: [how].into_iter().chain(as_role(role)).chain(also).chain(losses).chain(hooks).collect(),
        texts,
        is_transaction,
    }
}

impl Intent {
    /// As one JSON document, as a dry run says it, with what identifies it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut document = json!({ "digest": self.digest(), "steps": self.steps });
        if let Some(document) = document.as_object_mut() {
            document.extend(self.subject.iter().map(|(what, value)| ((*what).to_owned(), json!(value))));
        }
        document
    }
}
