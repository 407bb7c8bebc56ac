//! The database to connect to.

use std::fmt;

use tokio_postgres::config::Host;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Error;
use super::conninfo::{self, Form};
use super::options::Options;
use super::tls::TlsOptions;

/// How many bytes of a session's name the server keeps.
const NAME_BYTES: usize = 63;

/// A database to connect to. Shows itself as `user@host:port/name`, never with its password.
#[derive(Clone)]
pub struct Database {
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
}

impl Database {
    /// Reads a connection URL (`postgres://user:password@host:port/name`) or a keyword string (`host=… dbname=…`).
    /// Options have libpq's meaning; `docs/connection.md` lists the differences.
    ///
    /// # Errors
    ///
    /// [`Error::BadUrl`] if it cannot be read, or names no host, user or database; the error never quotes the URL.
    /// [`Error::Authorities`] if it asks for certificates that cannot be read.
    pub fn from_url(url: &str) -> Result<Self, Error> {
        let url = url.trim();
        let form = Form::of(url);
        let options = Options::new(conninfo::read(url)?, form)?;
        let mut config = options.config()?;
        let missing = if config.get_hosts().is_empty() {
            Some("a host")
        } else if config.get_user().is_none() {
            Some("a user")
        } else if config.get_dbname().is_none() {
            Some("a database name")
        } else {
            None
        };
        // Messages show the name, so it must not contain a part of a password or of another URL.
        if config.get_dbname().is_some_and(|name| name.contains('@') || name.contains("://")) {
            return Err(form.refuse(
                "its database name contains an @ or ://, so it may contain a part of a password or of another URL",
            ));
        }
        if config.get_user().is_some_and(|name| name.contains(':')) {
            return Err(form.refuse("its user contains a :, so it may contain the password"));
        }
        if let Some(missing) = missing {
            return Err(form.refuse(&format!("it lacks {missing}")));
        }
        let tls = TlsOptions::read(&options)?.connector(&mut config)?;
        Ok(Self { config, tls })
    }

    /// The name of the database.
    #[must_use]
    pub fn name(&self) -> &str {
        self.config.get_dbname().unwrap_or_default()
    }

    /// Another database of the same server, as the same role.
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        let mut config = self.config.clone();
        config.dbname(name);
        Self { config, tls: self.tls.clone() }
    }

    /// The role that connects.
    #[must_use]
    pub fn user(&self) -> &str {
        self.config.get_user().unwrap_or_default()
    }

    /// `host:port` of the server, or the directory of its socket.
    #[must_use]
    pub fn server(&self) -> String {
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        match self.config.get_hosts().first() {
            Some(Host::Tcp(address)) if address.contains(':') => format!("[{address}]:{port}"),
            Some(Host::Tcp(host)) => format!("{host}:{port}"),
            Some(Host::Unix(path)) => format!("{}:{port}", path.display()),
            None => format!(":{port}"),
        }
    }

    /// The driver's configuration for a session with the `application_name` `application`. A name in the URL follows in
    /// parentheses: `migrate: up (name)`, so that the prefix identifies our sessions.
    pub(super) fn config(&self, application: &str) -> tokio_postgres::Config {
        let mut config = self.config.clone();
        let name = match config.get_application_name() {
            None => application.to_owned(),
            Some(given) => {
                let room = NAME_BYTES.saturating_sub(application.len() + " ()".len());
                let given = &given[..given.floor_char_boundary(room)];
                format!("{application} ({given})")
            }
        };
        config.application_name(name);
        config
    }

    /// How sessions, and requests to cancel their statements, are encrypted.
    pub(super) fn tls(&self) -> MakeRustlsConnect {
        self.tls.clone()
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}", self.user(), self.server(), self.name())
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_shows_itself_without_its_password() {
        let database = Database::from_url("postgres://app:s3cret@db.example:6432/usage").unwrap();
        assert_eq!(database.to_string(), "app@db.example:6432/usage");
        assert_eq!(format!("{database:?}"), "Database(app@db.example:6432/usage)");
    }

    #[test]
    fn a_malformed_url_is_not_quoted() {
        for url in [
            "postgres://app:s3cret@db.example:port/usage",
            "http://app:s3cret@db.example/usage",
            "s3cret",
            "postgres://app:s3cret@db.example/usage?sslmode=s3cret",
            "host=db password='s3cret",
            "",
            "postgres://app:p@s3cret@db/usage",
            "postgres://app@db/usage?password=a&s3cret=1",
            "host=db password=my s3cret=1",
        ] {
            let error = Database::from_url(url).unwrap_err();
            assert!(!error.to_string().contains("s3cret"), "{url}: {error}");
        }
    }

    #[test]
    fn a_url_without_a_database_is_refused() {
        let error = Database::from_url("postgres://app@db.example").unwrap_err();
        assert_eq!(error.to_string(), "the database URL cannot be used: it lacks a database name");
    }
}
