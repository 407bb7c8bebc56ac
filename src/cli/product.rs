//! The parts of a program: sets, each with its repairs, further commands and checks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clap::{ArgMatches, Command};

use super::beside::Unchosen;
use super::failure::Failure;
use super::screen::Screen;
use crate::db::{Connector, Program};
use crate::engine::{Error, Hook, Migrator, Set, SetError, Version, Witness};
use crate::repair::Repairs;

/// A program: its name, and the sets that it carries.
#[derive(Clone)]
pub struct Product {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) contents: Vec<Arc<dyn Content>>,
}

/// What belongs to one set. Everything but the set itself has a default: nothing.
#[async_trait]
pub trait Content: Send + Sync + 'static {
    /// The name of the set.
    fn name(&self) -> &str;

    /// The set.
    ///
    /// # Errors
    ///
    /// [`SetError`] if its files contradict each other.
    fn set(&self) -> Result<Set, SetError>;

    /// The same for one database, where that decides something. Only a folder of files asks it.
    ///
    /// # Errors
    ///
    /// [`Failure`]: the set is wrong, or the database cannot be asked.
    async fn set_for(&self, connector: &Connector) -> Result<Set, Failure> {
        let _ = connector;
        self.set().map_err(|error| Failure::from(Error::from(error)))
    }

    /// Whether it expects a database of its own. As the default of a program that also takes folders, it then refuses one that
    /// holds tables of somebody else, until it is named with `--set`.
    fn wants_database_of_its_own(&self) -> bool {
        false
    }

    /// SQL that writes made-up rows into a database of this version, for a rehearsal on one that is made for it. The setting
    /// `migrate.rows` says how many.
    fn made_up_rows(&self, version: Version) -> Option<&'static str> {
        let _ = version;
        None
    }

    /// Repairs of data in its tables.
    fn repairs(&self) -> Repairs {
        Repairs::new()
    }

    /// Commands of its own beside `up`, `status`, `snapshot`, `verify` and `repair`.
    fn verbs(&self) -> Vec<Box<dyn Verb>> {
        Vec::new()
    }

    /// What `verify` checks besides history and schema.
    fn checks(&self) -> Vec<Box<dyn Check>> {
        Vec::new()
    }

    /// Called after a successful `up`: tells the operator what else to do. It must not fail.
    async fn after_up(&self, cx: &Context<'_>) {
        let _ = cx;
    }

    /// A hint for an error, if this content has a better one than the engine, in the words of the program that shows it.
    fn hint(&self, error: &Error, program: &Program) -> Option<String> {
        let _ = (error, program);
        None
    }
}

/// A set without anything besides. It is made once: what is compared, planned and applied is the same text.
struct Plain {
    name: String,
    made: Result<Set, SetError>,
}

impl Content for Plain {
    fn name(&self) -> &str {
        &self.name
    }

    fn set(&self) -> Result<Set, SetError> {
        self.made.clone()
    }
}

/// A command that a set adds.
#[async_trait]
pub trait Verb: Send + Sync {
    /// Its name, help and flags.
    fn command(&self) -> Command;

    /// Whether the command only shows something. It then fails if its output cannot be written.
    fn only_shows(&self, matches: &ArgMatches) -> bool {
        let _ = matches;
        false
    }

    /// Whether it takes `--evidence`. It then shows what it is going to do to [`Context::witnesses`].
    fn keeps_evidence(&self) -> bool {
        false
    }

    /// Runs it and returns the exit code.
    ///
    /// # Errors
    ///
    /// [`Failure`], which says what happened and what to do.
    async fn run(&self, matches: &ArgMatches, cx: &Context<'_>) -> Result<u8, Failure>;
}

/// A comparison of the database with what it should contain. It exits with 4 if they differ.
#[async_trait]
pub trait Check: Send + Sync {
    /// Its name, help and flags, as a subcommand of `verify`.
    fn command(&self) -> Command;

    /// Checks, shows the result, and returns the exit code. `matches` is none if all checks run. With nothing to compare, the event of
    /// its result begins with `no_` or ends with `_not_compared`.
    ///
    /// # Errors
    ///
    /// [`Failure`], which says what happened and what to do.
    async fn run(&self, matches: Option<&ArgMatches>, cx: &Context<'_>) -> Result<u8, Failure>;
}

/// What a command is given.
pub struct Context<'a> {
    pub(crate) unchosen: &'a Unchosen,
    /// Opens connections that end when the program is told to stop.
    pub connector: &'a Connector,
    /// The set of this run on this database.
    pub migrator: &'a Migrator,
    /// Where results and messages go.
    pub screen: Arc<Screen>,
    /// How long to wait for a lock that another session holds.
    pub lock_wait: Duration,
    /// Whoever is to be shown what a run is going to do, such as the evidence of it.
    pub witnesses: &'a [Arc<dyn Witness>],
}

impl Product {
    /// A program without any set.
    #[must_use]
    pub fn new(name: &'static str, version: &'static str) -> Self {
        Self { name, version, contents: Vec::new() }
    }

    /// Adds a set. The first one is the default.
    #[must_use]
    pub fn with(mut self, content: impl Content) -> Self {
        self.contents.push(Arc::new(content));
        self
    }

    /// Adds a set with nothing but its migrations and hooks. The first one is the default.
    ///
    /// What is wrong with it is reported by the command that needs it, not by `--help`.
    #[must_use]
    pub fn set(self, set: impl FnOnce() -> Result<Set, SetError>) -> Self {
        let made = set();
        let name = made.as_ref().map_or(self.name, Set::name).to_owned();
        self.with(Plain { name, made })
    }

    /// The sets, each with what belongs to it.
    pub fn contents(&self) -> impl Iterator<Item = &dyn Content> {
        self.contents.iter().map(AsRef::as_ref)
    }

    /// The content of the set of this name.
    pub(crate) fn content(&self, name: &str) -> Option<&Arc<dyn Content>> {
        self.contents.iter().find(|content| content.name() == name)
    }

    /// A hook of one of its sets.
    pub(crate) fn hook(&self, name: &str) -> Option<Arc<dyn Hook>> {
        self.contents.iter().filter_map(|content| content.set().ok()).find_map(|set| set.hook(name))
    }

    /// The names of all hooks of its sets. A set that contradicts itself names none: every command of its own says so.
    pub(crate) fn hook_names(&self) -> Vec<String> {
        let sets = self.contents.iter().filter_map(|content| content.set().ok());
        sets.flat_map(|set| set.hook_names().into_iter().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// A mistake in the program itself, which no operator can fix: a set that is there twice, or none.
    pub(crate) fn mistake(&self) -> Option<String> {
        let contents = || self.contents.iter();
        if self.contents.is_empty() {
            return Some("this program has no set of migrations".to_owned());
        }
        let sets = contents().map(|content| content.name().to_owned());
        repeated(sets, &[]).map(|name| format!("this program has two sets called {name}"))
    }

    /// The same for the names of what its sets add to the command line.
    pub(crate) fn mistake_in_names(&self) -> Option<String> {
        let contents = || self.contents.iter();
        let repairs = contents().flat_map(|content| content.repairs().names());
        let verbs = contents().flat_map(|content| content.verbs()).map(|verb| verb.command().get_name().to_owned());
        let checks = contents().flat_map(|content| content.checks()).map(|check| check.command().get_name().to_owned());
        let taken = [
            ("repair", repeated(repairs, &["list", "runs", "close", "undo", "help"])),
            (
                "command",
                repeated(
                    verbs,
                    &["up", "down", "status", "snapshot", "verify", "repair", "rehearse", "init", "new", "help"],
                ),
            ),
            ("check", repeated(checks, &["history", "schema", "evidence", "help"])),
        ];
        let (what, name) = taken.into_iter().find_map(|(what, name)| Some((what, name?)))?;
        Some(format!("the name of the {what} {name} is taken, by another {what} or by the command line"))
    }
}

/// The first name that comes twice, or that the command line uses itself.
fn repeated(names: impl Iterator<Item = String>, own: &[&str]) -> Option<String> {
    let mut seen: Vec<String> = own.iter().map(|&name| name.to_owned()).collect();
    for name in names {
        if seen.contains(&name) {
            return Some(name);
        }
        seen.push(name);
    }
    None
}

#[cfg(test)]
mod tests {
    use clap::Args;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::repair::{Column, Repair, Rows};

    #[derive(Args, Serialize, Deserialize)]
    struct Negative {}

    impl Repair for Negative {
        fn name() -> &'static str {
            "negative"
        }

        fn about() -> &'static str {
            "Turns the sign of negative numbers"
        }

        fn rows() -> Rows {
            Rows::new("note", Column::new("id", "bigint"), "written_at", Column::new("words", "int"), "-u.words")
        }

        fn eligible(&self) -> String {
            "u.words < 0".to_owned()
        }
    }

    struct Notes(&'static str, fn() -> Repairs);

    impl Content for Notes {
        fn name(&self) -> &'static str {
            self.0
        }

        fn set(&self) -> Result<Set, SetError> {
            Set::builder(self.0).migration("V1__note", "CREATE TABLE note ()").build()
        }

        fn repairs(&self) -> Repairs {
            (self.1)()
        }
    }

    #[test]
    fn what_is_registered_twice_is_named() {
        let once = || Repairs::new().with::<Negative>();
        let twice = || Repairs::new().with::<Negative>().with::<Negative>();
        let mistake = |contents: Vec<Notes>| {
            let product = contents.into_iter().fold(Product::new("notes", "1"), Product::with);
            product.mistake().or_else(|| product.mistake_in_names())
        };
        let taken = "the name of the repair negative is taken, by another repair or by the command line";
        assert_eq!(mistake(vec![Notes("a", once), Notes("b", Repairs::new)]), None);
        assert_eq!(mistake(vec![Notes("a", twice)]).unwrap(), taken);
        assert_eq!(mistake(vec![Notes("a", once), Notes("b", once)]).unwrap(), taken);
        assert_eq!(mistake(vec![Notes("a", once), Notes("a", once)]).unwrap(), "this program has two sets called a");
        assert_eq!(mistake(Vec::new()).unwrap(), "this program has no set of migrations");
    }
}
