//! From an error of the library to what a person reads and a script sees. The only place that knows both.

use serde::Serialize;
use tokio_postgres::error::SqlState;

use super::exit;
use crate::db::{self, ServerReport};
use crate::engine::{AdoptionError, Error, HistoryError, HookError, Obstacle};
use crate::usage::{CompareError, SurveyError, TickError};

/// Why a command did not do what it was asked to.
#[derive(Debug, Serialize)]
pub(super) struct Failure {
    /// The exit code.
    #[serde(rename = "exit_code")]
    pub exit: u8,
    /// What happened, to what.
    pub message: String,
    /// What the server said about it.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub server: Option<Box<ReportedByServer>>,
    /// What to do about it.
    #[serde(rename = "next", skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The server's report, under a name of its own.
#[derive(Debug, Serialize)]
pub(super) struct ReportedByServer {
    pub server: ServerReport,
}

impl Failure {
    pub fn new(exit: u8, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), server: None, hint: None }
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(exit::USAGE, message)
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A run that was told to stop fails in whatever way it was stopped; what counts is that it was told.
    pub fn unless_interrupted(self, signal: Option<u8>) -> Self {
        match signal {
            Some(exit) => Self::new(exit, "interrupted: what was under way is rolled back, what was finished stays")
                .hint("run it again to go on"),
            None => self,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = exit_code(&error);
        let hint = hint(&error);
        let (message, server) = match error {
            Error::Refused { file, report, .. } => {
                (format!("{file} refused to run, and changed nothing"), Some(*report))
            }
            Error::Migration { file, line, source: db::Error::Server(report), .. } => {
                let line = line.map(|line| format!(", line {line},")).unwrap_or_default();
                (format!("{file}{line} failed and was rolled back"), Some(*report))
            }
            Error::Hook { hook, before, source: HookError::Database(db::Error::Server(report)) } => {
                (format!("hook {hook} failed, so version {before} was not applied"), Some(*report))
            }
            Error::Hook { hook, before, source } => {
                (format!("hook {hook} failed, so version {before} was not applied: {source}"), None)
            }
            Error::Database(db::Error::Server(report)) => ("the server refused a statement".to_owned(), Some(*report)),
            other => (other.to_string(), None),
        };
        Self { exit, message, server: server.map(|server| Box::new(ReportedByServer { server })), hint }
    }
}

impl From<db::Error> for Failure {
    fn from(error: db::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<TickError> for Failure {
    fn from(error: TickError) -> Self {
        match error {
            TickError::NoPipeline => Self::new(exit::REFUSED, error.to_string()).hint("run migrate up first"),
            TickError::NoState => Self::new(exit::REFUSED, error.to_string()).hint(NO_STATE_HINT),
            TickError::Database(error) if error.is(&SqlState::LOCK_NOT_AVAILABLE) => {
                Self { exit: exit::LOCKED, ..Self::from(error) }
            }
            TickError::Database(error) => error.into(),
        }
    }
}

impl From<CompareError> for Failure {
    fn from(error: CompareError) -> Self {
        match error {
            CompareError::NoPipeline => TickError::NoPipeline.into(),
            CompareError::NoState => TickError::NoState.into(),
            CompareError::Survey(SurveyError::Database(error)) | CompareError::Database(error) => {
                TickError::Database(error).into()
            }
            CompareError::Survey(error) => {
                Self::new(exit::FAILED, error.to_string()).hint("correct or delete such rows in task_usage")
            }
            CompareError::Lock(error) => Error::from(error).into(),
        }
    }
}

/// What to do about a missing state row of the hourly rollup.
const NO_STATE_HINT: &str = "INSERT INTO task_usage_hourly_rollup_state (id) VALUES (1); then run it again";

fn exit_code(error: &Error) -> u8 {
    match error {
        Error::NoSuchTarget { .. } | Error::NoSuchHook { .. } | Error::Database(db::Error::BadUrl { .. }) => {
            exit::USAGE
        }
        Error::History(HistoryError::Newer { .. })
        | Error::ServerTooOld { .. }
        | Error::Standby
        | Error::Privilege { .. }
        | Error::NoSchema { .. }
        | Error::ForeignLedger { .. }
        | Error::Ownership { .. }
        | Error::Adoption(_)
        | Error::Refused { .. } => exit::REFUSED,
        Error::History(_) => exit::DRIFT,
        Error::Lock(_) | Error::Hook { source: HookError::Lock(_), .. } => exit::LOCKED,
        Error::Database(db::Error::Connect { .. } | db::Error::SwappedSession { .. } | db::Error::Lost { .. })
        | Error::Migration { source: db::Error::Lost { .. }, .. }
        | Error::Hook { source: HookError::Database(db::Error::Connect { .. } | db::Error::Lost { .. }), .. } => {
            exit::UNREACHABLE
        }
        Error::Migration { source, .. } | Error::Hook { source: HookError::Database(source), .. }
            if source.is(&SqlState::LOCK_NOT_AVAILABLE) =>
        {
            exit::LOCKED
        }
        Error::Migration { source, .. } | Error::Hook { source: HookError::Database(source), .. }
            if source.is(&SqlState::INSUFFICIENT_PRIVILEGE) =>
        {
            exit::REFUSED
        }
        Error::Interrupted => exit::SIGTERM,
        _ => exit::FAILED,
    }
}

fn hint(error: &Error) -> Option<String> {
    let hint = match error {
        Error::Database(error)
        | Error::Hook {
            source: HookError::Database(error @ (db::Error::Lost { .. } | db::Error::Connect { .. })),
            ..
        }
        | Error::Migration { source: error @ db::Error::Lost { .. }, .. } => return database_hint(error),
        Error::History(HistoryError::Newer { .. }) => {
            "run the version of this program that migrated it, or a newer one".to_owned()
        }
        Error::History(HistoryError::Missing { .. }) => {
            "run a build of this program that has that migration".to_owned()
        }
        Error::History(HistoryError::Divergent { .. }) => {
            "a migration that has been applied must stay as it was: restore the file, and put the change into a new one"
                .to_owned()
        }
        Error::History(HistoryError::OutOfOrder { .. }) => {
            "give that migration a version above the current one".to_owned()
        }
        Error::ServerTooOld { minimum, .. } => format!("upgrade the server to PostgreSQL {minimum} or newer first"),
        Error::Standby => "connect to the primary server".to_owned(),
        Error::Privilege { grant, .. } => format!("as the owner, run: {grant}"),
        Error::NoSchema { role, .. } => format!("for example: ALTER ROLE \"{role}\" SET search_path TO public"),
        Error::ForeignLedger { ledger, .. } => format!(
            "if this is the right database and {ledger} has nothing to do with it, rename that table; else check the URL"
        ),
        Error::Ownership { owner, role, .. } => {
            format!("connect as {owner}, or as a superuser run: GRANT \"{owner}\" TO \"{role}\"")
        }
        Error::Adoption(error) => adoption_hint(error),
        Error::Lock(_) | Error::Hook { source: HookError::Lock(_), .. } => {
            "wait for it to end, or give a longer --lock-wait".to_owned()
        }
        Error::Refused { skipped, .. } if !skipped.is_empty() => {
            format!("run migrate up without --skip-hook {}", skipped.join(" --skip-hook "))
        }
        Error::Hook { source: HookError::Failed { hint, .. }, .. } => return hint.clone(),
        Error::Migration { source, .. } if source.is(&SqlState::ACTIVE_SQL_TRANSACTION) => {
            "let the file begin with: -- migrate: no-transaction".to_owned()
        }
        Error::Migration { source, .. } | Error::Hook { source: HookError::Database(source), .. }
            if source.is(&SqlState::INSUFFICIENT_PRIVILEGE) =>
        {
            "connect as the role that owns these tables, or as a member of it: GRANT <owner> TO <role>".to_owned()
        }
        Error::Migration { obstacle: Some(obstacle), .. } => obstacle_hint(obstacle),
        Error::Migration { source, .. } | Error::Hook { source: HookError::Database(source), .. }
            if source.is(&SqlState::QUERY_CANCELED) =>
        {
            "if that was a statement_timeout of the database URL, give a longer one; then run migrate up again"
                .to_owned()
        }
        Error::Migration { source, .. } | Error::Hook { source: HookError::Database(source), .. }
            if source.is(&SqlState::DISK_FULL) =>
        {
            "make room on the server's volume, then run migrate up again: it goes on where it stopped".to_owned()
        }
        Error::Migration { source, .. } | Error::Hook { source: HookError::Database(source), .. }
            if source.is(&SqlState::LOCK_NOT_AVAILABLE) =>
        {
            "end the transactions that hold the table (see pg_stat_activity), or give a longer --lock-wait".to_owned()
        }
        Error::Hook { .. } => "repair the cause, then run migrate up again: it goes on where it stopped".to_owned(),
        _ => return None,
    };
    Some(hint)
}

fn obstacle_hint(obstacle: &Obstacle) -> String {
    match obstacle {
        Obstacle::Holder(holder) => format!(
            "{holder} was in the way: end its transaction, SELECT pg_terminate_backend({}), or give a longer --lock-wait",
            holder.pid
        ),
        Obstacle::Unrecorded { statement } => format!(
            "if an older migrator was killed between making this and recording it, run: {statement} then migrate up \
             again, which checks it"
        ),
    }
}

fn adoption_hint(error: &AdoptionError) -> String {
    match error {
        AdoptionError::Incomplete { .. } => {
            "nothing was written; bring this database to v0.2.13 or later with the platform's own migrator first"
                .to_owned()
        }
        AdoptionError::Gap { table, missing, .. } => {
            let entry = missing.first().map(String::as_str).unwrap_or_default();
            format!(
                "nothing was written; if it was applied all the same, run: INSERT INTO {table} (version) VALUES \
                 ('{entry}'); what it stands for is then checked"
            )
        }
        AdoptionError::Problems { problems, .. } => {
            let remedies: Vec<_> = problems.iter().filter_map(|problem| problem.remedy.as_deref()).collect();
            if problems.iter().any(|problem| problem.what.contains("not in the search path")) {
                "nothing was written; add that schema to the search path: ?options=-csearch_path%3D<schema>".to_owned()
            } else if remedies.is_empty() {
                "nothing was written; restore these objects from a backup, or finish with the migrator that recorded \
                 them, then run migrate up again"
                    .to_owned()
            } else {
                format!("nothing was written; run this, then migrate up again: {}", remedies.join(" "))
            }
        }
    }
}

fn database_hint(error: &db::Error) -> Option<String> {
    let hint = match error {
        db::Error::BadUrl { .. } => "it should read postgres://user:password@host:port/database",
        db::Error::Connect { reason, sqlstate: None, .. }
            if reason.contains("TLS") || reason.contains("certificate") =>
        {
            "check sslmode and sslrootcert in the database URL"
        }
        db::Error::Connect { sqlstate, reason, .. } => match sqlstate.as_deref() {
            None if reason.contains("password missing") => "put the password into the database URL",
            Some("28P01") => "check user and password in the database URL",
            Some("28000") => "check the user in the database URL, and pg_hba.conf on the server",
            Some("3D000") => "check the database's name in the URL, or create it with: createdb",
            Some("53300") => "the server has no connection left; end some, or raise max_connections",
            Some("57P03") => "the server is starting up or shutting down; try again when it is ready",
            _ => "check that the server is running, and host and port in the database URL",
        },
        db::Error::SwappedSession { .. } => {
            "connect to the server directly, or through a pool in session mode, for example with MIGRATE_DATABASE_URL"
        }
        db::Error::Lost { .. } => {
            "run it again once the server is back: what was under way is rolled back, what was finished stays"
        }
        db::Error::Server(_) | db::Error::Conversion { .. } | db::Error::Interrupted => return None,
    };
    Some(hint.to_owned())
}
