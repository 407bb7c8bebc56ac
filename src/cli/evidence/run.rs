//! Which run it is that evidence is kept of.

use serde::Serialize;
use time::OffsetDateTime;

use crate::db::Program;
use crate::secrets;

/// The rehearsal that a run is held to.
#[derive(Clone, Debug)]
pub(in super::super) struct Approval {
    /// Its result, as it was read.
    pub document: String,
    /// What that says, a line each.
    pub lines: Vec<String>,
}

/// One call of the program.
pub(super) struct Run {
    /// Name and version of the program.
    pub program: String,
    pub version: String,
    /// How a command of it is typed.
    pub called: Program,
    /// The command line, without the URL.
    pub typed: String,
    pub set: String,
    /// The database, without its password.
    pub database: String,
    pub started: OffsetDateTime,
    pub approval: Option<Approval>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// It is done, and everything that was checked is as it should be.
    Done,
    /// It is done, and a check has found something, or could not be made.
    DoneWithFindings,
    /// There was nothing to do.
    NothingToDo,
    /// It failed.
    Failed,
}

impl Run {
    /// A command of the program, as the operator would type it.
    pub fn command(&self, command: &str) -> String {
        self.called.command(command).unwrap_or_else(|| command.to_owned())
    }
}

impl Verdict {
    /// In a word or two.
    pub fn words(self) -> &'static str {
        match self {
            Self::Done => "Done",
            Self::DoneWithFindings => "Done, with findings",
            Self::NothingToDo => "Nothing to do",
            Self::Failed => "Failed",
        }
    }

    /// In a sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Done => "The run came to its end, and no check found a difference.",
            Self::DoneWithFindings => "The run came to its end. A check found a difference, or could not be made.",
            Self::NothingToDo => "The database had everything already. The run changed nothing.",
            Self::Failed => {
                "The run stopped with an error. What it had finished before that stays; what it was at was rolled back, unless it says otherwise."
            }
        }
    }
}

/// The command line, with the database's URL left out.
pub(super) fn typed(program: &str) -> String {
    let mut words = vec![program.to_owned()];
    let mut is_url = false;
    for word in secrets::words() {
        let shown = match word.split_once('=') {
            _ if is_url => "***".to_owned(),
            Some((flag, _)) if secrets::FLAGS.contains(&flag) => format!("{flag}=***"),
            _ => crate::db::quoted(&word),
        };
        is_url = !is_url && secrets::FLAGS.contains(&word.as_str());
        words.push(shown);
    }
    words.join(" ")
}
