//! What to do about the error of a run: the next command to type, or the setting to look at.

use std::fmt;

use tokio_postgres::error::SqlState;

use super::Version;
use super::down_error::DownError;
use super::error::{Error, Lacks, Obstacle};
use super::hook::HookError;
use super::set_error::SetError;
use crate::db::{self, Program, ServerReport, readable};

impl Error {
    /// What to do about it, in the words of the program that shows it, if that is known.
    #[must_use]
    pub fn hint(&self, program: &Program) -> Option<String> {
        if let Some(error) = self.of_database().filter(|error| error.is_missing_right()) {
            return error.hint(program);
        }
        Some(match self {
            Self::Database(error) => return error.hint(program),
            Self::Hook { source, .. } | Self::Objection(source) => return source.hint(program),
            Self::Migration { source, obstacle, .. } => return migration_hint(source, obstacle.as_deref(), program),
            Self::History(error) => error.hint(),
            Self::Adoption(error) => error.hint(program),
            Self::Down(error) => return error.hint(program),
            Self::Baseline(error) => error.hint(program),
            Self::OutOfStep(found) => found.hint(program),
            Self::Misplaced(misplaced) => misplaced.hint(),
            Self::SomebodyElses(others) => others.hint(program),
            Self::Lock(error) => return error.hint(program),
            Self::ServerTooOld { minimum, .. } => format!("upgrade the server to PostgreSQL {minimum} or newer first"),
            Self::Standby => {
                "connect to the primary server; of several hosts in the URL, target_session_attrs=read-write finds it"
                    .to_owned()
            }
            Self::Privilege { grant, .. } => format!("as the owner, run: {grant}"),
            Self::NoSchema { role, .. } => {
                format!("for example: ALTER ROLE {} SET search_path TO public", db::ident(role))
            }
            Self::ForeignLedger { ledger, .. } => format!(
                "if this is the right database and {ledger} has nothing to do with it, rename that table; else check the URL"
            ),
            Self::Set(SetError::Folder(migrate_layout::LayoutError::EmptyFile { .. })) => {
                "nothing was written; write its SQL, or delete the file".to_owned()
            }
            Self::NoSuchOwner { owner } => {
                format!(
                    "nothing was written; create it, CREATE ROLE {}, or correct owner in migrate.toml",
                    db::ident(owner)
                )
            }
            Self::Ownership { object, owner, role, lacks } => ownership_hint(object, owner, role, *lacks),
            Self::Dependent { remedy: Some(remedy), .. } => {
                format!("nothing was written; drop it, or remove its dependency, first, for example: {remedy}")
            }
            Self::Dependent { remedy: None, .. } => {
                "nothing was written; drop it, or remove its dependency, first".to_owned()
            }
            Self::TargetBehind { target, .. } => target_behind_hint(target, program),
            Self::NotRemade { object, .. } => not_remade_hint(object, program),
            Self::Entangled { holder, .. } => format!(
                "nothing was left behind; stop that program, or as a superuser run: SELECT pg_catalog.pg_terminate_backend({}); \
                 then {} again",
                holder.pid,
                program.run_up()
            ),
            Self::UnusableIndex { .. } => format!(
                "IF NOT EXISTS accepts any relation of that name; {} with the hook invalid-index-cleanup",
                program.run_up()
            ),
            Self::Refused { skipped, .. } if !skipped.is_empty() => skipped_hint(skipped, program),
            Self::Overload { remedy, .. } => {
                let all = program.command("verify schema").map(|verify| format!("; {verify} lists all of them"));
                format!("nothing was written; check what it does, then run: {remedy}{}", all.unwrap_or_default())
            }
            Self::RowSecurity { table, role } => row_security_hint(table, role),
            Self::ForeignSchema { owner, .. } => format!(
                "nothing was written; this program keeps its history in a schema of that name: as {owner}, rename yours with \
                 ALTER SCHEMA migrate RENAME TO ..., or share it with GRANT CREATE, USAGE ON SCHEMA migrate TO <this role>"
            ),
            Self::ReadOnly { .. } => format!("nothing was written; {}", db::READ_ONLY_HINT),
            _ => return None,
        })
    }

    /// The server's report, if the server refused a statement.
    #[must_use]
    pub fn report(&self) -> Option<&ServerReport> {
        match self {
            Self::Refused { report, .. } => Some(report),
            Self::Down(error) => match error.as_ref() {
                DownError::Needed { report, .. } => Some(report),
                _ => None,
            },
            other => other.of_database()?.report(),
        }
    }

    /// Whether the role, or its sessions, lack a right.
    #[must_use]
    pub fn is_missing_right(&self) -> bool {
        self.of_database().is_some_and(db::Error::is_missing_right)
    }

    /// What a statement of this run met.
    fn of_database(&self) -> Option<&db::Error> {
        match self {
            Self::Migration { source, .. }
            | Self::Hook { source: HookError::Database(source), .. }
            | Self::Database(source) => Some(source),
            _ => None,
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        readable(self, self.report(), self.hint(&Program::embedded()).as_deref(), f)
    }
}

impl HookError {
    /// What to do about it, in the words of the program that shows it, if that is known.
    #[must_use]
    pub fn hint(&self, program: &Program) -> Option<String> {
        match self {
            Self::Failed { hint, .. } | Self::Refused { hint, .. } => hint.as_ref()?.text(program),
            Self::Lock(error) => error.hint(program),
            Self::Database(
                error @ (db::Error::Lost { .. } | db::Error::Connect { .. } | db::Error::SplitServers { .. }),
            ) => error.hint(program),
            Self::Database(error) => Some(statement_hint(error, program).unwrap_or_else(|| {
                format!("fix the cause, then {} again: it continues where it stopped", program.run_up())
            })),
        }
    }
}

impl fmt::Debug for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = match self {
            Self::Database(error) => error.report(),
            _ => None,
        };
        readable(self, report, self.hint(&Program::embedded()).as_deref(), f)
    }
}

impl fmt::Debug for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        readable(self, None, None, f)
    }
}

fn migration_hint(error: &db::Error, obstacle: Option<&Obstacle>, program: &Program) -> Option<String> {
    match (error, obstacle) {
        (db::Error::Lost { .. }, _) => error.hint(program),
        _ if error.is(&SqlState::ACTIVE_SQL_TRANSACTION) => {
            Some(
                "write this as the first line of the file: -- migrate: no-transaction; where the folder is that of another tool, \
                 name the file in no-transaction of migrate.toml instead, and leave it one such statement"
                    .to_owned(),
            )
        }
        (_, Some(obstacle)) => Some(obstacle_hint(obstacle, program)),
        _ => statement_hint(error, program),
    }
}

/// What to do about a failed statement.
fn statement_hint(error: &db::Error, program: &Program) -> Option<String> {
    let run_up = program.run_up();
    Some(match error {
        _ if error.is(&SqlState::QUERY_CANCELED) => {
            format!("if that was a statement_timeout of the database URL, give a longer one; then {run_up} again")
        }
        _ if error.is(&SqlState::DISK_FULL) => {
            format!("free space on the server's volume, then {run_up} again: it continues where it stopped")
        }
        _ if error.is(&SqlState::LOCK_NOT_AVAILABLE) => format!(
            "end the transactions that hold the table (see pg_stat_activity), or give a longer {}",
            program.option("--lock-wait")
        ),
        _ if db::ALREADY_THERE.iter().any(|state| error.is(state)) => format!(
            "an object of that name exists. If a backup was restored in part, or over a newer database, the history is \
             older than the objects: restore the backup whole, with the schema migrate, into an empty database, and {run_up} \
             there. If the object is not this program's, rename or drop it, then {run_up} again"
        ),
        _ => return None,
    })
}

fn obstacle_hint(obstacle: &Obstacle, program: &Program) -> String {
    match obstacle {
        Obstacle::Holder(holder) => format!(
            "{holder} was in the way: end its transaction, SELECT pg_catalog.pg_terminate_backend({}), or give a longer {}",
            holder.pid,
            program.option("--lock-wait")
        ),
        Obstacle::Begun { statement } => {
            let finish =
                statement.as_ref().map(|statement| format!("; or run the rest by hand, and record it: {statement}"));
            format!(
                "an earlier try may have committed a part of this file before it was stopped: compare the database with the file. \
                 Either undo that part, then {} again{}",
                program.run_up(),
                finish.unwrap_or_default()
            )
        }
        Obstacle::Unrecorded { statement } => format!(
            "if an older migrator was killed between making this and recording it, run: {statement} then {} again, which \
             checks it",
            program.run_up()
        ),
    }
}

fn ownership_hint(object: &str, owner: &str, role: &str, lacks: Lacks) -> String {
    let [heir, grant] = [db::ident(role), format!("GRANT {} TO {}", db::ident(owner), db::ident(role))];
    match lacks {
        Lacks::Rights => format!(
            "connect as {owner}, or as a superuser run: {grant}; if it is a member already: ALTER ROLE {heir} INHERIT, \
             and from PostgreSQL 16 on {grant} WITH INHERIT TRUE"
        ),
        Lacks::Becoming => {
            format!("connect as {owner}, or as a superuser run: {grant}; from PostgreSQL 16 on: {grant} WITH SET TRUE")
        }
        Lacks::Object => format!("as a superuser, run: ALTER {object} OWNER TO {heir}"),
    }
}

fn not_remade_hint(object: &str, program: &Program) -> String {
    let both = program.command("verify schema -v").map(|verify| format!(" ({verify} shows both)"));
    format!(
        "nothing was written; restore the definition of that {}{}, or drop its table, which {} creates again; then {}",
        object.split(' ').next().unwrap_or("object"),
        both.unwrap_or_default(),
        program.up(),
        program.run_up()
    )
}

fn skipped_hint(skipped: &[String], program: &Program) -> String {
    let flag = program.option("--skip-hook");
    match program.name() {
        Some(_) => format!("{} without {flag} {}", program.run_up(), skipped.join(&format!(" {flag} "))),
        None => format!("{} without skipping {}", program.run_up(), skipped.join(", ")),
    }
}

fn row_security_hint(table: &str, role: &str) -> String {
    let role = db::ident(role);
    format!(
        "nothing was written; as a superuser run: ALTER ROLE {role} BYPASSRLS; or as the owner of the table: ALTER TABLE {table} NO \
         FORCE ROW LEVEL SECURITY"
    )
}

fn target_behind_hint(target: &Version, program: &Program) -> String {
    format!(
        "nothing was written; to go back to version {target}, restore a backup of that time, whole and into an empty database; \
         to leave the database as it is, give no {}, or one that is not below it",
        program.option("--target")
    )
}
