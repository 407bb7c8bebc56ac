//! How history and objects disagree.

use super::Version;
use crate::db::Program;

/// How history and objects disagree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfStep {
    /// Something is there that only pending versions make.
    #[error("the history is behind the database: it {}, and {} there already", at(*.current), named(.there, "makes"))]
    Behind {
        /// Where the history ends; 0 if it is empty.
        current: Version,
        /// What is there, each with the file that makes it.
        there: Vec<(String, String)>,
        /// How to record what is there, where that is all that is missing.
        record: Option<Record>,
    },
    /// Something is gone that recorded versions made.
    #[error("the history is ahead of the database: it {}, and {} not there", at(*.current), named(.gone, "made"))]
    Ahead {
        /// Where the history ends.
        current: Version,
        /// What is gone, each with the file that made it.
        gone: Vec<(String, String)>,
    },
}

impl OutOfStep {
    /// What to do about it, in the words of the program that shows it.
    #[must_use]
    pub fn hint(&self, program: &Program) -> String {
        let (run_up, restore_whole) = (program.run_up(), restore_whole(program));
        match self {
            Self::Behind { record: Some(record), .. } if record.in_older_ledger => format!(
                "nothing was written; if an older migrator was killed between making this and recording it, run: {} then {run_up} \
                 again, which checks it. If a backup was restored over a newer database, {restore_whole}",
                record.statement
            ),
            Self::Behind { record: Some(record), .. } => {
                let verify = program.command("verify").map(|verify| format!(", and {verify}"));
                format!(
                    "nothing was written; all objects are as V{} to V{} leave them. If only the history was lost, or was restored \
                     from an older backup, correct it with: {} then {run_up}{}. If the tables were restored from a backup, too, \
                     {restore_whole}",
                    record.first,
                    record.last,
                    record.statement,
                    verify.unwrap_or_default()
                )
            }
            Self::Behind { there, record: None, .. } => {
                let stray = there.first().map(|(object, _)| object.as_str()).unwrap_or_default();
                format!(
                    "nothing was written; was a backup restored over a newer database? Objects that are not in the backup stay, even \
                     with pg_restore --clean: {restore_whole}. If {stray} is not this program's, rename it first"
                )
            }
            Self::Ahead { .. } => format!(
                "nothing was written; was only the schema migrate restored, or were the tables restored from an older backup? \
                 Then {restore_whole}"
            ),
        }
    }

    /// The statement that would make them agree, where one does.
    #[must_use]
    pub fn statement(&self) -> Option<String> {
        match self {
            Self::Behind { record: Some(record), .. } => Some(record.statement.clone()),
            Self::Behind { .. } | Self::Ahead { .. } => None,
        }
    }
}

/// A backup that is restored in part leaves history and objects of different times.
fn restore_whole(program: &Program) -> String {
    format!(
        "restore one backup whole, the schema migrate with the others, into an empty database (pg_restore without --clean), \
         and {} there",
        program.run_up()
    )
}

/// The statement that brings a history up to what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The first version that it records.
    pub first: Version,
    /// The last one.
    pub last: Version,
    /// The statement.
    pub statement: String,
    /// It is the ledger of an older migrator that lacks them; what is recorded there is checked by the next run.
    pub in_older_ledger: bool,
}

fn at(current: Version) -> String {
    if current == 0 { "is empty".to_owned() } else { format!("ends at version {current}") }
}

fn named(objects: &[(String, String)], verb: &str) -> String {
    let Some((object, file)) = objects.first() else { return "nothing is".to_owned() };
    match objects.len() - 1 {
        0 => format!("{object}, which {file} {verb}, is"),
        more => format!("{object}, which {file} {verb}, and {more} more are"),
    }
}
