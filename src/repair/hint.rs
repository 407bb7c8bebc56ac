//! What to do about an error of a repair, and the commands that repeat or continue one.

use std::fmt;

use serde_json::Value;

use super::error::RepairError;
use super::runs::Unfinished;
use super::undo::UNDO;
use crate::db::{Program, ServerReport, quoted, readable};

impl RepairError {
    /// What to do about it, in the words of the program that shows it, if that is known.
    #[must_use]
    pub fn hint(&self, program: &Program) -> Option<String> {
        Some(match self {
            Self::Database(error) => return error.hint(program),
            Self::Lock(error) => return error.hint(program),
            Self::Refused { hint, .. } | Self::Failed { hint, .. } => return hint.as_ref()?.text(program),
            Self::Changed { .. } => match program.name() {
                Some(_) => {
                    "nothing was written; run it without --execute, check what it shows, then use the new digest"
                }
                None => "nothing was written; look at the rows again, then use the new digest",
            }
            .to_owned(),
            Self::Unfinished { run } => match (run.command(program), program.command("repair close")) {
                (Some(command), Some(close)) => {
                    format!(
                        "continue it: {command}; or close it: {close} {0}; or, to run both, add --beside {0}",
                        run.id
                    )
                }
                _ => format!("continue it, or close it; or, to run both, set beside to {}", run.id),
            },
            Self::ClockSetBack { .. } => {
                "correct the clock, or wait until it passes that time; then run the same command again".to_owned()
            }
            Self::Busy { .. } => "wait for its end, or stop it with SIGTERM".to_owned(),
            Self::Overruled { table } => {
                format!("find that BEFORE UPDATE trigger (\\d {table}), and disable it during the repair")
            }
            Self::NoSuchRun { .. } => format!("{} lists all runs", program.command("repair runs")?),
            Self::Stopped { run, done, source, .. } => {
                let again = "run the same command again to continue";
                let next = match program.command(&format!("repair undo {run}")).filter(|_| *done > 0) {
                    Some(undo) => format!("{again}; {undo} would undo it"),
                    None => again.to_owned(),
                };
                source.hint(program).map_or(next.clone(), |hint| format!("{hint}; then {next}"))
            }
        })
    }

    /// The server's report, if the server refused a statement.
    #[must_use]
    pub fn report(&self) -> Option<&ServerReport> {
        match self {
            Self::Database(error) => error.report(),
            Self::Stopped { source, .. } => source.report(),
            _ => None,
        }
    }
}

impl fmt::Debug for RepairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        readable(self, self.report(), self.hint(&Program::embedded()).as_deref(), f)
    }
}

impl Unfinished {
    /// The command that continues the run; none without a command line.
    #[must_use]
    pub fn command(&self, program: &Program) -> Option<String> {
        match self.arguments.get("run") {
            Some(undone) if self.repair == UNDO => program.command(&format!("repair {UNDO} {undone} --execute")),
            _ => Some(format!("{} --execute", command(program, &self.repair, &self.arguments)?)),
        }
    }
}

/// The command for a repair with these arguments; none without a command line.
#[must_use]
pub fn command(program: &Program, name: &str, arguments: &Value) -> Option<String> {
    Some(with_arguments(program.command(&format!("repair {name}"))?, arguments))
}

/// A command with the arguments of a run.
pub(super) fn with_arguments(mut command: String, arguments: &Value) -> String {
    for (name, value) in arguments.as_object().into_iter().flatten() {
        let flag = format!(" --{}", name.replace('_', "-"));
        let values = if let Value::Array(values) = value { values.as_slice() } else { std::slice::from_ref(value) };
        for value in values {
            match value {
                Value::Null | Value::Bool(false) => {}
                Value::Bool(true) => command += &flag,
                Value::String(text) => command.extend([&flag, " ", &quoted(text)]),
                other => command.extend([&flag, " ", &other.to_string()]),
            }
        }
    }
    command
}
