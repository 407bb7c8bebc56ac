//! Opening sessions: all on one server, within a time limit, with their notices passed on.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Config};
use tokio_util::sync::CancellationToken;

use super::error::ConnectCause;
use super::reach::{self, Address, Identity, Pin, Server};
use super::session::Driver;
use super::settings::{self, Access};
use super::waits::{Waits, Watcher};
use super::{Connection, Database, Error, Observer, Probe, Waiting};

/// A notice reports a connection that takes longer than this.
const SOON: Duration = Duration::from_secs(2);

/// How long to wait for a server that is starting up.
const STARTUP_PATIENCE: Duration = Duration::from_secs(30);

/// A message that the server sent in addition to its answers, such as NOTICE or WARNING.
#[derive(Clone, Debug, Serialize)]
pub struct Notice {
    /// `NOTICE`, `WARNING`, `INFO` …
    pub severity: String,
    /// The message.
    pub message: String,
    /// More about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What the server suggests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Opens sessions on one database.
#[derive(Clone)]
pub struct Connector {
    database: Database,
    cancel: CancellationToken,
    notices: Observer<Notice>,
    access: Access,
    pin: Pin,
    waits: Waits,
    /// Whether its sessions are watched when their statements take long.
    watched: bool,
    probe: Option<Arc<dyn Probe>>,
}

impl Connector {
    /// Sessions on `database`, whose statements end when `cancel` is cancelled.
    #[must_use]
    pub fn new(database: Database, cancel: CancellationToken) -> Self {
        Self {
            database,
            cancel,
            notices: Observer::silent(),
            access: Access::Session,
            pin: Pin::default(),
            waits: Waits::default(),
            watched: true,
            probe: None,
        }
    }

    /// Tells `observer` when a statement has waited for another session's lock for a second, then every ten seconds. Applies
    /// to sessions opened afterwards.
    #[must_use]
    pub fn on_wait(mut self, observer: Observer<Waiting>) -> Self {
        self.waits = self.waits.observed_by(observer);
        self
    }

    /// Ends statements that have waited for this long (default: ten minutes) with SQLSTATE 55P03. Applies to all clones.
    pub fn wait_at_most(&self, limit: Duration) {
        self.waits.set_limit(limit);
    }

    pub(super) fn waits(&self) -> &Waits {
        &self.waits
    }

    /// Opens sessions that are not watched: they never wait for locks.
    #[must_use]
    pub(super) fn unwatched(mut self) -> Self {
        self.watched = false;
        self
    }

    /// Calls `probe` before each transaction of sessions opened afterwards commits.
    #[must_use]
    pub fn probed_by(mut self, probe: Arc<dyn Probe>) -> Self {
        self.probe = Some(probe);
        self
    }

    /// Passes every server notice of sessions opened afterwards to `observer`.
    #[must_use]
    pub fn on_notice(mut self, observer: Observer<Notice>) -> Self {
        self.notices = observer;
        self
    }

    /// Opens sessions that are always in a read-only transaction: the server refuses every write, and a session that belongs
    /// to a pooler keeps no settings of ours.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.access = Access::ReadOnly;
        self
    }

    /// Opens sessions without settings, until [`Connection::settle`].
    #[must_use]
    pub(super) fn bare(mut self) -> Self {
        self.access = Access::Bare;
        self
    }

    /// The database that sessions are opened on.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The same, for sessions that end by another token: what has to be looked at after a run was told to stop.
    #[must_use]
    pub fn with_cancellation(mut self, cancel: CancellationToken) -> Self {
        self.cancel = cancel;
        self
    }

    /// The token that interrupts statements of these sessions.
    #[must_use]
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancel
    }

    /// The host, as the URL names it, and the port of the server that has answered; none before the first session.
    pub async fn server(&self) -> Option<(String, u16)> {
        self.pin.lock().await.as_ref().map(|server| server.address.named())
    }

    /// Forgets which server has answered, if no session on it is open. For work that starts again after a failure.
    pub async fn choose_anew(&self) {
        let mut pin = self.pin.lock().await;
        if pin.as_mut().is_some_and(|server| !server.is_in_use()) {
            *pin = None;
        }
    }

    /// Opens a session with the `application_name` `application`, followed by that of the URL. While a session of this
    /// connector or of a clone is open, new sessions are opened on the same server only. After that, the same address is
    /// tried first.
    ///
    /// Each address has the URL's `connect_timeout`, or 10 seconds, to answer. A server that is starting up has 30 seconds.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] if no session can be opened, [`Error::SplitServers`] if it is on another server than earlier ones,
    /// [`Error::Interrupted`] when the run is told to stop.
    pub async fn connect(&self, application: &str) -> Result<Connection, Error> {
        let config = self.database.config(application);
        let since = Instant::now();
        let connecting = async {
            loop {
                match self.open(&config).await {
                    Err(Error::Connect { reason, cause, .. })
                        if cause.is(&SqlState::CANNOT_CONNECT_NOW) && since.elapsed() < STARTUP_PATIENCE =>
                    {
                        tracing::debug!("the server is not ready yet: {reason}");
                        tokio::time::sleep(Duration::from_millis(250)).await;
                    }
                    opened => break opened,
                }
            }
        };
        tokio::pin!(connecting);
        tokio::select! {
            opened = &mut connecting => return opened,
            () = self.cancel.cancelled() => return Err(Error::Interrupted),
            () = tokio::time::sleep(SOON) => {}
        }
        self.notices.tell(Notice {
            severity: "NOTICE".to_owned(),
            message: format!("waiting for {} to answer, for the session \"{application}\"", self.database),
            detail: None,
            hint: None,
        });
        tokio::select! {
            opened = connecting => opened,
            () = self.cancel.cancelled() => Err(Error::Interrupted),
        }
    }

    /// Opens a session on the server in use, or else on the first address that answers.
    async fn open(&self, config: &Config) -> Result<Connection, Error> {
        // Several sessions may be opened at the same time, once the server is known.
        let known = self.pin.lock().await.as_ref().map(|server| server.address.clone());
        let known = match known {
            Some(address) => Some((self.open_at(&address, config).await, address)),
            None => None,
        };
        let mut pin = self.pin.lock().await;
        if let (Some(server), Some((opened, address))) = (pin.as_mut(), known) {
            match opened {
                Ok((connection, identity)) if server.identity.is_same(&identity) => {
                    server.add(&connection.client);
                    return Ok(connection);
                }
                Ok((connection, other)) => {
                    if server.is_in_use() {
                        connection.close().await;
                        return Err(self.split(&server.identity, &other));
                    }
                    *server = Server::new(address, other, &connection.client);
                    return Ok(connection);
                }
                Err(error) if server.is_in_use() => return Err(error),
                Err(error) => tracing::debug!("{address} answered before, but not now: {error}"),
            }
        }
        let mut errors = Vec::new();
        for host in reach::hosts(config)? {
            let addresses = match reach::resolve(config, host.clone()).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    errors.push((host, error));
                    continue;
                }
            };
            for address in addresses {
                match self.open_at(&address, config).await {
                    Ok((connection, identity)) => {
                        *pin = Some(Server::new(address, identity, &connection.client));
                        return Ok(connection);
                    }
                    Err(Error::Interrupted) => return Err(Error::Interrupted),
                    Err(error) => errors.push((address, error)),
                }
            }
        }
        Err(self.none_answered(errors))
    }

    /// Opens a session on one address, up to the point where it can run a statement.
    async fn open_at(&self, address: &Address, config: &Config) -> Result<(Connection, Identity), Error> {
        let limit = reach::limit(config);
        let opening = async {
            let attempt = address.of(config).connect(self.database.tls()).await;
            let (client, connection) = attempt.map_err(|error| self.connect_error(&error))?;
            let ended = Arc::new(OnceLock::new());
            let version = connection.parameter("server_version").filter(|_| config.get_options().is_none());
            let settings_for = version.and_then(settings::major);
            let driver = tokio::spawn(drive(connection, self.notices.clone(), Arc::clone(&ended)));
            let mut connection = Connection {
                client: Arc::new(client),
                tls: self.database.tls(),
                cancel: self.cancel.clone(),
                shielded: false,
                in_transaction: Arc::new(AtomicBool::new(false)),
                read_only: self.access == Access::ReadOnly,
                settings_for,
                driver: Arc::new(Driver(driver)),
                ended,
                pid: Arc::default(),
                watcher: None,
                waits: self.waits.clone(),
                probe: self.probe.clone(),
            };
            let identity = connection.introduce(self.access).await?;
            connection.watcher = self.watched.then(|| Arc::new(self.clone()) as Arc<dyn Watcher>);
            Ok((connection, identity))
        };
        // The driver applies the same limit to the network connection alone, and reports that itself.
        let opened = tokio::time::timeout(limit + Duration::from_millis(100), opening).await;
        opened.unwrap_or_else(|_| {
            let limit = humantime::format_duration(limit);
            let reason = format!("the server accepted the connection but did not answer within {limit}");
            Err(Error::Connect { database: self.database.to_string(), reason, cause: ConnectCause::Silent })
        })
    }

    /// The error if no address answered: that of a server that is starting up, of the only address, or of all addresses.
    fn none_answered(&self, mut errors: Vec<(Address, Error)>) -> Error {
        let starting = errors.iter().position(|(_, error)| match error {
            Error::Connect { cause, .. } => cause.is(&SqlState::CANNOT_CONNECT_NOW),
            _ => false,
        });
        let database = self.database.to_string();
        if errors.len() > 1 && starting.is_none() {
            let said: Vec<_> = errors
                .iter()
                .map(|(address, error)| match error {
                    Error::Connect { reason, .. } => format!("{address}: {reason}"),
                    error => format!("{address}: {error}"),
                })
                .collect();
            let causes = errors.into_iter().filter_map(|(_, error)| match error {
                Error::Connect { cause, .. } => Some(cause),
                _ => None,
            });
            let first =
                causes.reduce(|one, next| if matches!(one, ConnectCause::Refused(_)) { one } else { one.min(next) });
            let cause = first.unwrap_or(ConnectCause::Unreachable);
            return Error::Connect { database, reason: said.join("; "), cause };
        }
        match (!errors.is_empty()).then(|| errors.swap_remove(starting.unwrap_or(0)).1) {
            Some(Error::Connect { reason, cause, .. }) => Error::Connect { database, reason, cause },
            Some(error) => error,
            None => {
                let reason = "it names no host".to_owned();
                Error::Connect { database, reason, cause: ConnectCause::Unreachable }
            }
        }
    }

    /// The error if the sessions of a run are on two servers.
    pub(super) fn split(&self, one: &Identity, other: &Identity) -> Error {
        Error::SplitServers { database: self.database.to_string(), servers: format!("{one}, and {other}") }
    }

    fn connect_error(&self, error: &tokio_postgres::Error) -> Error {
        let reason = match (error.as_db_error(), std::error::Error::source(error)) {
            (Some(report), _) => report.message().to_owned(),
            // Self-signed, or signed by an authority that is not trusted.
            (None, Some(source))
                if ["CaUsedAsEndEntity", "UnknownIssuer"].iter().any(|why| source.to_string().contains(why)) =>
            {
                "the server's certificate is not trusted".to_owned()
            }
            (None, Some(source)) => source.to_string(),
            (None, None) => error.to_string(),
        };
        Error::Connect { database: self.database.to_string(), reason, cause: ConnectCause::of(error) }
    }
}

/// Moves messages between client and server until the session ends.
async fn drive<S, T>(
    mut connection: tokio_postgres::Connection<S, T>,
    notices: Observer<Notice>,
    ended: Arc<OnceLock<String>>,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notice(notice))) => notices.tell(Notice {
                severity: notice.severity().to_owned(),
                message: notice.message().to_owned(),
                detail: notice.detail().map(str::to_owned),
                hint: notice.hint().map(str::to_owned),
            }),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::debug!("session ended: {error}");
                // Set before the session is dropped: a waiting statement then learns only that no answer will come.
                if let Some(why) = reason_of_end(&error) {
                    let _ = ended.set(why);
                }
                break;
            }
            None => break,
        }
    }
}

/// Why the network ended a session.
fn reason_of_end(error: &tokio_postgres::Error) -> Option<String> {
    let error = std::error::Error::source(error)?.downcast_ref::<std::io::Error>()?;
    Some(match error.kind() {
        ErrorKind::TimedOut => format!("its host has not answered for half a minute ({error})"),
        _ => error.to_string(),
    })
}
