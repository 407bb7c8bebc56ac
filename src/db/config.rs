//! Where the database is.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::config::Host;

use tokio_postgres_rustls::MakeRustlsConnect;

use super::Error;
use super::tls::TlsOptions;

/// A database to connect to. Shows itself as `user@host:port/name`, never with its password.
#[derive(Clone)]
pub struct Database {
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
}

impl Database {
    /// Reads a connection URL (`postgres://user:password@host:port/name`) or a keyword string (`host=… dbname=…`).
    /// `sslmode` and `sslrootcert` mean what they mean to libpq.
    ///
    /// # Errors
    ///
    /// [`Error::BadUrl`] if it cannot be read, or names no host, user or database. The error never quotes the URL.
    pub fn from_url(url: &str) -> Result<Self, Error> {
        let (url, tls) = TlsOptions::take_from(url.trim());
        let mut config =
            tokio_postgres::Config::from_str(&url).map_err(|error| Error::BadUrl { reason: parse_reason(&error) })?;
        // A password with an unescaped @ would make its rest look like a host, and be shown as one.
        if config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(name) if name.contains('@'))) {
            return Err(Error::BadUrl { reason: "an @ in its password must be written %40".to_owned() });
        }
        let missing = if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            Some("a host")
        } else if config.get_user().is_none() {
            Some("a user")
        } else if config.get_dbname().is_none() {
            Some("a database name")
        } else {
            None
        };
        if let Some(missing) = missing {
            return Err(Error::BadUrl { reason: format!("it lacks {missing}") });
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(10));
        }
        // A lock holder says nothing for as long as a walk takes; a firewall must not forget it meanwhile.
        config.keepalives_idle(Duration::from_secs(30));
        config.keepalives_interval(Duration::from_secs(10));
        config.keepalives_retries(3);
        config.tcp_user_timeout(Duration::from_mins(1));
        Ok(Self { config, tls: tls.connector()? })
    }

    /// The name of the database.
    #[must_use]
    pub fn name(&self) -> &str {
        self.config.get_dbname().unwrap_or_default()
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
        match (self.config.get_hosts().first(), self.config.get_hostaddrs().first()) {
            (Some(Host::Tcp(host)), _) => format!("{host}:{port}"),
            (Some(Host::Unix(path)), _) => format!("{}:{port}", path.display()),
            (None, Some(address)) => format!("{address}:{port}"),
            (None, None) => format!(":{port}"),
        }
    }

    /// The driver's configuration, under the given application name unless the URL sets one.
    pub(super) fn config(&self, application: &str) -> tokio_postgres::Config {
        let mut config = self.config.clone();
        if config.get_application_name().is_none() {
            config.application_name(application);
        }
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

/// Options that libpq knows and the driver does not. Any other unknown name may be a piece of a password.
const NOT_SUPPORTED: [&str; 11] = [
    "fallback_application_name",
    "gssencmode",
    "krbsrvname",
    "passfile",
    "requirepeer",
    "service",
    "sslcert",
    "sslcompression",
    "sslcrl",
    "sslkey",
    "sslpassword",
];

/// What the driver found wrong. It names an option or a value's kind, and must not quote the URL itself.
fn parse_reason(error: &tokio_postgres::Error) -> String {
    let reason = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    match reason.strip_prefix("unknown option `").and_then(|rest| rest.strip_suffix('`')) {
        Some(option) if NOT_SUPPORTED.contains(&option) => {
            format!("it has the option {option}, which is not supported")
        }
        Some(_) => "it has an option that does not exist".to_owned(),
        None if reason == "unexpected EOF" => "it does not begin with postgres://".to_owned(),
        None => reason,
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
