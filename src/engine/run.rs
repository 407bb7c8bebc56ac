//! Running a plan, and showing one.

use std::time::Instant;

use super::adopt;
use super::context::Place;
use super::event::Event;
use super::history::{self, Extent};
use super::out_of_step::OutOfStep;
use super::record::{AlsoIn, With};
use super::tool;
use super::{AdoptionError, Error, Migrator, Plan, Step, UpOptions, Version, fitness, overloads, owner, repeat};
use crate::db::{self, Connection, Patience, Rights, RunLock, ServerFacts};

/// What a run has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Version of the database now.
    pub version: Version,
    /// Versions of an older migrator taken over by this run.
    pub adopted: usize,
    /// Migrations applied by this run.
    pub migrations: usize,
    /// Repeatable files applied by this run.
    pub repeatables: usize,
    /// Hooks run by this run.
    pub hooks: usize,
}

impl Summary {
    fn at(version: Version) -> Self {
        Self { version, adopted: 0, migrations: 0, repeatables: 0, hooks: 0 }
    }
}

/// What the steps so far have done, and what they have left owed.
struct Taken {
    owed: Vec<String>,
    summary: Summary,
}

impl Migrator {
    /// Applies what is pending, running the hooks before each migration. One run at a time: others wait.
    ///
    /// With nothing pending, nothing is written and no lock is taken.
    ///
    /// # Errors
    ///
    /// [`Error`]. Migrations applied before the error stay applied; the one it happened in is rolled back.
    pub async fn up(&self, options: &UpOptions) -> Result<Summary, Error> {
        options.check(&self.set)?;
        self.wait_at_most(options.lock_wait);
        self.connector.choose_anew().await;
        let started = Instant::now();
        let connection = self.connector.clone().read_only().connect("migrate: up").await?;
        let facts = self.look_at_server(&connection).await?;
        let plan = self.plan(&connection, &facts, options).await;
        connection.close().await;
        let plan = match plan {
            // What was looked at one after the other may be what another run has changed in between: it is looked at again
            // when nobody can, and refused then.
            Err(Error::Adoption(_) | Error::Dependent { .. } | Error::OutOfStep(_)) => None,
            plan => Some(plan?),
        };
        if let Some(plan) = &plan {
            if options.skip_empty && plan.current == Version::NONE {
                self.observer.tell(Event::LeftEmpty);
                return Ok(Summary::at(Version::NONE));
            }
            if plan.is_empty() {
                self.tell_left_alone(plan);
                return Ok(self.finish(&Summary::at(plan.current), started));
            }
        }

        let patience = Patience::new(options.lock_wait);
        let mut locks = self.set.run_locks();
        let found = plan.as_ref().and_then(|plan| plan.tool.clone());
        if let Some(table) = found.or_else(|| self.set.tool_table(facts.schema.as_deref())) {
            locks.others = tool::locks(&table, &facts.database);
        }
        let (lock, session) = RunLock::acquire(&self.connector, &locks, "migrate: up", patience).await?;
        let result = tokio::select! {
            result = Box::pin(self.run_locked(&session, &lock, options, started)) => result,
            never = lock.keep(&self.connector) => match never {},
        };
        self.after().await;
        session.close().await;
        lock.release().await;
        result
    }

    async fn run_locked(
        &self,
        connection: &Connection,
        lock: &RunLock,
        options: &UpOptions,
        started: Instant,
    ) -> Result<Summary, Error> {
        // Whoever had the lock before us may have done all of it.
        let facts = ServerFacts::read(connection).await?;
        let (mut plan, role) = self.plan_on_a_fit_server(connection, &facts, options).await?;
        let summary = Summary::at(plan.current);
        if plan.is_empty() {
            self.tell_left_alone(&plan);
            return Ok(self.finish(&summary, started));
        }
        if let Some(role) = &role {
            tracing::debug!("migrations run as {role}, who owns the tables");
        }
        self.find_owed(&mut plan, self.connector.clone().read_only(), options).await?;
        self.before_up(&mut plan, role.as_deref(), options).await?;
        history::prepare(connection, &self.set).await?;
        self.make_tool_table(connection, &mut plan, facts.schema.as_deref()).await?;
        self.say_where(connection, &plan, &facts).await?;
        if let Some(role) = &role {
            db::share_history(connection, role).await?;
        }
        repeat::owe(connection, &self.set, &plan).await?;
        if let Some(note) = plan.note.clone() {
            self.observer.tell(Event::BuildsAlone { note });
        }
        self.observer.tell(plan.event());
        self.tell_left_alone(&plan);
        let mut taken = Taken { owed: plan.owed.clone(), summary };
        for step in &plan.steps {
            lock.check().await?;
            if step.is_sent() {
                self.begins().await?;
            }
            self.take(connection, &plan, step, &mut taken, role.as_deref(), options).await?;
            if step.is_sent() {
                self.ends(connection).await?;
            }
        }
        Ok(self.finish(&taken.summary, started))
    }

    /// Takes one step.
    async fn take(
        &self,
        connection: &Connection,
        plan: &Plan,
        step: &Step,
        taken: &mut Taken,
        role: Option<&str>,
        options: &UpOptions,
    ) -> Result<(), Error> {
        match step {
            Step::Adopt { ledger, checked, versions } => {
                history::adopt(connection, &self.set, versions, None).await?;
                taken.summary.adopted = versions.len();
                self.observer.tell(Event::Adopted {
                    ledger: ledger.clone(),
                    checked: *checked,
                    versions: versions.clone(),
                });
            }
            Step::Baseline { versions } => {
                history::adopt(connection, &self.set, versions, self.also_in(plan)).await?;
                taken.summary.adopted = versions.len();
                self.observer.tell(Event::Baselined { versions: versions.clone() });
            }
            Step::Hook { hook, boundary, version, skipped: true, .. } => {
                self.skip_hook(connection, hook.as_ref(), boundary, *version).await?;
            }
            Step::Hook { hook, boundary, version, skipped: false, .. } => {
                let at = Place { version: *version, owed: taken.owed.clone(), due: None };
                self.run_hook(connection, hook.as_ref(), boundary, at, role, options).await?;
                let done = |name: &str| name == hook.name() || hook.covers().contains(&name);
                for name in taken.owed.extract_if(.., |name| done(name)) {
                    repeat::no_longer_owed(connection, &self.set, &name).await?;
                }
                taken.summary.hooks += 1;
            }
            Step::Repeat { repeatable, why } => {
                self.repeat(connection, repeatable, why, role, self.also_in(plan), options).await?;
                taken.summary.repeatables += 1;
            }
            Step::Apply { migration, again } => {
                let with = With { role, ledger: self.also_in(plan), again: again.as_deref() };
                self.apply(connection, migration, with, options).await?;
                taken.summary.migrations += 1;
                taken.summary.version = taken.summary.version.max(migration.version());
            }
        }
        Ok(())
    }

    /// Makes the history table that is to be kept in step, as its tool would make it, where there is none.
    async fn make_tool_table(
        &self,
        connection: &Connection,
        plan: &mut Plan,
        schema: Option<&str>,
    ) -> Result<(), Error> {
        let Some(origin) = self.set.origin().filter(|origin| origin.keep && plan.ledger.is_none()) else {
            return Ok(());
        };
        let Some(table) = self.set.tool_table(schema) else { return Ok(()) };
        if let Some(reason) = tool::cannot_keep(table.tool) {
            return Err(Error::CannotKeep { tool: table.tool, reason });
        }
        connection.batch(&format!("SET client_min_messages TO warning; {}", tool::create(&table))).await?;
        connection.batch("RESET client_min_messages").await?;
        plan.ledger = Some(table.qualified.clone());
        let made = tool::find_tool_tables(connection, origin.table.as_deref()).await?;
        plan.tool = made.into_iter().find(|made| made.qualified == table.qualified || made.tool == table.tool);
        // What was applied before it was to be kept belongs there, too.
        let history = self.history(connection, Extent::Run).await?;
        let applied = history.versions().into_iter().filter_map(|version| self.set.migration(version));
        let rows: Vec<String> = applied.map(|migration| tool::insert(&table, migration)).collect();
        if !rows.is_empty() {
            connection.batch(&rows.join(";\n")).await?;
        }
        Ok(())
    }

    /// Where what is applied is recorded besides our own history.
    fn also_in<'a>(&self, plan: &'a Plan) -> Option<AlsoIn<'a>> {
        match self.set.origin() {
            Some(origin) if self.set.ledger().is_none() => plan.tool.as_ref().filter(|_| origin.keep).map(AlsoIn::Tool),
            _ => plan.ledger.as_deref().map(AlsoIn::Ledger),
        }
    }

    fn tell_left_alone(&self, plan: &Plan) {
        for left_alone in &plan.left_alone {
            self.observer.tell(Event::LeftAlone(left_alone.clone()));
        }
    }

    fn finish(&self, summary: &Summary, started: Instant) -> Summary {
        self.observer.tell(Event::Finished {
            version: summary.version,
            adopted: summary.adopted,
            migrations: summary.migrations,
            repeatables: summary.repeatables,
            hooks: summary.hooks,
            duration: started.elapsed(),
        });
        summary.clone()
    }

    /// Plans, and makes sure that this server and role can carry the plan out; as which role, if not the session's own.
    pub(super) async fn plan_on_a_fit_server(
        &self,
        connection: &Connection,
        facts: &ServerFacts,
        options: &UpOptions,
    ) -> Result<(Plan, Option<String>), Error> {
        let plan = self.plan(connection, facts, options).await?;
        if plan.is_empty() {
            return Ok((plan, None));
        }
        db::check_history(connection).await?;
        overloads::refuse(connection, &self.set).await?;
        let role = owner::acting_role(connection, &self.set, facts).await?;
        fitness::check_rights(facts, &Rights::read(connection).await?)?;
        fitness::check_row_security(connection, &self.set, facts, role.clone()).await?;
        Ok((plan, role))
    }

    /// Reads our history and the ledger of an older migrator.
    pub(super) async fn history(&self, connection: &Connection, extent: Extent) -> Result<history::History, Error> {
        let history = match history::History::read(connection, &self.set, extent).await {
            Ok(history) => history,
            Err(error) => return Err(fitness::unreadable(connection, error).await?),
        };
        match &history.ledger {
            adopt::Found::Unreadable(table) => {
                Err(fitness::closed_ledger(&self.set, &ServerFacts::read(connection).await?, "read", table, None))
            }
            _ => Ok(history),
        }
    }

    /// Whether this is a database that an older migrator, this program or nobody has built, and as it should be.
    pub(super) async fn judge(&self, connection: &Connection, history: &history::History) -> Result<(), Error> {
        match &history.ledger {
            adopt::Found::Ledger(recorded) => recorded.check(connection, &self.set, &history.versions()).await?,
            // A database that another program has built must not get our first migrations on top.
            adopt::Found::Foreign(table) if history.applied.is_empty() => {
                let database =
                    connection.query_one("SELECT pg_catalog.current_database()::text AS name", &[]).await?.get("name");
                return Err(Error::ForeignLedger { database, ledger: table.clone() });
            }
            adopt::Found::Foreign(_) | adopt::Found::Unreadable(_) | adopt::Found::Nothing => {}
        }
        if let Some((table, schema)) = adopt::elsewhere(connection, &self.set).await? {
            return Err(AdoptionError::Elsewhere { table, schema }.into());
        }
        self.refuse_unexplained(connection, history).await
    }

    /// Tables without a history are not an empty database.
    pub(super) async fn refuse_unexplained(
        &self,
        connection: &Connection,
        history: &history::History,
    ) -> Result<(), Error> {
        if history.current() > Version::NONE {
            return Ok(());
        }
        let Some(object) = adopt::unexplained(connection, &self.set).await? else { return Ok(()) };
        // An empty one that we have kept: perhaps nothing is missing but its rows.
        match self.out_of_step(connection, history).await? {
            Some(found @ OutOfStep::Behind { record: Some(_), .. }) => Err(Error::OutOfStep(Box::new(found))),
            _ => Err(AdoptionError::Unexplained { object }.into()),
        }
    }

    async fn plan(&self, connection: &Connection, facts: &ServerFacts, options: &UpOptions) -> Result<Plan, Error> {
        match self.plan_if_readable(connection, facts, options).await {
            // Of all that a role may not do beside our own tables, the owner of the others is the first thing to know.
            Err(error @ Error::Privilege { .. }) => {
                if fitness::rights(connection).await?.may_read_history {
                    owner::acting_role(connection, &self.set, facts).await?;
                }
                Err(error)
            }
            plan => plan,
        }
    }

    async fn plan_if_readable(
        &self,
        connection: &Connection,
        facts: &ServerFacts,
        options: &UpOptions,
    ) -> Result<Plan, Error> {
        let mut history = self.history(connection, Extent::Run).await?;
        self.refuse_misplaced(connection, facts, &history, options.baseline.is_some()).await?;
        self.judge(connection, &history).await?;
        let baseline = match options.baseline {
            Some(last) => Some(self.baseline(connection, &mut history, last).await?),
            None => None,
        };
        history.check(&self.set)?;
        let mut plan = Plan::new(&self.set, &history, options)?;
        plan.steps.splice(0..0, baseline.map(|versions| Step::Baseline { versions }));
        self.refuse_out_of_step(connection, &history).await?;
        // A run that leaves such a database alone is right in every one.
        if !options.skip_empty {
            self.check_others(connection, &history).await?;
        }
        let dependents = adopt::dependents(connection, &self.set, &plan.versions()).await?;
        if let Some(adopt::Dependent { version, object, name, remedy }) = dependents.into_iter().next() {
            return Err(Error::Dependent { version, object, dependent: name, remedy });
        }
        match history.ledger.ledger() {
            Some(recorded) if plan.migrations() > 0 && !recorded.writable => {
                let facts = ServerFacts::read(connection).await?;
                Err(fitness::closed_ledger(
                    &self.set,
                    &facts,
                    "write to",
                    &recorded.table,
                    recorded.closed_sequence.as_deref(),
                ))
            }
            _ => Ok(plan),
        }
    }

    pub(super) async fn look_at_server(&self, connection: &Connection) -> Result<ServerFacts, Error> {
        let facts = ServerFacts::read(connection).await?;
        if facts.major() < self.set.minimum_server() {
            return Err(Error::ServerTooOld { version: facts.version, minimum: self.set.minimum_server() });
        }
        owner::may_look(connection, &self.set).await?;
        let (host, port) = self.connector.server().await.unwrap_or_default();
        let folder = self.set.origin().and_then(|origin| Some((origin.folder.clone()?, origin.layout)));
        let (folder, layout) = folder.unzip();
        let set = self.set.name().to_owned();
        self.observer.tell(Event::Connected { set, folder, layout, host, port, server: facts.clone() });
        Ok(facts)
    }
}
