//! Choosing the server: each address of the URL is tried for a limited time, and once one has answered, all sessions of a run
//! go there. A lock on one server would not protect work on another.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tokio::sync::Mutex;
use tokio_postgres::config::{Host, LoadBalanceHosts};
use tokio_postgres::{Client, Config};

use super::Error;
use super::error::ConnectCause;

const STARTED: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");

/// How long one address is tried, if the URL has no `connect_timeout`.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// One way to a server.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// The host, which the certificate must match.
    host: Option<Host>,
    ip: Option<IpAddr>,
    port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, ip, port } = self;
        match (host, ip) {
            (Some(Host::Unix(path)), _) => write!(f, "{}:{port}", path.display()),
            (Some(Host::Tcp(name)), Some(ip)) if *name != ip.to_string() => write!(f, "{name}:{port} ({ip})"),
            (Some(Host::Tcp(name)), _) => write!(f, "{name}:{port}"),
            (None, Some(ip)) => write!(f, "{ip}:{port}"),
            (None, None) => write!(f, ":{port}"),
        }
    }
}

impl Address {
    /// The host as the URL names it, or the directory of a socket; and the port.
    pub fn named(&self) -> (String, u16) {
        let host = match (&self.host, self.ip) {
            (Some(Host::Tcp(name)), _) => name.clone(),
            (Some(Host::Unix(path)), _) => path.display().to_string(),
            (None, Some(ip)) => ip.to_string(),
            (None, None) => String::new(),
        };
        (host, self.port)
    }

    /// The same configuration with this address alone.
    pub fn of(&self, config: &Config) -> Config {
        let mut only = Config::new();
        match &self.host {
            Some(Host::Tcp(name)) => only.host(name),
            Some(Host::Unix(path)) => only.host_path(path),
            None => &mut only,
        };
        if let Some(ip) = self.ip {
            only.hostaddr(ip);
        }
        only.port(self.port);
        if let Some(user) = config.get_user() {
            only.user(user);
        }
        if let Some(name) = config.get_dbname() {
            only.dbname(name);
        }
        if let Some(options) = config.get_options() {
            only.options(options);
        }
        if let Some(name) = config.get_application_name() {
            only.application_name(name);
        }
        if let Some(password) = config.get_password() {
            only.password(password);
        }
        if let Some(timeout) = config.get_tcp_user_timeout() {
            only.tcp_user_timeout(*timeout);
        }
        if let Some(interval) = config.get_keepalives_interval() {
            only.keepalives_interval(interval);
        }
        if let Some(retries) = config.get_keepalives_retries() {
            only.keepalives_retries(retries);
        }
        only.keepalives(config.get_keepalives())
            .keepalives_idle(config.get_keepalives_idle())
            .connect_timeout(limit(config))
            .ssl_mode(config.get_ssl_mode())
            .ssl_negotiation(config.get_ssl_negotiation())
            .target_session_attrs(config.get_target_session_attrs())
            .channel_binding(config.get_channel_binding());
        only
    }
}

/// How long one address is tried.
pub(super) fn limit(config: &Config) -> Duration {
    config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT)
}

/// Every host of the URL, in the order of the tries.
pub(super) fn hosts(config: &Config) -> Result<Vec<Address>, Error> {
    let (hosts, ips, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let number = hosts.len().max(ips.len());
    if [hosts.len(), ips.len()].iter().any(|some| ![0, number].contains(some)) || ![0, 1, number].contains(&ports.len())
    {
        return Err(Error::BadUrl {
            reason: "its numbers of hosts, addresses and ports differ".to_owned(),
            advice: "give each host its port, or one port to all of them".to_owned(),
        });
    }
    let mut addresses: Vec<_> = (0..number)
        .map(|at| Address {
            host: hosts.get(at).cloned(),
            ip: ips.get(at).copied(),
            port: ports.get(at).or(ports.first()).copied().unwrap_or(5432),
        })
        .collect();
    shuffle(config, &mut addresses);
    Ok(addresses)
}

/// The addresses of one host. A name may have several.
pub(super) async fn resolve(config: &Config, host: Address) -> Result<Vec<Address>, Error> {
    let name = match (&host.host, host.ip) {
        (Some(Host::Tcp(name)), None) => name.clone(),
        _ => return Ok(vec![host]),
    };
    let failed = |reason: String| Error::Connect { database: String::new(), reason, cause: ConnectCause::Unreachable };
    let found = tokio::time::timeout(limit(config), tokio::net::lookup_host((name.as_str(), host.port))).await;
    let Ok(found) = found else { return Err(failed(format!("looking up the address of {name} timed out"))) };
    let found = found.map_err(|error| failed(error.to_string()))?;
    let mut addresses: Vec<_> = found.map(|found| Address { ip: Some(found.ip()), ..host.clone() }).collect();
    if addresses.is_empty() {
        return Err(failed(format!("{name} has no address")));
    }
    shuffle(config, &mut addresses);
    Ok(addresses)
}

fn shuffle(config: &Config, addresses: &mut [Address]) {
    if config.get_load_balance_hosts() == LoadBalanceHosts::Random {
        // Each `RandomState` has a random seed.
        addresses.sort_by_cached_key(|address| RandomState::new().hash_one(address.port));
    }
}

/// What identifies a server: its start time, to the microsecond. Any role may read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// When it was started, in seconds since 1970: text that does not depend on a session's settings.
    started: String,
    /// The server's own address, for messages.
    address: Option<String>,
}

impl Identity {
    /// The query that every new session runs; [`Self::from_texts`] reads its row.
    pub const ASK: &str = "
        SELECT pg_catalog.pg_backend_pid(), extract(epoch FROM pg_catalog.pg_postmaster_start_time()),
               pg_catalog.inet_server_addr(), pg_catalog.inet_server_port()";

    pub fn from_texts(started: Option<&str>, address: Option<&str>, port: Option<&str>) -> Self {
        let address = address.zip(port).map(|(address, port)| format!("{address}:{port}"));
        Self { started: started.unwrap_or_default().to_owned(), address }
    }

    /// Compares the start time only: a server may have several addresses.
    pub fn is_same(&self, other: &Self) -> bool {
        self.started == other.started
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.as_deref().unwrap_or("one on a local socket");
        let seconds = self.started.split('.').next().and_then(|seconds| seconds.parse().ok());
        let started = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
        let started = started.and_then(|started| started.format(STARTED).ok());
        write!(f, "{address} (running since {})", started.as_deref().unwrap_or(&self.started))
    }
}

/// The server in use, as long as a session on it is open.
pub(super) struct Server {
    pub address: Address,
    pub identity: Identity,
    sessions: Vec<Weak<Client>>,
}

impl Server {
    pub fn new(address: Address, identity: Identity, first: &Arc<Client>) -> Self {
        Self { address, identity, sessions: vec![Arc::downgrade(first)] }
    }

    pub fn add(&mut self, session: &Arc<Client>) {
        self.sessions.retain(|session| session.strong_count() > 0);
        self.sessions.push(Arc::downgrade(session));
    }

    /// Whether a session on it is still open. If not, the next one may use another server.
    pub fn is_in_use(&mut self) -> bool {
        self.sessions.retain(|session| session.upgrade().is_some_and(|session| !session.is_closed()));
        !self.sessions.is_empty()
    }
}

/// Shared by all connectors of a run.
pub(super) type Pin = Arc<Mutex<Option<Server>>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_keeps_every_option() {
        let url = "postgres://u:p@h:6432/d?hostaddr=192.0.2.1&options=-cx%3Dy&application_name=a&sslmode=require\
                   &connect_timeout=3&tcp_user_timeout=4&keepalives=0&keepalives_idle=5&keepalives_interval=6\
                   &keepalives_retries=7&target_session_attrs=read-write&channel_binding=require";
        let config: Config = url.parse().unwrap();
        let addresses = hosts(&config).unwrap();
        assert_eq!(addresses.iter().map(|address| address.of(&config)).collect::<Vec<_>>(), [config]);
    }

    #[test]
    fn hosts_and_addresses_must_be_equally_many() {
        let config: Config = "postgres://u@a,b/d?hostaddr=192.0.2.1".parse().unwrap();
        assert!(matches!(hosts(&config), Err(Error::BadUrl { .. })));
        let config: Config = "postgres://u@a,b:6432/d".parse().unwrap();
        let ports: Vec<_> = hosts(&config).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(ports, ["a:5432", "b:6432"]);
    }
}
