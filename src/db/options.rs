//! Applying the options of a connection URL to the driver.
//!
//! Errors name a known option with a wrong value. They do not name an unknown option: it may be a part of a password with an
//! unescaped `&`. So the option names of other programs are listed (`foreign_options`), with what to write instead.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, Host, LoadBalanceHosts, TargetSessionAttrs};

use super::Error;
use super::conninfo::{Form, Settings};
use super::foreign_options;

/// The supported options. All are libpq's.
pub(super) const KNOWN: [&str; 23] = [
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssencmode",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "options",
    "password",
    "port",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// The options of one connection URL.
pub(super) struct Options {
    form: Form,
    values: BTreeMap<&'static str, Vec<u8>>,
}

impl Options {
    /// Collects the options: the last one of a name counts, an empty one is ignored.
    ///
    /// # Errors
    ///
    /// [`Error::BadUrl`] if an option is not supported.
    pub fn new(settings: Settings, form: Form) -> Result<Self, Error> {
        let mut values = BTreeMap::new();
        for (name, value) in settings {
            // The driver's name for it.
            let name = if name == "keepalives_retries" { "keepalives_count" } else { name.as_str() };
            let Some(known) = KNOWN.into_iter().find(|known| *known == name) else {
                return Err(another_spelling(name).unwrap_or_else(|| foreign_options::refuse(name, form)));
            };
            values.insert(known, value);
        }
        values.retain(|_, value: &mut Vec<u8>| !value.is_empty());
        // If a quote or a blank is missing, the password becomes a part of the value before it.
        if values.iter().any(|(name, value)| *name != "password" && holds_password(value)) {
            return Err(form
                .refuse("one of its values contains \"password=\", so a quote, a blank or a & before it is missing"));
        }
        Ok(Self { form, values })
    }

    /// The value of an option as text.
    ///
    /// # Errors
    ///
    /// [`Error::BadUrl`] if it is not UTF-8.
    pub fn text(&self, name: &'static str) -> Result<Option<&str>, Error> {
        let text = self.values.get(name).map(|value| std::str::from_utf8(value)).transpose();
        text.map_err(|_| self.form.refuse(&format!("the value of its option {name} is not UTF-8")))
    }

    /// The value of an option as a path.
    pub fn path(&self, name: &'static str) -> Option<PathBuf> {
        self.values.get(name).map(|value| PathBuf::from(OsString::from_vec(value.clone())))
    }

    /// The value of an option with a fixed set of values.
    ///
    /// # Errors
    ///
    /// [`Error::BadUrl`] for any other value.
    pub fn one_of<T: Copy>(&self, name: &'static str, values: &[(&str, T)]) -> Result<Option<T>, Error> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        if let Some((_, meaning)) = values.iter().find(|(value, _)| *value == text) {
            return Ok(Some(*meaning));
        }
        let possible: Vec<&str> = values.iter().map(|(value, _)| *value).collect();
        Err(wrong_value(name, &format!("write one of: {}", possible.join(", "))))
    }

    fn number(&self, name: &'static str) -> Result<Option<i64>, Error> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let number = text.trim().parse::<i32>().map_err(|_| wrong_value(name, "write a whole number"))?;
        Ok(Some(number.into()))
    }

    /// A duration in seconds; none if it is zero or less, which selects the system's default.
    fn seconds(&self, name: &'static str) -> Result<Option<Duration>, Error> {
        Ok(self
            .number(name)?
            .and_then(|seconds| u64::try_from(seconds).ok())
            .filter(|s| *s > 0)
            .map(Duration::from_secs))
    }

    /// The driver's configuration, without encryption.
    ///
    /// # Errors
    ///
    /// [`Error::BadUrl`].
    pub fn config(&self) -> Result<Config, Error> {
        let mut config = Config::new();
        self.server(&mut config)?;
        if let Some(user) = self.text("user")? {
            config.user(user);
        }
        if let Some(password) = self.values.get("password") {
            config.password(password);
        }
        if let Some(dbname) = self.text("dbname")? {
            config.dbname(dbname);
        }
        if let Some(options) = self.text("options")? {
            config.options(options);
        }
        if let Some(name) = self.text("application_name")?.or(self.text("fallback_application_name")?) {
            config.application_name(name);
        }
        self.session(&mut config)?;
        self.network(&mut config)?;
        Ok(config)
    }

    /// Hosts, addresses and ports.
    fn server(&self, config: &mut Config) -> Result<(), Error> {
        for host in self.text("host")?.into_iter().flat_map(|hosts| hosts.split(',')) {
            // Such a host may be the rest of a password, which would be looked up and shown.
            let is_name = host.chars().all(|c| c.is_alphanumeric() || "-._:%".contains(c));
            if host.is_empty() {
                return Err(self.form.refuse("one of its hosts is empty"));
            } else if !host.starts_with('/') && !is_name {
                return Err(self.form.refuse("its host contains a character that no host name has"));
            }
            config.host(host);
        }
        for address in self.text("hostaddr")?.into_iter().flat_map(|addresses| addresses.split(',')) {
            let address = address.parse().map_err(|_| wrong_value("hostaddr", "write an IP address, or use host"))?;
            // Without a host name, the certificate must contain the address.
            if self.values.contains_key("host") {
                config.hostaddr(address);
            } else {
                config.host(address.to_string());
            }
        }
        for port in self.text("port")?.into_iter().flat_map(|ports| ports.split(',')) {
            let number = if port.is_empty() { Some(5432) } else { port.parse().ok().filter(|port| *port > 0) };
            config.port(number.ok_or_else(|| self.form.refuse("its port is not a number from 1 to 65535"))?);
        }
        let (hosts, addresses) = (config.get_hosts().len(), config.get_hostaddrs().len());
        if addresses > 0 && hosts != addresses {
            return Err(self.form.refuse("its hostaddr does not have one address for each host"));
        }
        if config.get_ports().len() > 1 && config.get_ports().len() != hosts {
            return Err(self.form.refuse("its port is neither one for all hosts nor one for each"));
        }
        Ok(())
    }

    /// The requirements on the session.
    fn session(&self, config: &mut Config) -> Result<(), Error> {
        const ATTRS: [(&str, TargetSessionAttrs); 3] = [
            ("any", TargetSessionAttrs::Any),
            ("read-write", TargetSessionAttrs::ReadWrite),
            ("read-only", TargetSessionAttrs::ReadOnly),
        ];
        const BINDING: [(&str, ChannelBinding); 3] = [
            ("disable", ChannelBinding::Disable),
            ("prefer", ChannelBinding::Prefer),
            ("require", ChannelBinding::Require),
        ];
        const BALANCE: [(&str, LoadBalanceHosts); 2] =
            [("disable", LoadBalanceHosts::Disable), ("random", LoadBalanceHosts::Random)];
        if let Some(attrs) = self.one_of("target_session_attrs", &ATTRS)? {
            config.target_session_attrs(attrs);
        }
        if let Some(binding) = self.one_of("channel_binding", &BINDING)? {
            config.channel_binding(binding);
        }
        if let Some(balance) = self.one_of("load_balance_hosts", &BALANCE)? {
            config.load_balance_hosts(balance);
        }
        // These have no effect: the driver always uses UTF-8, and does not support GSSAPI.
        self.one_of("client_encoding", &["UTF8", "utf8", "UTF-8", "utf-8", "auto"].map(|name| (name, ())))?;
        self.one_of("gssencmode", &["disable", "prefer"].map(|name| (name, ())))?;
        Ok(())
    }

    /// When a server counts as lost. The lock's session is silent for as long as a run takes, and a firewall may drop an idle
    /// connection, so keepalives start sooner than the system's default.
    fn network(&self, config: &mut Config) -> Result<(), Error> {
        match self.number("connect_timeout")? {
            None => config.connect_timeout(Duration::from_secs(10)),
            // To libpq, this means no limit. Here, each address has a limit.
            Some(..=0) => config,
            Some(seconds) => config.connect_timeout(Duration::from_secs(seconds.unsigned_abs())),
        };
        match self.number("tcp_user_timeout")? {
            None => config.tcp_user_timeout(Duration::from_secs(29)),
            Some(..=0) => config,
            Some(milliseconds) => config.tcp_user_timeout(Duration::from_millis(milliseconds.unsigned_abs())),
        };
        config.keepalives(self.number("keepalives")? != Some(0));
        config.keepalives_idle(self.seconds("keepalives_idle")?.unwrap_or(Duration::from_secs(6)));
        config.keepalives_interval(self.seconds("keepalives_interval")?.unwrap_or(Duration::from_secs(3)));
        let count = self.number("keepalives_count")?.and_then(|count| u32::try_from(count).ok()).filter(|n| *n > 0);
        config.keepalives_retries(count.unwrap_or(8));
        Ok(())
    }
}

fn holds_password(value: &[u8]) -> bool {
    let text = String::from_utf8_lossy(value).to_ascii_lowercase();
    text.match_indices("password").any(|(at, word)| text[at + word.len()..].trim_start().starts_with('='))
}

/// Whether all servers are reached through local sockets, which are never encrypted.
pub(super) fn is_local(config: &Config) -> bool {
    config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)))
}

/// The error for a wrong value. It does not quote the value.
pub(super) fn wrong_value(name: &'static str, advice: &str) -> Error {
    Error::BadUrl { reason: format!("its option {name} has a wrong value"), advice: advice.to_owned() }
}

/// The error for a known option in upper case or with hyphens.
fn another_spelling(name: &str) -> Option<Error> {
    let plain = name.to_ascii_lowercase().replace('-', "_");
    let known = KNOWN.into_iter().find(|known| *known == plain)?;
    let reason = format!("it has the option {known} in another spelling");
    Some(Error::BadUrl { reason, advice: format!("write {known}, in lower case") })
}
