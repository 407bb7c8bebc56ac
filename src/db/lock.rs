//! Advisory locks, polled from outside.
//!
//! This program never waits for an advisory lock inside the server. A waiting statement holds a snapshot, and a concurrent
//! index build waits for old snapshots: if the build holds the lock, both wait for ever. So every try is a short transaction
//! of its own, and the wait happens here.

use std::borrow::Cow;
use std::convert::Infallible;
use std::iter;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::SimpleQueryMessage;

use super::{Connection, Connector, Error, Holder, Waiting};

/// The two locks of a run that must be the only one in its database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunLocks {
    /// Held by a session of its own for the whole run.
    pub run: LockKey,
    /// Held by the working session, whose last statement may still run after the first session has ended.
    pub session: LockKey,
    /// Locks of other programs, which the working session holds as well, so that they do not start beside it.
    pub others: Vec<LockKey>,
}

/// The locks of a repair.
pub const REPAIR: RunLocks = RunLocks {
    run: LockKey::one(7_244_554_146_635_925_503, "the lock of repairs"),
    session: LockKey::one(7_244_554_146_635_925_504, "the end of an earlier repair's last statement"),
    others: Vec::new(),
};

/// Held by the session that migrates, for every set. A killed run loses its run lock at once, while its last statement or
/// commit may still be running, so the next run waits for this lock, too.
pub const RUN_SESSION_LOCK: LockKey =
    LockKey::one(7_244_554_146_635_925_502, "the end of an earlier run's last statement");

/// How long a check that the lock is held is good for. Many short migrations do not pay for one each.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// How often to look whether another session waits for the lock's transaction.
const LOOK_EVERY: Duration = Duration::from_millis(500);

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often the holder is looked up and named while we wait.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// An advisory lock, per database. PostgreSQL has two key spaces: one number of 64 bits, or two of 32.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockKey {
    /// The key, or the first of two.
    pub key: i64,
    /// The second of two.
    pub second: Option<i32>,
    /// Its name, to complete "waiting for …".
    pub what: Cow<'static, str>,
}

impl LockKey {
    /// A key of 64 bits.
    #[must_use]
    pub const fn one(key: i64, what: &'static str) -> Self {
        Self { key, second: None, what: Cow::Borrowed(what) }
    }

    /// Two keys of 32 bits.
    #[must_use]
    pub const fn two(first: i32, second: i32, what: &'static str) -> Self {
        Self { key: first as i64, second: Some(second), what: Cow::Borrowed(what) }
    }

    /// The arguments of an advisory lock function.
    #[must_use]
    pub fn arguments(&self) -> String {
        match self.second {
            None => self.key.to_string(),
            Some(second) => format!("{}, {second}", self.key),
        }
    }
}

/// A lock could not be acquired in time. Its `Debug` is for people, with a hint.
#[derive(thiserror::Error)]
pub enum LockTimeout {
    /// Another session held it for the whole time.
    #[error("waited {} for {what}{}", humantime::format_duration(*waited), held_by(holder.as_deref()))]
    TimedOut {
        /// The name of the lock.
        what: Cow<'static, str>,
        /// How long the wait lasted.
        waited: Duration,
        /// Who holds it.
        holder: Option<Box<Holder>>,
    },
    /// The server or the connection failed.
    #[error(transparent)]
    Database(#[from] Error),
}

fn held_by(holder: Option<&Holder>) -> String {
    holder.map(|holder| format!(", held by {holder}")).unwrap_or_default()
}

/// Polls for a lock. Between two tries no transaction is open on the server.
pub struct Patience {
    limit: Duration,
    since: Instant,
    pause: Duration,
    reported: Option<Instant>,
}

impl Patience {
    /// Starts waiting, for at most `limit`.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { limit, since: Instant::now(), pause: FIRST_PAUSE, reported: None }
    }

    /// Reports the wait only after ten seconds.
    #[must_use]
    pub fn quiet_at_first(self) -> Self {
        Self { reported: Some(Instant::now()), ..self }
    }

    /// Pauses after `connection` could not acquire `lock`. Every ten seconds, it tells the connector's observer of waits who
    /// holds the lock.
    ///
    /// # Errors
    ///
    /// [`LockTimeout::TimedOut`] when the limit is reached.
    pub async fn wait(&mut self, connection: &Connection, lock: &LockKey) -> Result<(), LockTimeout> {
        let waited = self.since.elapsed();
        let what = lock.what.clone();
        if waited >= self.limit {
            let holder = holder(connection, lock).await?;
            return Err(LockTimeout::TimedOut { what, waited: self.limit, holder: holder.map(Box::new) });
        }
        if self.reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
            self.reported = Some(Instant::now());
            connection.tell(Waiting { what, holder: holder(connection, lock).await?, waited });
        }
        connection.pause(self.pause.min(self.limit.saturating_sub(waited))).await?;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

/// Who holds `lock` in this database.
///
/// # Errors
///
/// The server's error.
pub async fn holder(connection: &Connection, lock: &LockKey) -> Result<Option<Holder>, Error> {
    const HOLDER: &str = "
        SELECT l.pid, a.application_name AS application, pg_catalog.host(a.client_addr) AS client, coalesce(a.xact_start, a.backend_start) AS since
        FROM pg_catalog.pg_locks l
        LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'advisory'
          AND l.granted
          AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
          AND CASE l.objsubid
                  WHEN 1 THEN $2::int IS NULL AND (l.classid::bigint << 32) | l.objid::bigint = $1::bigint
                  WHEN 2 THEN l.classid::bigint = $1::bigint AND l.objid::bigint = $2::int
              END
          AND l.pid IS NOT NULL
        ORDER BY l.pid
        LIMIT 1";
    let row = connection.query_opt(HOLDER, &[&lock.key, &lock.second]).await?;
    Ok(row.map(|row| Holder::from_row(&row)))
}

/// The lock of a run, held by a session of its own that stays idle in one open transaction: it holds no snapshot, so
/// concurrent index builds do not wait for it, and no pooler can hand it to another client.
///
/// It does hold a snapshot while a statement of its own runs. An index build that sees this snapshot waits for the end of the
/// transaction; [`RunLock::keep`] then ends it.
pub struct RunLock {
    connection: Connection,
    key: i64,
    /// The server's process.
    pid: i32,
    /// When it was last known to be held.
    checked: Mutex<Instant>,
}

impl RunLock {
    /// Takes the run's lock on a session of its own, and the session's lock on another one, which is returned beside it
    /// under the name `application`.
    ///
    /// # Errors
    ///
    /// [`LockTimeout`]; [`Error::SwappedSession`] if the two sessions share a server process, [`Error::SplitServers`] if
    /// they are on two servers.
    pub async fn acquire(
        connector: &Connector,
        locks: &RunLocks,
        application: &str,
        mut patience: Patience,
    ) -> Result<(Self, Connection), LockTimeout> {
        // No settings that outlive a transaction, until it is known that no pooler shares these sessions.
        let bare = connector.clone().bare();
        let (session, connection) = tokio::try_join!(bare.connect(application), bare.connect("migrate: lock"))?;
        let marker = mark(&session).await?;
        // Settings come first: a short limit on idle transactions could end this one before the next message arrives.
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; {}; SELECT pg_catalog.pg_try_advisory_xact_lock({})",
            connection.settings_of_transaction(),
            locks.run.key
        );
        while last_value(&connection.simple_query(&begin).await?).as_deref() != Some("t") {
            connection.batch("ROLLBACK").await?;
            patience.wait(&session, &locks.run).await?;
            // This session still has its limit on idle sessions; a statement keeps it alive.
            session.batch("SELECT 1").await?;
        }
        // The lock's transaction pins a server process. If that process answered as `session` before, or another process
        // answers as `session` now, a pooler swaps sessions between statements.
        if read_marker(&connection).await? == Some(marker.clone()) || read_marker(&session).await? != Some(marker) {
            return Err(Error::SwappedSession { database: connector.database().to_string() }.into());
        }
        let (one, other) = (connection.identity().await?, session.identity().await?);
        let pid: i32 = connection.query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await?.get(0);
        if !one.is_same(&other) {
            return Err(connector.split(&one, &other).into());
        }
        if !sees_lock_of(&session, pid, &locks.run).await? {
            // Whoever ended its session has ended the lock.
            connection.batch("SHOW transaction_isolation").await?;
            return Err(connector.split(&one, &other).into());
        }
        session.settle().await?;
        let others = locks.others.iter().filter(|other| other.key != locks.run.key || other.second.is_some());
        for lock in iter::once(&locks.session).chain(others) {
            let ask = format!("SELECT pg_catalog.pg_try_advisory_lock({})", lock.arguments());
            while !session.query_one(&ask, &[]).await?.get::<_, bool>(0) {
                patience.wait(&session, lock).await?;
            }
        }
        Ok((Self { connection, key: locks.run.key, pid, checked: Mutex::new(Instant::now()) }, session))
    }

    /// Checks that the lock is still held, or was a moment ago: between any check and what follows, it can be lost.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] when the session that held it is gone.
    pub async fn check(&self) -> Result<(), Error> {
        let last = *self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() < CHECK_EVERY && !self.connection.client.is_closed() {
            return Ok(());
        }
        // Unlike a SELECT, this takes no snapshot.
        self.connection.batch("SHOW transaction_isolation").await?;
        *self.checked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Ok(())
    }

    /// While this future is polled, renews the lock's transaction when another session waits for its end: an index build that
    /// has seen its snapshot. The run might wait for that build's table lock, so that both would wait for each other.
    pub async fn keep(&self, connector: &Connector) -> Infallible {
        const WAITED_FOR: &str = "
            SELECT EXISTS (
                SELECT FROM pg_catalog.pg_locks h
                JOIN pg_catalog.pg_locks w ON w.locktype = 'virtualxid' AND w.virtualxid = h.virtualxid AND NOT w.granted
                WHERE h.locktype = 'virtualxid' AND h.granted AND h.pid = $1
            )";
        let look = async {
            // Most runs have ended by then.
            self.connection.pause(LOOK_EVERY).await?;
            let session = connector.connect("migrate: watch").await?;
            loop {
                if session.query_one(WAITED_FOR, &[&self.pid]).await?.get(0) {
                    self.renew().await?;
                }
                session.pause(LOOK_EVERY).await?;
            }
        };
        let ended: Result<Infallible, Error> = look.await;
        let Err(error) = ended;
        tracing::debug!("the transaction of the lock is no longer renewed: {error}");
        std::future::pending().await
    }

    /// Ends the transaction and begins another one, in a single message. The session holds the lock in between, and a pooler
    /// never sees the session outside a transaction.
    async fn renew(&self) -> Result<(), Error> {
        let key = self.key;
        let renew = format!(
            "SELECT pg_catalog.pg_try_advisory_lock({key}); COMMIT; BEGIN ISOLATION LEVEL READ COMMITTED; {}; \
             SELECT pg_catalog.pg_try_advisory_xact_lock({key}); SELECT pg_catalog.pg_advisory_unlock({key})",
            self.connection.settings_of_transaction()
        );
        self.connection.simple_query(&renew).await.map(drop)
    }

    /// Releases the lock.
    pub async fn release(self) {
        self.connection.close().await;
    }
}

/// Sets a marker on the server process that answers for `session`.
async fn mark(session: &Connection) -> Result<String, Error> {
    let row = session
        .query_one("SELECT pg_catalog.set_config('migrate.session', pg_catalog.concat(pg_catalog.pg_backend_pid(), '/', pg_catalog.clock_timestamp()), false)", &[])
        .await?;
    Ok(row.get(0))
}

async fn read_marker(connection: &Connection) -> Result<Option<String>, Error> {
    Ok(last_value(&connection.simple_query("SELECT pg_catalog.current_setting('migrate.session', true)").await?))
}

/// Whether `session` sees on its server that `holder` holds `lock`.
async fn sees_lock_of(session: &Connection, holder: i32, lock: &LockKey) -> Result<bool, Error> {
    const SEES: &str = "
        SELECT EXISTS (
            SELECT FROM pg_catalog.pg_locks
            WHERE locktype = 'advisory' AND granted AND objsubid = 1
              AND (classid::bigint << 32) | objid::bigint = $1
              AND pid = $2
              AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
        )";
    Ok(session.query_one(SEES, &[&lock.key, &holder]).await?.get(0))
}

/// The first column of the last row.
fn last_value(messages: &[SimpleQueryMessage]) -> Option<String> {
    messages.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    })
}
