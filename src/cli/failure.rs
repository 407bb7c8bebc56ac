//! Converts an error of the library into a message and an exit code. This happens only here.

use std::sync::Arc;

use serde::Serialize;
use tokio_postgres::error::SqlState;

use super::exit;
use crate::db::{self, Hint, LockTimeout, Program, ServerReport, grouped};
use crate::engine::{AdoptionError, Boundary, DownError, Error, HistoryError, HookError, Problem};
use crate::repair::RepairError;

const REFUSED_STATEMENT: &str = "the server refused a statement";

/// Why a command failed.
#[derive(Debug, Serialize)]
pub struct Failure {
    /// The exit code.
    #[serde(rename = "exit_code")]
    pub exit: u8,
    /// What happened, and to what.
    pub message: String,
    /// The failed checks of an adoption.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// The server's report.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub server: Option<Box<ReportedByServer>>,
    /// What to do next.
    #[serde(skip)]
    pub hint: Option<Hint>,
    /// The progress at the failure.
    #[serde(skip)]
    pub reached: Option<String>,
    /// The engine's error, if it is one.
    #[serde(skip)]
    pub source: Option<Arc<Error>>,
}

/// A failure in the words of one program, as JSON.
#[derive(Debug, Serialize)]
pub struct Told<'a> {
    #[serde(flatten)]
    failure: &'a Failure,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// The server's report, as a JSON field.
#[derive(Debug, Serialize)]
pub struct ReportedByServer {
    /// The report.
    pub server: ServerReport,
}

impl Failure {
    /// A failure with this exit code.
    pub fn new(exit: u8, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            problems: Vec::new(),
            server: None,
            hint: None,
            reached: None,
            source: None,
        }
    }

    /// Wrong usage: the program did nothing.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(exit::USAGE, message)
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Hint>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What to do next, in the words of this program.
    #[must_use]
    pub fn next(&self, program: &Program) -> Option<String> {
        self.hint.as_ref()?.text(program)
    }

    /// The failure as JSON.
    #[must_use]
    pub fn told(&self, program: &Program) -> Told<'_> {
        Told { failure: self, next: self.next(program) }
    }

    /// A statement's or connection's, without what to do about it.
    fn of_database(error: &db::Error) -> Self {
        let exit = exit_code_of_database(error);
        match error.report() {
            Some(report) => {
                let server = Some(Box::new(ReportedByServer { server: report.clone() }));
                Self { server, ..Self::new(exit, REFUSED_STATEMENT) }
            }
            None => Self::new(exit, error.to_string()),
        }
    }

    /// A repair's, without what to do about it.
    fn of_repair(error: &RepairError) -> Self {
        let refused = || Self::new(exit::REFUSED, error.to_string());
        match error {
            RepairError::Database(error) | RepairError::Lock(LockTimeout::Database(error)) => Self::of_database(error),
            RepairError::Lock(error @ LockTimeout::TimedOut { .. }) => Self::new(exit::LOCKED, error.to_string()),
            RepairError::Failed { .. } => Self::new(exit::FAILED, error.to_string()),
            RepairError::Stopped { run, done, total, source } => {
                let [done, total] = [done, total].map(|rows| grouped(*rows));
                let reached = format!("run {run} has done {done} of {total} rows");
                let mut failure = Self::of_repair(source);
                failure.message = format!("{}; {reached}", failure.message);
                failure.reached = Some(reached);
                failure
            }
            RepairError::Refused { .. }
            | RepairError::Changed { .. }
            | RepairError::Unfinished { .. }
            | RepairError::ClockSetBack { .. }
            | RepairError::Busy { .. }
            | RepairError::Overruled { .. }
            | RepairError::NoSuchRun { .. } => refused(),
        }
    }

    /// What happened, without the problems, which the output lists below it.
    pub(crate) fn summary(&self) -> &str {
        let listed = self.problems.iter().fold(String::new(), |list, problem| format!("{list}\n  {problem}"));
        self.message.strip_suffix(&listed).unwrap_or(&self.message)
    }

    /// Replaces the hint by the set's own advice on this error, if it has one.
    pub(crate) fn advised_by(mut self, advice: impl Fn(&Error) -> Option<String>) -> Self {
        if let Some(advice) = self.source.as_deref().and_then(advice) {
            self.hint = Some(advice.into());
        }
        self
    }

    /// After a signal, reports the interruption: the error itself is only its consequence.
    pub(crate) fn unless_interrupted(self, signal: Option<u8>) -> Self {
        match signal {
            Some(exit) => {
                let reached = self.reached.map(|reached| format!("; {reached}")).unwrap_or_default();
                let what = "interrupted: unfinished work was rolled back, finished work stays";
                Self::new(exit, format!("{what}{reached}")).hint("run it again to continue")
            }
            None => self,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = exit_code(&error);
        let problems = match &error {
            Error::Adoption(AdoptionError::Problems { problems, .. }) => problems.clone(),
            _ => Vec::new(),
        };
        let (message, server) = match &error {
            Error::Refused { file, report, .. } => {
                (format!("{file} refused to run, and changed nothing"), Some(report))
            }
            Error::Migration { file, line, source: db::Error::Server(report), undone, .. } => {
                let line = line.map(|line| format!(", line {line},")).unwrap_or_default();
                let rest =
                    if *undone { "and was rolled back" } else { "and is not recorded; what had run before it stays" };
                (format!("{file}{line} failed {rest}"), Some(report))
            }
            Error::Down(error) => match error.as_ref() {
                DownError::Needed { file, report, .. } => (format!("{file} failed and was rolled back"), Some(report)),
                other => (other.to_string(), None),
            },
            Error::Hook { hook, boundary, source: HookError::Database(db::Error::Server(report)) } => {
                (failed_hook(hook, boundary), Some(report))
            }
            Error::Hook { hook, boundary, source } => (format!("{}: {source}", failed_hook(hook, boundary)), None),
            Error::Database(db::Error::Server(report)) => (REFUSED_STATEMENT.to_owned(), Some(report)),
            other => (other.to_string(), None),
        };
        let server = server.map(|report| Box::new(ReportedByServer { server: report.as_ref().clone() }));
        let source = Arc::new(error);
        let hint = Hint::if_any({
            let error = Arc::clone(&source);
            move |program| error.hint(program)
        });
        Self { exit, message, problems, server, hint: Some(hint), reached: None, source: Some(source) }
    }
}

fn failed_hook(hook: &str, boundary: &Boundary) -> String {
    match boundary {
        Boundary::Before(version) => format!("hook {hook} failed, so version {version} was not applied"),
        Boundary::After(_) => format!("hook {hook} failed, so its work is not done yet"),
    }
}

impl From<db::Error> for Failure {
    fn from(error: db::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<RepairError> for Failure {
    fn from(error: RepairError) -> Self {
        let mut failure = Self::of_repair(&error);
        failure.hint = Some(Hint::if_any(move |program| error.hint(program)));
        failure
    }
}

fn exit_code(error: &Error) -> u8 {
    match error {
        Error::Database(error) => exit_code_of_database(error),
        Error::NoSuchTarget { .. } | Error::NoSuchHook { .. } => exit::USAGE,
        Error::Down(error) if matches!(**error, DownError::Needed { .. }) => exit::FAILED,
        Error::History(HistoryError::Newer { .. })
        | Error::ServerTooOld { .. }
        | Error::Standby
        | Error::ReadOnly { .. }
        | Error::ForeignSchema { .. }
        | Error::RowSecurity { .. }
        | Error::Overload { .. }
        | Error::Privilege { .. }
        | Error::NoSchema { .. }
        | Error::ForeignLedger { .. }
        | Error::CannotKeep { .. }
        | Error::NoSuchOwner { .. }
        | Error::Ownership { .. }
        | Error::Dependent { .. }
        | Error::NotRemade { .. }
        | Error::TargetBehind { .. }
        | Error::OutOfStep(_)
        | Error::Misplaced(_)
        | Error::Baseline(_)
        | Error::SomebodyElses(_)
        | Error::Adoption(_)
        | Error::Refused { .. }
        | Error::Down(_)
        | Error::UnusableIndex { .. }
        | Error::Objection(HookError::Refused { .. })
        | Error::Hook { source: HookError::Refused { .. }, .. } => exit::REFUSED,
        Error::History(_) => exit::DRIFT,
        Error::Lock(_) | Error::Entangled { .. } | Error::Hook { source: HookError::Lock(_), .. } => exit::LOCKED,
        Error::Migration { source: db::Error::Lost { .. }, .. }
        | Error::Hook {
            source:
                HookError::Database(db::Error::Connect { .. } | db::Error::SplitServers { .. } | db::Error::Lost { .. }),
            ..
        } => exit::UNREACHABLE,
        Error::Migration { source, .. } | Error::Hook { source: HookError::Database(source), .. }
            if source.is(&SqlState::LOCK_NOT_AVAILABLE) =>
        {
            exit::LOCKED
        }
        _ if error.is_missing_right() => exit::REFUSED,
        Error::Interrupted => exit::SIGTERM,
        _ => exit::FAILED,
    }
}

fn exit_code_of_database(error: &db::Error) -> u8 {
    match error {
        db::Error::BadUrl { .. } | db::Error::Authorities { .. } => exit::USAGE,
        db::Error::SuperuserRefused(_) | db::Error::AlteredHistory { .. } => exit::REFUSED,
        db::Error::Connect { .. }
        | db::Error::SwappedSession { .. }
        | db::Error::SplitServers { .. }
        | db::Error::Lost { .. } => exit::UNREACHABLE,
        db::Error::Interrupted => exit::SIGTERM,
        _ if error.is_missing_right() => exit::REFUSED,
        _ if error.is(&SqlState::LOCK_NOT_AVAILABLE) => exit::LOCKED,
        db::Error::Server(_) | db::Error::Conversion { .. } => exit::FAILED,
    }
}
