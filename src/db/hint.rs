//! What to do about an error of the connection or of a statement.

use std::fmt;

use tokio_postgres::error::SqlState;

use super::error::{ConnectCause, Error, ServerReport};
use super::lock::LockTimeout;
use super::program::Program;
use super::readable::readable;
use super::server::ident;

/// Sessions set `row_security` to off: hidden rows are an error, and do not count as absent.
const ROW_SECURITY_HINT: &str = "a policy would hide rows from this role, and they would count as absent: connect as a role \
    with BYPASSRLS, or run ALTER TABLE <table> NO FORCE ROW LEVEL SECURITY as the owner";

/// What to do where transactions are read-only.
pub const READ_ONLY_HINT: &str = "a setting makes its transactions read-only: to remove it, ALTER ROLE or ALTER DATABASE \
    ... RESET default_transaction_read_only; for this run alone, add ?options=-cdefault_transaction_read_only%3Doff to the URL";

impl Error {
    /// What to do about it, if that is known.
    #[must_use]
    pub fn hint(&self, program: &Program) -> Option<String> {
        let hint = match self {
            Self::BadUrl { advice, .. } => advice.as_str(),
            Self::Authorities { advice, .. } => advice,
            Self::Connect { cause, database, .. } => return connect_hint(cause, database),
            Self::SwappedSession { .. } => {
                let direct = "connect to the server directly, or through a pool in session mode";
                let by = if program.name().is_some() { ", for example with MIGRATE_DATABASE_URL" } else { "" };
                return Some(format!("{direct}{by}"));
            }
            Self::SplitServers { .. } => {
                "name one server in the database URL; of several hosts, the one that takes writes: \
                 target_session_attrs=read-write"
            }
            Self::Lost { .. } => {
                "run it again, once the server is back if it was stopped: unfinished work was rolled back, finished work stays"
            }
            Self::Server(report) if report.sqlstate == SqlState::LOCK_NOT_AVAILABLE.code() => {
                let flag = program.option("--lock-wait");
                return Some(format!("end the transaction that holds it, or give a longer {flag}"));
            }
            Self::SuperuserRefused(found) => return Some(superuser_hint(&found.owner, found.may_log_in)),
            Self::AlteredHistory { remedy, .. } => {
                let remedy = remedy.as_deref().unwrap_or("find out who created it, and remove it");
                let check = program.command("verify history").map(|command| format!(": {command}"));
                return Some(format!(
                    "nothing was written; {remedy}, then check the history{}",
                    check.unwrap_or_default()
                ));
            }
            Self::Server(report) => return rights_hint(report).map(str::to_owned),
            Self::Conversion { .. } | Self::Interrupted => return None,
        };
        Some(hint.to_owned())
    }

    /// Whether the role, or its sessions, lack a right.
    #[must_use]
    pub fn is_missing_right(&self) -> bool {
        self.report().is_some_and(|report| rights_hint(report).is_some())
    }

    /// The server's report, if the server refused a statement.
    #[must_use]
    pub fn report(&self) -> Option<&ServerReport> {
        match self {
            Self::Server(report) => Some(report),
            _ => None,
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        readable(self, self.report(), self.hint(&Program::embedded()).as_deref(), f)
    }
}

impl LockTimeout {
    /// What to do about it, if that is known.
    #[must_use]
    pub fn hint(&self, program: &Program) -> Option<String> {
        match self {
            Self::TimedOut { .. } => {
                Some(format!("wait for it to end, or give a longer {}", program.option("--lock-wait")))
            }
            Self::Database(error) => error.hint(program),
        }
    }
}

impl fmt::Debug for LockTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = match self {
            Self::TimedOut { .. } => None,
            Self::Database(error) => error.report(),
        };
        readable(self, report, self.hint(&Program::embedded()).as_deref(), f)
    }
}

/// What to do about a missing right of this role, or of its sessions.
fn rights_hint(report: &ServerReport) -> Option<&'static str> {
    let is = |state: &SqlState| report.sqlstate == state.code();
    if report.is_row_security() {
        Some(ROW_SECURITY_HINT)
    } else if is(&SqlState::INSUFFICIENT_PRIVILEGE) {
        Some("connect as the role that owns these tables, or as a member of it: GRANT <owner> TO <role>")
    } else if is(&SqlState::READ_ONLY_SQL_TRANSACTION) {
        Some(READ_ONLY_HINT)
    } else {
        None
    }
}

fn connect_hint(cause: &ConnectCause, database: &str) -> Option<String> {
    let hint = match cause {
        ConnectCause::Tls => "check sslmode and sslrootcert in the database URL",
        ConnectCause::TlsHandshakeClosed => "leave out sslnegotiation=direct, which needs PostgreSQL 17 or newer",
        ConnectCause::Silent => {
            "check that it is a PostgreSQL server and that it responds; for a slow server, add connect_timeout=60 to the URL"
        }
        ConnectCause::ReadOnly => {
            "target_session_attrs=read-write needs a server that accepts writes: name the primary server in the URL"
        }
        ConnectCause::NotReadOnly => {
            "target_session_attrs=read-only needs a server that refuses writes: to write, use target_session_attrs=read-write"
        }
        ConnectCause::PasswordMissing => "put the password into the database URL",
        ConnectCause::Unreachable => "check that the server is running, and host and port in the database URL",
        ConnectCause::Refused(sqlstate) => match sqlstate.as_str() {
            "3D000" => return Some(create_hint(database)),
            "28P01" => "check user and password in the database URL",
            "28000" => "check the user in the database URL, and pg_hba.conf on the server",
            "53300" => "the server has no connection left: end some, or raise max_connections",
            "57P03" => "the server is starting up or shutting down; try again when it is ready",
            // An unknown parameter, an invalid value, or a parameter that this role may not set.
            "22023" | "42704" | "42501" | "42601" | "55P02" => {
                "the server refuses a setting: check options in the database URL"
            }
            _ => return None,
        },
    };
    Some(hint.to_owned())
}

/// How to create the missing database on the server of the URL. The command has no password: psql asks for it.
fn create_hint(database: &str) -> String {
    let beginning = "check the database's name in the URL, or create it";
    let parts = database.split_once('@').and_then(|(user, rest)| Some((user, rest.split_once('/')?)));
    let Some((user, (server, name))) = parts.filter(|(_, (server, _))| !server.is_empty()) else {
        return beginning.to_owned();
    };
    let user = percent_encoding::utf8_percent_encode(user, percent_encoding::NON_ALPHANUMERIC);
    let create = format!("CREATE DATABASE {}", ident(name)).replace('\'', "'\\''");
    format!("{beginning}: psql 'postgres://{user}@{server}/postgres' -c '{create}'")
}

/// How to connect without a superuser.
fn superuser_hint(owner: &str, may_log_in: bool) -> String {
    let member = format!(
        "a role that is a member of {owner} and of nothing else: CREATE ROLE deployer LOGIN PASSWORD '...' IN ROLE {}",
        ident(owner)
    );
    if may_log_in {
        format!("nothing was written; connect as {owner}, or as {member}")
    } else {
        format!("nothing was written; connect as {member}")
    }
}
