//! The list of repairs.

use clap::{ArgMatches, Args, Command};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::RepairError;
use super::derived::Derived;
use super::inserts::Inserts;
use super::repair::Repair;
use super::rows::Rows;
use crate::db::Hint;
use crate::engine::Hook;

/// Repairs by name, in the order in which they are listed.
#[derive(Clone, Default)]
pub struct Repairs(Vec<Entry>, Vec<Inserts>);

#[derive(Clone)]
struct Entry {
    name: &'static str,
    about: &'static str,
    augment: fn(Command) -> Command,
    read: fn(&ArgMatches) -> Result<Value, clap::Error>,
    kind: Kind,
}

/// What a repair does with its flags.
#[derive(Clone)]
enum Kind {
    Corrects { rows: Box<Rows>, make: fn(&Value) -> Result<Box<dyn Repair>, RepairError> },
    Rebuilds { derived: &'static dyn Derived, make: fn(&Value) -> Result<Box<dyn Hook>, RepairError> },
}

/// A repair in a list.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// Its name.
    pub repair: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// What kind it is.
    #[serde(rename = "sort")]
    pub kind: RepairKind,
    /// The rows that it corrects, if it corrects any.
    #[serde(skip)]
    pub rows: Option<Rows>,
}

/// What a repair does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RepairKind {
    /// It corrects rows, keeps a journal of them, and can be undone.
    Corrects,
    /// It rebuilds derived data.
    Rebuilds,
}

impl Repairs {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a repair.
    #[must_use]
    pub fn with<R: Repair + Args + Serialize + DeserializeOwned>(mut self) -> Self {
        let make = |arguments: &Value| Ok(Box::new(typed::<R>(arguments)?) as Box<dyn Repair>);
        let kind = Kind::Corrects { rows: Box::new(R::rows()), make };
        self.0.push(Entry { name: R::name(), about: R::about(), augment: R::augment_args, read: read::<R>, kind });
        self
    }

    /// Adds a hook that rebuilds derived data. Its fields are its flags.
    #[must_use]
    pub fn with_rebuild<H: Hook + Args + Serialize + DeserializeOwned + 'static>(
        mut self,
        name: &'static str,
        about: &'static str,
        derived: &'static dyn Derived,
    ) -> Self {
        let make = |arguments: &Value| Ok(Box::new(typed::<H>(arguments)?) as Box<dyn Hook>);
        let kind = Kind::Rebuilds { derived, make };
        self.0.push(Entry { name, about, augment: H::augment_args, read: read::<H>, kind });
        self
    }

    /// Knows what another command inserts, so that its runs can be undone. It is no repair of its own.
    #[must_use]
    pub fn with_inserts(mut self, inserts: Inserts) -> Self {
        self.1.push(inserts);
        self
    }

    /// What other commands insert.
    pub(super) fn inserts(&self) -> impl Iterator<Item = &Inserts> {
        self.1.iter()
    }

    /// Adds all of `others`.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self.1.extend(others.1);
        self
    }

    /// Their names.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|entry| entry.name.to_owned()).collect()
    }

    /// All of them.
    pub fn list(&self) -> impl Iterator<Item = Listed> + '_ {
        self.0.iter().map(|Entry { name, about, kind, .. }| {
            let (kind, rows) = match kind {
                Kind::Corrects { rows, .. } => (RepairKind::Corrects, Some(rows.as_ref().clone())),
                Kind::Rebuilds { .. } => (RepairKind::Rebuilds, None),
            };
            Listed { repair: name, about, kind, rows }
        })
    }

    /// Adds the flags of a repair to a command.
    #[must_use]
    pub fn augment(&self, name: &str, command: Command) -> Command {
        match self.entry(name) {
            Some(entry) => (entry.augment)(command),
            None => command,
        }
    }

    /// Reads the flags of a repair.
    ///
    /// # Errors
    ///
    /// An error of the command line parser.
    pub fn read(&self, name: &str, matches: &ArgMatches) -> Result<Value, clap::Error> {
        self.entry(name).map_or(Ok(Value::Null), |entry| (entry.read)(matches))
    }

    /// The repair with this name and these flags, and the rows that it corrects.
    pub(super) fn repair(&self, name: &str, arguments: &Value) -> Result<(Rows, Box<dyn Repair>), RepairError> {
        match self.entry(name).map(|entry| &entry.kind) {
            Some(Kind::Corrects { rows, make }) => Ok((rows.as_ref().clone(), make(arguments)?)),
            _ => Err(no_such(name)),
        }
    }

    /// The hook with this name and these flags, and the data that it rebuilds.
    pub(super) fn rebuild(
        &self,
        name: &str,
        arguments: &Value,
    ) -> Result<(&'static dyn Derived, Box<dyn Hook>), RepairError> {
        match self.entry(name).map(|entry| &entry.kind) {
            Some(Kind::Rebuilds { derived, make }) => Ok((*derived, make(arguments)?)),
            _ => Err(no_such(name)),
        }
    }

    /// Every table that an inspection may read.
    pub(super) fn tables(&self) -> Vec<&'static str> {
        let mut tables: Vec<_> = self.1.iter().map(|inserts| inserts.table).collect();
        for entry in &self.0 {
            let derived = match &entry.kind {
                Kind::Corrects { rows, .. } => {
                    tables.push(rows.table);
                    rows.derived
                }
                Kind::Rebuilds { derived, .. } => Some(*derived),
            };
            if let Some(derived) = derived {
                tables.extend(derived.reads().iter().chain(derived.writes()));
            }
        }
        tables.sort_unstable();
        tables.dedup();
        tables
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.name == name)
    }
}

fn no_such(name: &str) -> RepairError {
    let list = Hint::if_any(|program| Some(format!("{} shows all repairs", program.command("repair list")?)));
    RepairError::refused_with_hint(format!("there is no repair {name}"), list)
}

fn read<A: Args + Serialize>(matches: &ArgMatches) -> Result<Value, clap::Error> {
    let arguments = A::from_arg_matches(matches)?;
    serde_json::to_value(arguments).map_err(|error| clap::Error::raw(clap::error::ErrorKind::ValueValidation, error))
}

fn typed<A: DeserializeOwned>(arguments: &Value) -> Result<A, RepairError> {
    serde_json::from_value(arguments.clone())
        .map_err(|error| RepairError::refused(format!("the arguments {arguments} cannot be read: {error}")))
}
