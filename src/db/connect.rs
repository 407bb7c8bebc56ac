//! Opening sessions: on purpose, on one server, for a limited time, with their notices passed on.

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
use super::settings::Access;
use super::waits::{Waits, Watcher};
use super::{Connection, Database, Error, Observer, Waiting};

/// A notice reports a connection that takes longer than this.
const SOON: Duration = Duration::from_secs(2);

/// How long a server that says it is starting up is given, before that becomes an error.
const STARTUP_PATIENCE: Duration = Duration::from_secs(30);

/// A message that the server sent beside its answers: NOTICE, WARNING and the like.
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
    /// Whether its sessions are looked at when their statements take long.
    watched: bool,
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
        }
    }

    /// Tells `observer` when a statement has waited for another session's lock for a second, and every ten seconds from then
    /// on; for sessions opened from here on.
    #[must_use]
    pub fn on_wait(mut self, observer: Observer<Waiting>) -> Self {
        self.waits = self.waits.observed_by(observer);
        self
    }

    /// Ends statements that have waited for this long, ten minutes unless it is said, with SQLSTATE 55P03. Holds for all
    /// clones.
    pub fn wait_at_most(&self, limit: Duration) {
        self.waits.set_limit(limit);
    }

    pub(super) fn waits(&self) -> &Waits {
        &self.waits
    }

    /// Opens sessions that nobody looks at; they do not wait.
    #[must_use]
    pub(super) fn unwatched(mut self) -> Self {
        self.watched = false;
        self
    }

    /// Passes every server notice of the sessions opened from here on to `observer`.
    #[must_use]
    pub fn on_notice(mut self, observer: Observer<Notice>) -> Self {
        self.notices = observer;
        self
    }

    /// Opens sessions that are in a read-only transaction all the time: the server refuses every write, and nothing is
    /// left behind in a session that belongs to a pooler.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.access = Access::ReadOnly;
        self
    }

    /// Opens sessions that are left as they are until [`Connection::settle`].
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

    /// The signal that interrupts statements of these sessions.
    #[must_use]
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Forgets which server has answered, if no session on it is open: for what goes on after a failure, or begins anew.
    pub async fn choose_anew(&self) {
        let mut pin = self.pin.lock().await;
        if pin.as_mut().is_some_and(|server| !server.is_in_use()) {
            *pin = None;
        }
    }

    /// Opens a session that other people see under the name `application`, and behind it the one that the URL sets. As long
    /// as a session of this connector, or of a clone, is open, the next one goes to the same server; none is ever opened on
    /// another.
    /// After that, the same address is tried first.
    ///
    /// Each address is tried for the URL's `connect_timeout`, else 10 seconds, until it has answered. A server that is
    /// starting up is waited for, for at most 30 seconds.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] if no session can be opened, [`Error::SplitServers`] if it is on another server than those before,
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

    /// Opens a session where there is one already, else where the first address answers.
    async fn open(&self, config: &Config) -> Result<Connection, Error> {
        let mut pin = self.pin.lock().await;
        if let Some(server) = pin.as_mut() {
            let address = server.address.clone();
            match self.open_at(&address, config).await {
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
                Err(error) => tracing::debug!("{address} has answered before, and does not now: {error}"),
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

    /// One address, and everything that has to be said until a statement can be sent.
    async fn open_at(&self, address: &Address, config: &Config) -> Result<(Connection, Identity), Error> {
        let limit = reach::limit(config);
        let opening = async {
            let attempt = address.of(config).connect(self.database.tls()).await;
            let (client, connection) = attempt.map_err(|error| self.connect_error(&error))?;
            let ended = Arc::new(OnceLock::new());
            let driver = tokio::spawn(drive(connection, self.notices.clone(), Arc::clone(&ended)));
            let mut connection = Connection {
                client: Arc::new(client),
                tls: self.database.tls(),
                cancel: self.cancel.clone(),
                shielded: false,
                in_transaction: Arc::new(AtomicBool::new(false)),
                read_only: self.access == Access::ReadOnly,
                driver: Arc::new(Driver(driver)),
                ended,
                pid: Arc::default(),
                watcher: None,
                waits: self.waits.clone(),
            };
            let identity = connection.introduce(self.access).await?;
            connection.watcher = self.watched.then(|| Arc::new(self.clone()) as Arc<dyn Watcher>);
            Ok((connection, identity))
        };
        // The driver has the same limit for an answer of the network alone, and says so itself.
        let opened = tokio::time::timeout(limit + Duration::from_millis(100), opening).await;
        opened.unwrap_or_else(|_| {
            let limit = humantime::format_duration(limit);
            let reason = format!("the server accepted the connection but did not answer within {limit}");
            Err(Error::Connect { database: self.database.to_string(), reason, cause: ConnectCause::Silent })
        })
    }

    /// The error when no address answered: that of a server that is starting up, or of the only address, or of each.
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

    /// The sessions of a run are not where they should be.
    pub(super) fn split(&self, one: &Identity, other: &Identity) -> Error {
        Error::SplitServers { database: self.database.to_string(), servers: format!("{one}, and {other}") }
    }

    fn connect_error(&self, error: &tokio_postgres::Error) -> Error {
        let reason = match (error.as_db_error(), std::error::Error::source(error)) {
            (Some(report), _) => report.message().to_owned(),
            // Signed by itself, or by an authority that is not among the trusted ones.
            (None, Some(source))
                if ["CaUsedAsEndEntity", "UnknownIssuer"].iter().any(|why| source.to_string().contains(why)) =>
            {
                "the server's certificate is not one that is trusted here".to_owned()
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
                // Before the session is dropped: a waiting statement then learns only that no answer will come.
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
        ErrorKind::TimedOut => format!("its machine has not answered for half a minute ({error})"),
        _ => error.to_string(),
    })
}
