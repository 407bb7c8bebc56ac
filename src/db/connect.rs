//! Sessions: opened on purpose, interruptible, with their notices passed on.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use postgres_types::ToSql;
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Row, SimpleQueryMessage, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::sync::CancellationToken;

use super::{Database, Error};

/// How long a server that says it is starting up is given, before that becomes an error.
const STARTUP_PATIENCE: Duration = Duration::from_secs(30);

/// How long a cancelled statement is given to end on the server before the program stops waiting for it.
const CANCEL_PATIENCE: Duration = Duration::from_secs(1);

/// How long a statement that must also run after the run was told to stop, such as a rollback, is then given.
const SHIELD_PATIENCE: Duration = Duration::from_millis(300);

/// What a session needs to be told, for its whole life or, `true`, for its transaction. Limits that a role or database
/// sets for its application would end a migration halfway; limits given in the URL are meant for us and stay. A
/// session whose client has died ends its statement within a second, so that a killed run does not go on working
/// unseen. Times are written and read as UTC. What a policy would hide is an error, not an absence; and what the server
/// says of its objects does not depend on how a database is configured.
const SETTINGS: &str = "
    SELECT set_config(name, CASE name
               WHEN 'client_connection_check_interval' THEN '1s'
               WHEN 'default_transaction_isolation' THEN 'read committed'
               WHEN 'TimeZone' THEN 'UTC'
               WHEN 'DateStyle' THEN 'ISO'
               WHEN 'row_security' THEN 'off'
               WHEN 'quote_all_identifiers' THEN 'off'
               WHEN 'standard_conforming_strings' THEN 'on'
               ELSE '0'
           END, {local})
    FROM pg_catalog.pg_settings
    WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout',
                   'transaction_timeout', 'client_connection_check_interval')
      AND source <> 'client'
       OR name IN ('TimeZone', 'DateStyle', 'default_transaction_isolation', 'row_security', 'quote_all_identifiers',
                   'standard_conforming_strings')";

/// Settings must not outlive their use where a pooler may hand the server's session to somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// The session is ours: it is told everything once.
    Session,
    /// Nothing is told yet; [`Connection::settle`] does.
    Bare,
    /// Every statement runs in a transaction that cannot write, and is told there.
    ReadOnly,
}

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

type NoticeSink = Arc<dyn Fn(Notice) + Send + Sync>;

/// Opens sessions on one database.
#[derive(Clone)]
pub struct Connector {
    database: Database,
    cancel: CancellationToken,
    notices: NoticeSink,
    access: Access,
}

impl Connector {
    /// Sessions on `database`, whose statements end when `cancel` is cancelled.
    #[must_use]
    pub fn new(database: Database, cancel: CancellationToken) -> Self {
        Self { database, cancel, notices: Arc::new(|_| {}), access: Access::Session }
    }

    /// Passes every server notice of the sessions opened from here on to `sink`.
    #[must_use]
    pub fn on_notice(mut self, sink: impl Fn(Notice) + Send + Sync + 'static) -> Self {
        self.notices = Arc::new(sink);
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

    /// Opens a session that other people see under the name `application`, and behind it the one that the URL sets.
    ///
    /// A server that is starting up is waited for, for at most 30 seconds.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] if no session can be had, [`Error::Interrupted`] when told to stop.
    pub async fn connect(&self, application: &str) -> Result<Connection, Error> {
        let config = self.database.config(application);
        let since = Instant::now();
        let (client, connection) = loop {
            let attempt = tokio::select! {
                attempt = config.connect(self.database.tls()) => attempt,
                () = self.cancel.cancelled() => return Err(Error::Interrupted),
            };
            match attempt {
                Ok(parts) => break parts,
                Err(error)
                    if error.code() == Some(&SqlState::CANNOT_CONNECT_NOW) && since.elapsed() < STARTUP_PATIENCE =>
                {
                    tracing::debug!("the server is not ready yet: {error}");
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
                Err(error) => return Err(self.connect_error(&error)),
            }
        };
        let connection = Connection {
            client: Arc::new(client),
            tls: self.database.tls(),
            cancel: self.cancel.clone(),
            shielded: false,
            in_transaction: Arc::new(AtomicBool::new(false)),
            read_only: self.access == Access::ReadOnly,
            driver: Arc::new(Driver(tokio::spawn(drive(connection, Arc::clone(&self.notices))))),
        };
        match self.access {
            Access::Session => connection.settle().await?,
            Access::ReadOnly => connection.open_transaction().await?,
            Access::Bare => {}
        }
        Ok(connection)
    }

    fn connect_error(&self, error: &tokio_postgres::Error) -> Error {
        let reason = match (error.as_db_error(), std::error::Error::source(error)) {
            (Some(report), _) => report.message().to_owned(),
            // Signed by an authority, or by itself, which nobody has told us to trust.
            (None, Some(source))
                if ["CaUsedAsEndEntity", "UnknownIssuer"].iter().any(|why| source.to_string().contains(why)) =>
            {
                "the server's certificate is not one that is trusted here".to_owned()
            }
            (None, Some(source)) => source.to_string(),
            (None, None) => error.to_string(),
        };
        Error::Connect {
            database: self.database.to_string(),
            reason,
            sqlstate: error.code().map(|code| code.code().to_owned()),
        }
    }
}

/// Moves messages between client and server until the session ends.
async fn drive<S, T>(mut connection: tokio_postgres::Connection<S, T>, notices: NoticeSink)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notice(notice))) => notices(Notice {
                severity: notice.severity().to_owned(),
                message: notice.message().to_owned(),
                detail: notice.detail().map(str::to_owned),
                hint: notice.hint().map(str::to_owned),
            }),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::debug!("session ended: {error}");
                break;
            }
            None => break,
        }
    }
}

/// The task that moves the session's messages. It ends by itself when nobody uses the session any more.
struct Driver(JoinHandle<()>);

/// One session. Every statement ends early, cancelled on the server, when the run is told to stop.
#[derive(Clone)]
pub struct Connection {
    client: Arc<Client>,
    tls: MakeRustlsConnect,
    cancel: CancellationToken,
    shielded: bool,
    in_transaction: Arc<AtomicBool>,
    read_only: bool,
    driver: Arc<Driver>,
}

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Connection {
    /// Runs one statement and returns its rows.
    ///
    /// # Errors
    ///
    /// What the server says, or [`Error::Interrupted`].
    pub async fn query(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Error> {
        self.interruptible(self.client.query(sql, params)).await
    }

    /// Runs one statement that returns exactly one row.
    ///
    /// # Errors
    ///
    /// As [`Self::query`]; also if there is not exactly one row.
    pub async fn query_one(&self, sql: &str, params: Params<'_>) -> Result<Row, Error> {
        self.interruptible(self.client.query_one(sql, params)).await
    }

    /// Runs one statement that returns at most one row.
    ///
    /// # Errors
    ///
    /// As [`Self::query`]; also if there is more than one row.
    pub async fn query_opt(&self, sql: &str, params: Params<'_>) -> Result<Option<Row>, Error> {
        self.interruptible(self.client.query_opt(sql, params)).await
    }

    /// Runs one statement and returns the number of rows it affected.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub async fn execute(&self, sql: &str, params: Params<'_>) -> Result<u64, Error> {
        self.interruptible(self.client.execute(sql, params)).await
    }

    /// Prepares a statement that is going to be run many times.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub async fn prepare(&self, sql: &str) -> Result<Statement, Error> {
        self.interruptible(self.client.prepare(sql)).await
    }

    /// Runs a prepared statement and returns its rows.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub async fn query_prepared(&self, statement: &Statement, params: Params<'_>) -> Result<Vec<Row>, Error> {
        self.interruptible(self.client.query(statement, params)).await
    }

    /// Runs any number of statements, in one implicit transaction unless they begin their own.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub async fn batch(&self, sql: &str) -> Result<(), Error> {
        self.interruptible(self.client.batch_execute(sql)).await
    }

    /// Runs any number of statements and returns the rows of all of them as text.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub async fn simple_query(&self, sql: &str) -> Result<Vec<SimpleQueryMessage>, Error> {
        self.interruptible(self.client.simple_query(sql)).await
    }

    /// Begins a transaction. One that was given up halfway before is rolled back first.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub async fn begin(&self) -> Result<Transaction<'_>, Error> {
        if self.in_transaction.load(Ordering::Acquire) {
            self.batch("ROLLBACK").await?;
        }
        self.open_transaction().await?;
        Ok(Transaction { connection: self })
    }

    async fn open_transaction(&self) -> Result<(), Error> {
        self.in_transaction.store(true, Ordering::Release);
        if self.read_only {
            let settings = SETTINGS.replace("{local}", "true");
            self.batch(&format!("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; {settings}")).await
        } else {
            self.batch("BEGIN ISOLATION LEVEL READ COMMITTED").await
        }
    }

    /// A transaction has ended. A session that cannot write is in the next one at once.
    async fn after_transaction(&self) -> Result<(), Error> {
        self.in_transaction.store(false, Ordering::Release);
        if self.read_only { self.open_transaction().await } else { Ok(()) }
    }

    /// Tells the session, which is known to be ours, what it needs to know.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub(super) async fn settle(&self) -> Result<(), Error> {
        self.batch(&SETTINGS.replace("{local}", "false")).await
    }

    /// The same for the open transaction alone.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub(super) async fn settle_transaction(&self) -> Result<(), Error> {
        self.batch(&SETTINGS.replace("{local}", "true")).await
    }

    /// Lets statements of the open transaction wait for other people's locks no longer than this.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub async fn limit_lock_wait(&self, limit: Duration) -> Result<(), Error> {
        let limit = limit.as_millis().clamp(1, 86_400_000);
        self.batch(&format!("SET LOCAL lock_timeout TO '{limit}ms'")).await
    }

    /// The same session, for the few statements that must also run after the run was told to stop.
    #[must_use]
    pub fn shielded(&self) -> Self {
        Self { shielded: true, ..self.clone() }
    }

    /// Does nothing for a while, or until the run is told to stop.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`].
    pub async fn pause(&self, duration: Duration) -> Result<(), Error> {
        tokio::select! {
            () = tokio::time::sleep(duration) => Ok(()),
            () = self.cancel.cancelled() => Err(Error::Interrupted),
        }
    }

    /// Says good-bye to the server and waits until it has been said.
    pub async fn close(self) {
        let Self { client, driver, .. } = self;
        drop(client);
        if let Some(Driver(task)) = Arc::into_inner(driver) {
            let _ = tokio::time::timeout(SHIELD_PATIENCE, task).await;
        }
    }

    async fn interruptible<T>(
        &self,
        statement: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        if self.shielded {
            return tokio::select! {
                result = statement => result.map_err(Error::from),
                () = async { self.cancel.cancelled().await; tokio::time::sleep(SHIELD_PATIENCE).await } => {
                    Err(Error::Interrupted)
                }
            };
        }
        if self.cancel.is_cancelled() {
            return Err(Error::Interrupted);
        }
        tokio::pin!(statement);
        tokio::select! {
            result = &mut statement => result.map_err(Error::from),
            () = self.cancel.cancelled() => {
                let stop = async {
                    if let Err(error) = self.client.cancel_token().cancel_query(self.tls.clone()).await {
                        tracing::debug!("the cancel request failed: {error}");
                    }
                    let _ = statement.await;
                };
                let _ = tokio::time::timeout(CANCEL_PATIENCE, stop).await;
                Err(Error::Interrupted)
            }
        }
    }
}

/// An open transaction of a [`Connection`], which it is used through. Dropped without a commit, it counts as given up:
/// the server rolls it back when the session ends, or when the next one begins.
#[must_use = "a transaction that is not committed is rolled back"]
pub struct Transaction<'c> {
    connection: &'c Connection,
}

impl Transaction<'_> {
    /// Commits. A commit that has been sent is waited for, also when the run is told to stop.
    ///
    /// # Errors
    ///
    /// What the server says; after [`Error::Lost`] it is unknown whether the commit took place.
    pub async fn commit(self) -> Result<(), Error> {
        if self.connection.cancel.is_cancelled() {
            return Err(Error::Interrupted);
        }
        self.connection.shielded().batch("COMMIT").await?;
        self.connection.after_transaction().await
    }

    /// Rolls back, also when the run was told to stop.
    pub async fn rollback(self) {
        // A session that cannot roll back is gone, and its transaction with it.
        if self.connection.shielded().batch("ROLLBACK").await.is_ok() {
            let _ = self.connection.after_transaction().await;
        }
    }

    /// Does something as another role, if one is given, and as the session's own again afterwards. Names are found where
    /// they were found before: `"$user"` in a search path must not suddenly mean the other role's schema.
    ///
    /// # Errors
    ///
    /// What the server says. Then the transaction has failed, and the role goes with it.
    pub async fn as_role<T>(
        &self,
        role: Option<&str>,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        const BEFORE: &str = "
            SELECT current_setting('role'),
                   (SELECT coalesce(string_agg(quote_ident(s.name), ', ' ORDER BY s.at), '')
                    FROM unnest(current_schemas(false)) WITH ORDINALITY AS s (name, at))";
        const BECOME: &str = "SELECT set_config('role', $1, true)";
        let Some(role) = role else { return work.await };
        let before = self.query_one(BEFORE, &[]).await?;
        let (ours, path): (String, String) = (before.get(0), before.get(1));
        self.query("SELECT set_config('search_path', $1, true)", &[&path]).await?;
        self.query(BECOME, &[&role]).await?;
        let done = work.await?;
        self.query(BECOME, &[&ours]).await?;
        Ok(done)
    }
}

impl std::ops::Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}
