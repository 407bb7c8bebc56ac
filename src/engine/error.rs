//! Why a run stopped.

use std::fmt;

use super::Version;
use super::adoption_error::AdoptionError;
use super::baseline::BaselineError;
use super::down_error::DownError;
use super::history_error::HistoryError;
use super::hook::HookError;
use super::misplaced::Misplaced;
use super::others::Others;
use super::out_of_step::OutOfStep;
use super::outcome::Boundary;
use super::set_error::SetError;
use super::tool::Tool;
use super::why::Change;
use crate::db::{self, LockTimeout};

/// What a role lacks to change what belongs to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacks {
    /// The connected role is not a member of the owner, or does not inherit its rights.
    Rights,
    /// The session's role may not become the owner; what it makes could not be used by the application.
    Becoming,
    /// One object has another owner than all the others.
    Object,
}

impl fmt::Display for Lacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rights => "does not have its rights",
            Self::Becoming => "may not become it",
            Self::Object => "owns the tables it goes with",
        })
    }
}

/// What a migration has met.
#[derive(Clone, Debug)]
pub enum Obstacle {
    /// A transaction that has had a lock on one of the tables for longest.
    Holder(db::Holder),
    /// Something of that name: an earlier try may have committed a part of the file.
    Begun {
        /// The statement that records the migration in the history of its tool, if that is kept or continued.
        statement: Option<String>,
    },
    /// Something of that name, in the database of an older migrator. With this statement that one's ledger records the
    /// migration.
    Unrecorded {
        /// The statement.
        statement: String,
    },
}

/// Why a run stopped. Whatever it had completed stays.
///
/// Its `Debug` is for people: what happened, the server's report, and what to do. So `fn main() -> Result<(), Error>` ends with a
/// message that can be acted on. `Display` is the message alone, and [`Error::hint`] what to do.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The set itself is wrong.
    #[error(transparent)]
    Set(#[from] SetError),
    /// History and set contradict each other.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// An older migrator's database does not check out.
    #[error(transparent)]
    Adoption(#[from] AdoptionError),
    /// History and objects are of different times.
    #[error("{0}")]
    OutOfStep(Box<OutOfStep>),
    /// The set is not where its history says.
    #[error(transparent)]
    Misplaced(Box<Misplaced>),
    /// Versions cannot be recorded unseen.
    #[error(transparent)]
    Baseline(#[from] BaselineError),
    /// The database cannot go back.
    #[error(transparent)]
    Down(Box<DownError>),
    /// A target that the database is past already.
    #[error("versions only go forward: the database is at {current}, and target {target} is below that")]
    TargetBehind {
        /// What was asked for.
        target: Version,
        /// Where the database is.
        current: Version,
    },
    /// A target beyond the last version.
    #[error("there is no version {target}: the latest is {latest}")]
    NoSuchTarget {
        /// What was asked for.
        target: Version,
        /// Highest version of the set.
        latest: Version,
    },
    /// A hook to skip that does not exist.
    #[error("there is no hook {name:?}: this set has {}", if known.is_empty() { "no hooks".to_owned() } else { known.join(", ") })]
    NoSuchHook {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The server is older than the set needs.
    #[error("the server is PostgreSQL {version}, and these migrations need {minimum} or newer")]
    ServerTooOld {
        /// The server's version.
        version: String,
        /// Oldest major version that will do.
        minimum: i32,
    },
    /// The server cannot write.
    #[error("the server is a standby, where nothing can be written")]
    Standby,
    /// The role lacks a right that every run needs.
    #[error("role {role} may not {what} of database {database}")]
    Privilege {
        /// The role.
        role: String,
        /// What it may not do.
        what: String,
        /// The database.
        database: String,
        /// The statement that gives it the right.
        grant: String,
    },
    /// Nothing in the search path exists.
    #[error("the search path of role {role} in database {database} names no schema that exists")]
    NoSchema {
        /// The role.
        role: String,
        /// The database.
        database: String,
    },
    /// The role that is to own what is made does not exist.
    #[error("role {owner}, who is to own what is made, does not exist")]
    NoSuchOwner {
        /// The role.
        owner: String,
    },
    /// Something that must be changed belongs to a role whose rights this one does not have.
    #[error("{object} belongs to role {owner}, and role {role} {lacks}")]
    Ownership {
        /// The object.
        object: String,
        /// Whose it is.
        owner: String,
        /// The role that would have to change it.
        role: String,
        /// What it lacks.
        lacks: Lacks,
    },
    /// The schema that the history is kept in belongs to another program.
    #[error(
        "the schema migrate of database {database} belongs to another program: {owner} owns it, and it holds {table}"
    )]
    ForeignSchema {
        /// The database.
        database: String,
        /// Who owns the schema.
        owner: String,
        /// A table in it that is none of ours.
        table: String,
    },
    /// Something could be called instead of a function or operator that a migration means.
    #[error("{object} belongs to {owner}, and could be called instead of what a migration means")]
    Overload {
        /// What it is.
        object: String,
        /// Whose.
        owner: String,
        /// The statement that removes it.
        remedy: String,
    },
    /// Row-level security may hide rows of a table that is read or written.
    #[error("row-level security on {table} may hide rows from role {role}, and what is hidden would count as absent")]
    RowSecurity {
        /// The table.
        table: String,
        /// The role.
        role: String,
    },
    /// A setting of the role or the database keeps transactions from writing.
    #[error("sessions of role {role} in database {database} are read-only (default_transaction_read_only)")]
    ReadOnly {
        /// The role.
        role: String,
        /// The database.
        database: String,
    },
    /// Something that does not belong to the chain depends on what a pending version drops.
    #[error("{} drops {object}, and {dependent} depends on it", version.label())]
    Dependent {
        /// The version.
        version: Version,
        /// What it drops.
        object: String,
        /// What depends on that.
        dependent: String,
        /// The statement that ends the dependence, where there is one.
        remedy: Option<String>,
    },
    /// Another program has migrated this database.
    #[error("database {database} was built by another migrator: it has {ledger}, which records nothing known here")]
    ForeignLedger {
        /// The database.
        database: String,
        /// The table that says so.
        ledger: String,
    },
    /// The database holds tables of somebody else, and nobody has said that the set is the right one.
    #[error("{0}")]
    SomebodyElses(Box<Others>),
    /// The history of the folder's tool cannot be kept in step.
    #[error("the history of {} cannot be kept in step: {reason}", tool.name())]
    CannotKeep {
        /// The tool.
        tool: Tool,
        /// Why not.
        reason: &'static str,
    },
    /// What an earlier application of a repeatable file has made, and what holds data, is not as it was.
    #[error("{file} cannot be applied: {object} {change}, and a table is not created again")]
    NotRemade {
        /// The file.
        file: String,
        /// The object.
        object: String,
        /// What became of it.
        change: Change,
    },
    /// A lock could not be acquired in time.
    #[error(transparent)]
    Lock(LockTimeout),
    /// An index build would never have ended: a session that is older than it waits for the migration lock inside the
    /// server, and may not be cancelled by this role.
    #[error(
        "{file} cannot be applied: {holder} waits for the migration lock inside the server, and an index build waits for every older transaction: a deadlock"
    )]
    Entangled {
        /// The file.
        file: String,
        /// The session that would have to end first.
        holder: Box<db::Holder>,
    },
    /// A migration's own check says that it must not run yet: it raised SQLSTATE 55000.
    #[error("{file} refused to run: {report}")]
    Refused {
        /// The file.
        file: String,
        /// The version.
        version: Version,
        /// What it says.
        report: Box<db::ServerReport>,
        /// Hooks before it that the operator left out.
        skipped: Vec<String>,
    },
    /// The statement of a file succeeded, and the index that it builds is not usable all the same.
    #[error("{file} is not recorded as applied: its statement succeeded, but index {index} cannot be used: {found}")]
    UnusableIndex {
        /// The file.
        file: String,
        /// The index.
        index: String,
        /// What bears its name.
        found: String,
    },
    /// A migration failed and was rolled back.
    #[error("{file}{} failed: {source}", line.map(|line| format!(", line {line},")).unwrap_or_default())]
    Migration {
        /// The file.
        file: String,
        /// The line that the server points at.
        line: Option<usize>,
        /// Why.
        source: db::Error,
        /// What was in the way, where that is known.
        obstacle: Option<Box<Obstacle>>,
        /// Whether all of the file was rolled back. One that runs outside a transaction, or commits by itself, is not.
        undone: bool,
    },
    /// A hook failed, and the migration behind it was not begun.
    #[error("hook {hook} {boundary} failed: {source}")]
    Hook {
        /// The hook.
        hook: String,
        /// Where it runs.
        boundary: Boundary,
        /// Why.
        source: HookError,
    },
    /// Whoever witnesses the run has refused it, or could not keep what it keeps. Nothing was written.
    #[error(transparent)]
    Objection(HookError),
    /// The database could not be used.
    #[error(transparent)]
    Database(db::Error),
    /// The run was told to stop. What it was in the middle of was rolled back.
    #[error("interrupted")]
    Interrupted,
}

impl From<DownError> for Error {
    fn from(error: DownError) -> Self {
        Self::Down(Box::new(error))
    }
}

impl From<db::Error> for Error {
    fn from(error: db::Error) -> Self {
        match error {
            db::Error::Interrupted => Self::Interrupted,
            other => Self::Database(other),
        }
    }
}

impl From<LockTimeout> for Error {
    fn from(error: LockTimeout) -> Self {
        match error {
            LockTimeout::Database(error) => error.into(),
            timed_out @ LockTimeout::TimedOut { .. } => Self::Lock(timed_out),
        }
    }
}
