//! The errors of connections and statements.

use std::fmt;

use serde::Serialize;
use tokio_postgres::error::SqlState;

/// An error of the connection or of a statement. Its `Debug` is for people, with the server's report and a hint.
#[derive(thiserror::Error)]
pub enum Error {
    /// The connection URL cannot be used. The URL itself is not quoted: it may hold a password.
    #[error("the database URL cannot be used: {reason}")]
    BadUrl {
        /// What is wrong.
        reason: String,
        /// How it should be written instead.
        advice: String,
    },

    /// The certificates to trust, which the connection URL asks for, cannot be read.
    #[error("cannot read the certificate authorities of {source_name}: {reason}")]
    Authorities {
        /// The file, or the system.
        source_name: String,
        /// Why they cannot be read.
        reason: String,
        /// What to do about it.
        advice: &'static str,
    },

    /// No session could be opened.
    #[error("cannot connect to {database}: {reason}")]
    Connect {
        /// `user@host:port/name`.
        database: String,
        /// The reason given by the server or the operating system.
        reason: String,
        /// The kind of reason.
        cause: ConnectCause,
    },

    /// Statements of one session reached different server processes.
    #[error("{database} is served by a pooler that swaps server sessions between statements")]
    SwappedSession {
        /// `user@host:port/name`.
        database: String,
    },

    /// Sessions of one run have reached different servers.
    #[error("{database} leads to two servers, so a lock on one would not protect the other: {servers}")]
    SplitServers {
        /// `user@host:port/name`.
        database: String,
        /// The servers of the first session and of a later one.
        servers: String,
    },

    /// The session ended while it was in use.
    #[error("the connection to the server was lost: {reason}")]
    Lost {
        /// The driver's message.
        reason: String,
    },

    /// The server refused a statement.
    #[error("{0}")]
    Server(Box<ServerReport>),

    /// A value could not be read or written as the type asked for.
    #[error("the driver could not convert a value: {reason}")]
    Conversion {
        /// The driver's message.
        reason: String,
    },

    /// Code of a role that is not a superuser would run with a superuser's rights.
    #[error("{0}")]
    SuperuserRefused(Box<SuperuserRefused>),

    /// The tables of this program's schema carry code that it did not create.
    #[error(
        "found {object} in the schema migrate; this program did not create it, and it would run with the rights of any \
         role that writes there"
    )]
    AlteredHistory {
        /// The code, and its table.
        object: String,
        /// The statement that removes it, if there is one.
        remedy: Option<String>,
    },

    /// The run was told to stop; the statement was cancelled on the server.
    #[error("interrupted")]
    Interrupted,
}

/// Why no session could be opened. If several addresses failed, the first of these causes counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnectCause {
    /// The server refused, with this SQLSTATE.
    Refused(String),
    /// Encryption failed, or the certificate is not trusted.
    Tls,
    /// The server closed the connection instead of answering the TLS handshake, as servers without support for
    /// `sslnegotiation=direct` do.
    TlsHandshakeClosed,
    /// The server accepted the connection but did not answer.
    Silent,
    /// The server does not allow writes, which `target_session_attrs` asks for.
    ReadOnly,
    /// The server allows writes, which `target_session_attrs` rules out.
    NotReadOnly,
    /// The server asks for a password, and the URL has none.
    PasswordMissing,
    /// The server could not be reached over the network.
    Unreachable,
}

impl ConnectCause {
    /// Whether the server refused with this SQLSTATE.
    #[must_use]
    pub fn is(&self, state: &SqlState) -> bool {
        matches!(self, Self::Refused(refused) if refused == state.code())
    }

    /// The cause of a driver's error. Its kind is private, so this reads its text.
    pub(super) fn of(error: &tokio_postgres::Error) -> Self {
        if let Some(state) = error.code() {
            return Self::Refused(state.code().to_owned());
        }
        let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        let said = |words: &str| source.contains(words);
        if said("TLS") || said("certificate") {
            Self::Tls
        } else if said("handshake eof") {
            Self::TlsHandshakeClosed
        } else if said("does not allow writes") {
            Self::ReadOnly
        } else if said("not read only") {
            Self::NotReadOnly
        } else if said("password missing") {
            Self::PasswordMissing
        } else {
            Self::Unreachable
        }
    }
}

/// Code of a role that is not a superuser, which a superuser's session would run.
#[derive(Debug)]
pub struct SuperuserRefused {
    /// The superuser.
    pub role: String,
    /// The object to be written, read or called.
    pub object: String,
    /// Its owner.
    pub owner: String,
    /// Whether the owner may log in.
    pub may_log_in: bool,
    /// The code that would run, if it is not a trigger or function.
    pub what: Option<String>,
}

impl fmt::Display for SuperuserRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, object, owner, what, .. } = self;
        write!(f, "role {role} is a superuser and {object} belongs to {owner}: ")?;
        match what {
            Some(what) => write!(f, "{what}, which would run with a superuser's rights"),
            None => write!(f, "triggers and functions of {owner} would run with a superuser's rights"),
        }
    }
}

impl Error {
    /// The server's error code, if the server refused a statement.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Server(report) => Some(&report.sqlstate),
            _ => None,
        }
    }

    /// The same without the place in the statement, where that is not one that a person has written.
    #[must_use]
    pub fn without_position(self) -> Self {
        match self {
            Self::Server(report) => Self::Server(Box::new(ServerReport { position: None, ..*report })),
            other => other,
        }
    }

    /// Whether the server reported this SQLSTATE.
    #[must_use]
    pub fn is(&self, state: &SqlState) -> bool {
        self.sqlstate() == Some(state.code())
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(report) = error.as_db_error() {
            // The server ended the session: by an administrator, a shutdown, or the crash of another session.
            let code = report.code().code();
            if code.starts_with("08") || ["57P01", "57P02", "57P03"].contains(&code) {
                return Self::Lost { reason: report.message().to_owned() };
            }
            return Self::Server(Box::new(ServerReport::from(report)));
        }
        let reason = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        if error.is_closed()
            || std::error::Error::source(&error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
        {
            Self::Lost { reason }
        } else {
            Self::Conversion { reason }
        }
    }
}

/// A PostgreSQL error with all its fields.
#[derive(Clone, Debug, Serialize)]
pub struct ServerReport {
    /// Five characters, PostgreSQL's Appendix A.
    pub sqlstate: String,
    /// The primary message.
    pub message: String,
    /// More about this occurrence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What the server suggests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The call stack inside the server.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The position in the statement, in characters from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    /// The server's C function that raised it. Unlike the message, it does not depend on the language.
    #[serde(skip)]
    pub routine: Option<String>,
}

impl ServerReport {
    /// Whether a policy of row-level security would have hidden rows.
    #[must_use]
    pub fn is_row_security(&self) -> bool {
        self.routine.as_deref() == Some("check_enable_rls")
    }
}

impl From<&tokio_postgres::error::DbError> for ServerReport {
    fn from(error: &tokio_postgres::error::DbError) -> Self {
        use tokio_postgres::error::ErrorPosition;
        Self {
            sqlstate: error.code().code().to_owned(),
            message: error.message().to_owned(),
            detail: error.detail().map(str::to_owned),
            hint: error.hint().map(str::to_owned),
            context: error.where_().map(str::to_owned),
            position: match error.position() {
                Some(ErrorPosition::Original(position)) => Some(*position),
                _ => None,
            },
            routine: error.routine().map(str::to_owned),
        }
    }
}

impl fmt::Display for ServerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.sqlstate)
    }
}
