//! One session: its statements end early when the run is told to stop, or when they wait too long for another session.

use std::future::{Future, pending, poll_fn};
use std::iter;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use futures_core::Stream as _;
use postgres_types::{ToSql, Type};
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row, SimpleQueryMessage, SimpleQueryRow, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::sync::CancellationToken;

use super::reach::Identity;
use super::settings::{Access, settings};
use super::transaction::BEGIN;
use super::waits::{InTheWay, Waits, Watcher};
use super::{Error, Probe, Waiting};

/// How long the program waits for a cancelled statement to end on the server.
const CANCEL_PATIENCE: Duration = Duration::from_secs(1);

/// The time limit, after the run was told to stop, for statements that must still run, such as a rollback.
const SHIELD_PATIENCE: Duration = Duration::from_millis(300);

/// Reads the last row, which is that of [`Identity::ASK`].
fn identity(answers: &[SimpleQueryMessage]) -> Identity {
    let row = last_row(answers);
    let column = |at| row.and_then(|row| row.get(at));
    Identity::from_texts(column(1), column(2), column(3))
}

fn last_row(answers: &[SimpleQueryMessage]) -> Option<&SimpleQueryRow> {
    answers.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })
}

/// The task that moves the session's messages. It ends when the session is no longer used.
pub(super) struct Driver(pub JoinHandle<()>);

/// One session. Every statement ends early, cancelled on the server, when the run is told to stop.
#[derive(Clone)]
pub struct Connection {
    pub(super) client: Arc<Client>,
    pub(super) tls: MakeRustlsConnect,
    pub(super) cancel: CancellationToken,
    pub(super) shielded: bool,
    pub(super) in_transaction: Arc<AtomicBool>,
    pub(super) read_only: bool,
    /// The server's major version, for its settings; none if the URL has options of its own.
    pub(super) settings_for: Option<i32>,
    pub(super) driver: Arc<Driver>,
    /// Why the network ended it, if it did.
    pub(super) ended: Arc<OnceLock<String>>,
    /// The process on the server.
    pub(super) pid: Arc<AtomicI32>,
    /// Watches its statements from another session.
    pub(super) watcher: Option<Arc<dyn Watcher>>,
    pub(super) waits: Waits,
    pub(super) probe: Option<Arc<dyn Probe>>,
}

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Connection {
    /// The process of this session on the server.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Runs one statement and returns its rows.
    ///
    /// # Errors
    ///
    /// The server's error, or [`Error::Interrupted`].
    pub async fn query(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Error> {
        // Without parameters, a statement and its rows are one round trip.
        match params {
            [] => self.interruptible(self.client.query_typed(sql, &[])).await,
            params => self.interruptible(self.client.query(sql, params)).await,
        }
    }

    /// Runs one statement and calls `each` with every row as it arrives. `each` must be fast: the server waits for it.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub async fn each_row(
        &self,
        sql: &str,
        params: Params<'_>,
        each: &mut (dyn FnMut(&Row) + Send),
    ) -> Result<(), Error> {
        // What is read of a statement's rows while it runs is much.
        let reading = async {
            let params = params.iter().map(|param| *param as &(dyn ToSql + Sync));
            // Without parameters, as in [`Self::query`].
            let rows = match params.len() {
                0 => self.client.query_typed_raw(sql, iter::empty::<(&(dyn ToSql + Sync), Type)>()).await?,
                _ => self.client.query_raw(sql, params).await?,
            };
            let mut rows = pin!(rows);
            while let Some(row) = poll_fn(|cx| rows.as_mut().poll_next(cx)).await {
                each(&row?);
            }
            Ok(())
        };
        self.interruptible(Box::pin(reading)).await
    }

    /// The same through a cursor of the open transaction: `each` may be slow.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub async fn each_row_of_cursor(
        &self,
        sql: &str,
        params: Params<'_>,
        each: &mut (dyn FnMut(&Row) + Send),
    ) -> Result<(), Error> {
        // The planner expects to return 10 % of a cursor's rows; this reads all of them.
        self.batch("SET LOCAL cursor_tuple_fraction TO 1").await?;
        self.execute(&format!("DECLARE each_row NO SCROLL CURSOR FOR {sql}"), params).await?;
        loop {
            let rows = self.query("FETCH 200 FROM each_row", &[]).await?;
            if rows.is_empty() {
                return self.batch("CLOSE each_row").await;
            }
            rows.iter().for_each(&mut *each);
        }
    }

    /// Runs one statement that returns exactly one row.
    ///
    /// # Errors
    ///
    /// As [`Self::query`]; also if there is not exactly one row.
    pub async fn query_one(&self, sql: &str, params: Params<'_>) -> Result<Row, Error> {
        match params {
            [] => self.interruptible(self.client.query_typed_one(sql, &[])).await,
            params => self.interruptible(self.client.query_one(sql, params)).await,
        }
    }

    /// Runs one statement that returns at most one row.
    ///
    /// # Errors
    ///
    /// As [`Self::query`]; also if there is more than one row.
    pub async fn query_opt(&self, sql: &str, params: Params<'_>) -> Result<Option<Row>, Error> {
        match params {
            [] => self.interruptible(self.client.query_typed_opt(sql, &[])).await,
            params => self.interruptible(self.client.query_opt(sql, params)).await,
        }
    }

    /// Runs one statement and returns the number of rows it affected.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub async fn execute(&self, sql: &str, params: Params<'_>) -> Result<u64, Error> {
        self.interruptible(self.client.execute(sql, params)).await
    }

    /// Prepares a statement that will run many times.
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

    /// Starts the session: makes its settings, and reads its process id and the server's identity.
    pub(super) async fn introduce(&self, access: Access) -> Result<Identity, Error> {
        let answers = match access {
            Access::Session => self.settle().await?,
            Access::ReadOnly => self.open_transaction().await?,
            Access::Bare => self.simple_query(Identity::ASK).await?,
        };
        self.note_pid(&answers);
        Ok(identity(&answers))
    }

    fn note_pid(&self, answers: &[SimpleQueryMessage]) {
        let pid = last_row(answers).and_then(|row| row.get(0)).and_then(|pid| pid.parse().ok());
        self.pid.store(pid.unwrap_or_default(), Ordering::Relaxed);
    }

    /// The server of this session.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub(super) async fn identity(&self) -> Result<Identity, Error> {
        Ok(identity(&self.simple_query(Identity::ASK).await?))
    }

    /// Opens a transaction. If it is a read-only one, a pooler may have handed it another server process.
    pub(super) async fn open_transaction(&self) -> Result<Vec<SimpleQueryMessage>, Error> {
        self.in_transaction.store(true, Ordering::Release);
        if !self.read_only {
            return self.simple_query(BEGIN).await;
        }
        let (settings, ask) = (settings(true, self.settings_for, &self.waits), Identity::ASK);
        let begin = format!("{BEGIN} READ ONLY; {settings}; {ask}");
        let answers = self.simple_query(&begin).await?;
        self.note_pid(&answers);
        Ok(answers)
    }

    /// Opens a read-only transaction with one snapshot for all its statements, and the settings of a session.
    pub(super) async fn open_snapshot(&self) -> Result<(), Error> {
        self.in_transaction.store(true, Ordering::Release);
        let settings = settings(true, self.settings_for, &self.waits);
        let ask = Identity::ASK;
        let begin = format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {settings}; {ask}");
        self.note_pid(&self.simple_query(&begin).await?);
        Ok(())
    }

    /// Called after the end of a transaction. A read-only session begins the next one at once.
    pub(super) async fn after_transaction(&self) -> Result<(), Error> {
        self.in_transaction.store(false, Ordering::Release);
        if self.read_only { self.open_transaction().await.map(drop) } else { Ok(()) }
    }

    /// Makes the settings of a session that no pooler shares.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub(super) async fn settle(&self) -> Result<Vec<SimpleQueryMessage>, Error> {
        let (settings, ask) = (settings(false, self.settings_for, &self.waits), Identity::ASK);
        let answers = self.simple_query(&format!("{settings}; {ask}")).await?;
        self.note_pid(&answers);
        Ok(answers)
    }

    /// The SQL that makes these settings for one transaction.
    pub(super) fn settings_of_transaction(&self) -> String {
        settings(true, self.settings_for, &self.waits)
    }

    /// Limits how long each statement of the open transaction waits for a lock.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub async fn limit_lock_wait(&self, limit: Duration) -> Result<(), Error> {
        let limit = limit.as_millis().clamp(1, 86_400_000);
        self.batch(&format!("SET LOCAL lock_timeout TO '{limit}ms'")).await
    }

    /// The same session, for the few statements that must run even after the run was told to stop.
    #[must_use]
    pub fn shielded(&self) -> Self {
        Self { shielded: true, ..self.clone() }
    }

    /// Tells the observer of waits of this session's connector.
    pub fn tell(&self, waiting: Waiting) {
        self.waits.tell(waiting);
    }

    /// Sleeps, or returns earlier if the run is told to stop.
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

    /// Ends the session, and waits briefly until its last message is sent.
    pub async fn close(self) {
        let Self { client, driver, .. } = self;
        drop(client);
        if let Some(Driver(task)) = Arc::into_inner(driver) {
            let _ = tokio::time::timeout(SHIELD_PATIENCE, task).await;
        }
    }

    /// The driver's error, with the reason why the session ended, or the holder of the lock.
    fn error(&self, error: tokio_postgres::Error, in_the_way: &InTheWay) -> Error {
        match (Error::from(error), self.ended.get()) {
            (Error::Lost { .. }, Some(reason)) => Error::Lost { reason: reason.clone() },
            (Error::Server(mut report), _) if report.sqlstate == SqlState::LOCK_NOT_AVAILABLE.code() => {
                let holder = in_the_way.lock().unwrap_or_else(PoisonError::into_inner).take();
                report.detail = report.detail.or(holder.map(|holder| format!("It is held by {holder}.")));
                Error::Server(report)
            }
            (error, _) => error,
        }
    }

    pub(super) async fn interruptible<T>(
        &self,
        statement: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        let in_the_way = InTheWay::default();
        if self.shielded {
            return tokio::select! {
                result = statement => result.map_err(|error| self.error(error, &in_the_way)),
                () = async { self.cancel.cancelled().await; tokio::time::sleep(SHIELD_PATIENCE).await } => {
                    Err(Error::Interrupted)
                }
            };
        }
        if self.cancel.is_cancelled() {
            return Err(Error::Interrupted);
        }
        let pid = self.pid();
        let watched = async {
            match &self.watcher {
                Some(watcher) => watcher.watch(pid, &in_the_way).await,
                None => pending().await,
            }
        };
        tokio::pin!(statement);
        tokio::select! {
            result = &mut statement => result.map_err(|error| self.error(error, &in_the_way)),
            () = self.cancel.cancelled() => {
                self.stop(statement).await;
                Err(Error::Interrupted)
            }
            too_long = watched => match self.stop(statement).await {
                Some(Ok(done)) => Ok(done),
                _ => Err(too_long.into()),
            }
        }
    }

    /// Cancels the statement on the server, and waits for its end for a limited time.
    async fn stop<T>(&self, statement: impl Future<Output = T>) -> Option<T> {
        let stop = async {
            if let Err(error) = self.client.cancel_token().cancel_query(self.tls.clone()).await {
                tracing::debug!("the cancel request failed: {error}");
            }
            statement.await
        };
        tokio::time::timeout(CANCEL_PATIENCE, stop).await.ok()
    }
}
