//! Which repairs there are.

use std::sync::Arc;

use async_trait::async_trait;
use clap::{ArgMatches, Args, Command};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::RepairError;
use super::gate::Authorised;
use super::rebuild::RebuildContext;
use super::repair::{Rebuild, Repair, Rows};
use crate::db::Connection;
use crate::engine::{Forecast, Outcome};

/// Repairs by name, in the order in which they are listed.
#[derive(Clone, Default)]
pub struct Repairs(Vec<Entry>);

/// One of them. Its arguments are values from here on, as the journal keeps them.
#[derive(Clone)]
pub(super) enum Entry {
    Rows(Arc<dyn AnyRepair>),
    Rebuild(Arc<dyn AnyRebuild>),
}

/// What a repair is, for a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// It corrects rows, keeps a journal of them, and can be undone.
    Corrects,
    /// It computes derived data again.
    Rebuilds,
}

impl Repairs {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a repair.
    ///
    /// # Panics
    ///
    /// If another one has its name, or the command line has (`list`, `runs`, `close`, `undo`).
    #[must_use]
    pub fn with(mut self, repair: impl Repair) -> Self {
        self.must_be_free(repair.name());
        self.0.push(Entry::Rows(Arc::new(Typed(repair))));
        self
    }

    /// Adds a rebuild.
    ///
    /// # Panics
    ///
    /// As [`Self::with`].
    #[must_use]
    pub fn with_rebuild(mut self, rebuild: impl Rebuild) -> Self {
        self.must_be_free(rebuild.name());
        self.0.push(Entry::Rebuild(Arc::new(Typed(rebuild))));
        self
    }

    /// Adds all of `others`.
    ///
    /// # Panics
    ///
    /// As [`Self::with`].
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        others.list().for_each(|(name, ..)| self.must_be_free(name));
        self.0.extend(others.0);
        self
    }

    fn must_be_free(&self, name: &str) {
        assert!(!["list", "runs", "close", "undo", "help"].contains(&name), "a repair cannot be called {name}");
        assert!(self.get(name).is_none(), "there are two repairs called {name}");
    }

    /// Name, one line about it, and what sort it is.
    pub fn list(&self) -> impl Iterator<Item = (&'static str, &'static str, Sort)> + '_ {
        self.0.iter().map(|entry| match entry {
            Entry::Rows(repair) => (repair.name(), repair.about(), Sort::Corrects),
            Entry::Rebuild(rebuild) => (rebuild.name(), rebuild.about(), Sort::Rebuilds),
        })
    }

    /// Whether its rows feed the hourly rollup.
    #[must_use]
    pub fn feeds_rollup(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Entry::Rows(repair)) if repair.rows().feeds_rollup)
    }

    /// What its rows are, if it corrects any.
    #[must_use]
    pub fn rows(&self, name: &str) -> Option<Rows> {
        match self.get(name)? {
            Entry::Rows(repair) => Some(repair.rows()),
            Entry::Rebuild(_) => None,
        }
    }

    /// Adds the flags of a repair to a command.
    #[must_use]
    pub fn augment(&self, name: &str, command: Command) -> Command {
        match self.get(name) {
            Some(Entry::Rows(repair)) => repair.augment(command),
            Some(Entry::Rebuild(rebuild)) => rebuild.augment(command),
            None => command,
        }
    }

    /// Reads the flags of a repair.
    ///
    /// # Errors
    ///
    /// What the command line says about them.
    pub fn read(&self, name: &str, matches: &ArgMatches) -> Result<Value, clap::Error> {
        match self.get(name) {
            Some(Entry::Rows(repair)) => repair.read(matches),
            Some(Entry::Rebuild(rebuild)) => rebuild.read(matches),
            None => Ok(Value::Null),
        }
    }

    pub(super) fn repair(&self, name: &str) -> Result<&dyn AnyRepair, RepairError> {
        match self.get(name) {
            Some(Entry::Rows(repair)) => Ok(repair.as_ref()),
            _ => Err(no_such(name)),
        }
    }

    pub(super) fn rebuild(&self, name: &str) -> Result<&dyn AnyRebuild, RepairError> {
        match self.get(name) {
            Some(Entry::Rebuild(rebuild)) => Ok(rebuild.as_ref()),
            _ => Err(no_such(name)),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| match entry {
            Entry::Rows(repair) => repair.name() == name,
            Entry::Rebuild(rebuild) => rebuild.name() == name,
        })
    }
}

/// A repair whose arguments are a value.
#[async_trait]
pub(super) trait AnyRepair: Send + Sync {
    fn name(&self) -> &'static str;
    fn about(&self) -> &'static str;
    fn rows(&self) -> Rows;
    fn augment(&self, command: Command) -> Command;
    fn read(&self, matches: &ArgMatches) -> Result<Value, clap::Error>;
    fn eligible(&self, arguments: &Value) -> Result<String, RepairError>;
    fn cutoff(&self, arguments: &Value) -> Result<Option<String>, RepairError>;
    async fn check(&self, connection: &Connection, arguments: &Value) -> Result<(), RepairError>;
}

/// A rebuild whose arguments are a value.
#[async_trait]
pub(super) trait AnyRebuild: Send + Sync {
    fn name(&self) -> &'static str;
    fn about(&self) -> &'static str;
    fn augment(&self, command: Command) -> Command;
    fn read(&self, matches: &ArgMatches) -> Result<Value, clap::Error>;
    async fn inspect(
        &self,
        connection: &Connection,
        cx: &RebuildContext,
        arguments: &Value,
    ) -> Result<Forecast, RepairError>;
    async fn run(
        &self,
        connection: &Connection,
        cx: &RebuildContext,
        arguments: &Value,
        authorised: &Authorised<Forecast>,
    ) -> Result<Outcome, RepairError>;
}

fn no_such(name: &str) -> RepairError {
    RepairError::refused_with_hint(format!("there is no repair {name}"), "migrate repair list names them all")
}

struct Typed<R>(R);

fn read<A: Args + serde::Serialize>(matches: &ArgMatches) -> Result<Value, clap::Error> {
    let arguments = A::from_arg_matches(matches)?;
    serde_json::to_value(arguments).map_err(|error| clap::Error::raw(clap::error::ErrorKind::ValueValidation, error))
}

fn typed<A: DeserializeOwned>(arguments: &Value) -> Result<A, RepairError> {
    serde_json::from_value(arguments.clone())
        .map_err(|error| RepairError::refused(format!("the arguments {arguments} cannot be read: {error}")))
}

#[async_trait]
impl<R: Repair> AnyRepair for Typed<R> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn about(&self) -> &'static str {
        self.0.about()
    }

    fn rows(&self) -> Rows {
        self.0.rows()
    }

    fn augment(&self, command: Command) -> Command {
        R::Arguments::augment_args(command)
    }

    fn read(&self, matches: &ArgMatches) -> Result<Value, clap::Error> {
        read::<R::Arguments>(matches)
    }

    fn eligible(&self, arguments: &Value) -> Result<String, RepairError> {
        Ok(self.0.eligible(&typed(arguments)?))
    }

    fn cutoff(&self, arguments: &Value) -> Result<Option<String>, RepairError> {
        Ok(self.0.cutoff(&typed(arguments)?))
    }

    async fn check(&self, connection: &Connection, arguments: &Value) -> Result<(), RepairError> {
        self.0.check(connection, &typed(arguments)?).await
    }
}

#[async_trait]
impl<R: Rebuild> AnyRebuild for Typed<R> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn about(&self) -> &'static str {
        self.0.about()
    }

    fn augment(&self, command: Command) -> Command {
        R::Arguments::augment_args(command)
    }

    fn read(&self, matches: &ArgMatches) -> Result<Value, clap::Error> {
        read::<R::Arguments>(matches)
    }

    async fn inspect(
        &self,
        connection: &Connection,
        cx: &RebuildContext,
        arguments: &Value,
    ) -> Result<Forecast, RepairError> {
        self.0.inspect(connection, cx, &typed(arguments)?).await
    }

    async fn run(
        &self,
        connection: &Connection,
        cx: &RebuildContext,
        arguments: &Value,
        authorised: &Authorised<Forecast>,
    ) -> Result<Outcome, RepairError> {
        self.0.run(connection, cx, &typed(arguments)?, authorised).await
    }
}
