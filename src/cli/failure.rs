//! Converts an error of the library into a message and an exit code. This happens only here.

use serde::Serialize;
use tokio_postgres::error::SqlState;

use super::exit;
use super::hint::{hint, rights_hint};
use super::repair_command::command_of;
use crate::db::{self, ServerReport, grouped};
use crate::engine::{AdoptionError, Boundary, Error, HistoryError, HookError, Problem};
use crate::repair::RepairError;

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
    #[serde(rename = "next", skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The progress at the failure.
    #[serde(skip)]
    pub reached: Option<String>,
    /// The engine's error, if it is one.
    #[serde(skip)]
    pub source: Option<Box<Error>>,
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
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What happened, without the problems, which the output lists below it.
    pub(crate) fn summary(&self) -> &str {
        let listed = self.problems.iter().fold(String::new(), |list, problem| format!("{list}\n  {problem}"));
        self.message.strip_suffix(&listed).unwrap_or(&self.message)
    }

    /// Replaces the hint by the set's own advice on this error, if it has one.
    pub(crate) fn advised_by(mut self, advice: impl Fn(&Error) -> Option<String>) -> Self {
        if let Some(advice) = self.source.as_deref().and_then(advice) {
            self.hint = Some(advice);
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
        let hint = hint(&error);
        let problems = match &error {
            Error::Adoption(AdoptionError::Problems { problems, .. }) => problems.clone(),
            _ => Vec::new(),
        };
        let (message, server) = match &error {
            Error::Refused { file, report, .. } => {
                (format!("{file} refused to run, and changed nothing"), Some(report))
            }
            Error::Migration { file, line, source: db::Error::Server(report), .. } => {
                let line = line.map(|line| format!(", line {line},")).unwrap_or_default();
                (format!("{file}{line} failed and was rolled back"), Some(report))
            }
            Error::Hook { hook, boundary, source: HookError::Database(db::Error::Server(report)) } => {
                (failed_hook(hook, boundary), Some(report))
            }
            Error::Hook { hook, boundary, source } => (format!("{}: {source}", failed_hook(hook, boundary)), None),
            Error::Database(db::Error::Server(report)) => ("the server refused a statement".to_owned(), Some(report)),
            other => (other.to_string(), None),
        };
        let server = server.map(|report| Box::new(ReportedByServer { server: report.as_ref().clone() }));
        Self { exit, message, problems, server, hint, reached: None, source: Some(Box::new(error)) }
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
        let message = error.to_string();
        match error {
            RepairError::Database(error) if error.is(&SqlState::LOCK_NOT_AVAILABLE) => {
                Self { exit: exit::LOCKED, ..Self::from(error) }
            }
            RepairError::Database(error) => error.into(),
            RepairError::Lock(error) => Error::from(error).into(),
            RepairError::Refused { hint, .. } => Self { hint, ..Self::new(exit::REFUSED, message) },
            RepairError::Changed { .. } => Self::new(exit::REFUSED, message)
                .hint("nothing was written; run it without --execute, check what it shows, then use the new digest"),
            RepairError::Unfinished { ref run } => {
                let hint = format!(
                    "continue it: {}; or close it: migrate repair close {id}; or, to run both, add --beside {id}",
                    command_of(run),
                    id = run.id
                );
                Self::new(exit::REFUSED, message).hint(hint)
            }
            RepairError::ClockSetBack { .. } => Self::new(exit::REFUSED, message)
                .hint("correct the clock, or wait until it passes that time; then run the same command again"),
            RepairError::Busy { .. } => {
                Self::new(exit::REFUSED, message).hint("wait for its end, or stop it with SIGTERM")
            }
            RepairError::Overruled { table } => Self::new(exit::REFUSED, message)
                .hint(format!("find that BEFORE UPDATE trigger (\\d {table}), and disable it during the repair")),
            RepairError::NoSuchRun { .. } => {
                Self::new(exit::REFUSED, message).hint("migrate repair runs lists all runs")
            }
            RepairError::Failed { hint, .. } => Self { hint, ..Self::new(exit::FAILED, message) },
            RepairError::Stopped { run, done, total, source } => {
                let [done, total] = [done, total].map(grouped);
                let reached = format!("run {run} has done {done} of {total} rows");
                let mut failure = Self::from(*source);
                failure.message = format!("{}; {reached}", failure.message);
                let again = "run the same command again to continue";
                let next = match done.as_str() {
                    "0" => again.to_owned(),
                    _ => format!("{again}; migrate repair undo {run} would undo it"),
                };
                failure.hint = Some(failure.hint.map_or(next.clone(), |hint| format!("{hint}; then {next}")));
                failure.reached = Some(reached);
                failure
            }
        }
    }
}

fn exit_code(error: &Error) -> u8 {
    match error {
        Error::NoSuchTarget { .. }
        | Error::NoSuchHook { .. }
        | Error::Database(db::Error::BadUrl { .. } | db::Error::Authorities { .. }) => exit::USAGE,
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
        | Error::Ownership { .. }
        | Error::Dependent { .. }
        | Error::NotRemade { .. }
        | Error::TargetBehind { .. }
        | Error::OutOfStep(_)
        | Error::Adoption(_)
        | Error::Database(db::Error::SuperuserRefused(_) | db::Error::AlteredHistory { .. })
        | Error::Refused { .. }
        | Error::UnusableIndex { .. }
        | Error::Hook { source: HookError::Refused { .. }, .. } => exit::REFUSED,
        Error::History(_) => exit::DRIFT,
        Error::Lock(_) | Error::Entangled { .. } | Error::Hook { source: HookError::Lock(_), .. } => exit::LOCKED,
        Error::Database(
            db::Error::Connect { .. }
            | db::Error::SwappedSession { .. }
            | db::Error::SplitServers { .. }
            | db::Error::Lost { .. },
        )
        | Error::Migration { source: db::Error::Lost { .. }, .. }
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
        _ if rights_hint(error).is_some() => exit::REFUSED,
        Error::Database(error) if error.is(&SqlState::LOCK_NOT_AVAILABLE) => exit::LOCKED,
        Error::Interrupted => exit::SIGTERM,
        _ => exit::FAILED,
    }
}
