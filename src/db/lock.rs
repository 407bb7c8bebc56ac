//! Advisory locks, polled from outside.
//!
//! Nobody waits for a lock inside the server. A statement that waits holds a snapshot, a concurrent index build waits
//! for old snapshots, and if the holder of the lock is that build, both wait for ever. So every try is a transaction
//! of its own, over in an instant, and the waiting happens here.

use std::borrow::Cow;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use tokio_postgres::SimpleQueryMessage;

use super::{Connection, Connector, Error, Holder, Waiting};

/// The two locks of a run that must be alone in its database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunLocks {
    /// Held by a session of its own for the whole run.
    pub run: LockKey,
    /// Held by the session that works, which may outlive the first one by a statement.
    pub session: LockKey,
}

/// The locks of a repair.
pub const REPAIR: RunLocks = RunLocks {
    run: LockKey::one(7_244_554_146_635_925_503, "the lock of repairs"),
    session: LockKey::one(7_244_554_146_635_925_504, "the end of an earlier repair's last statement"),
};

/// Held by the session that migrates, whatever the set. A killed run loses its own lock at once, but its last statement may still be
/// running, or its last commit be under way; the next run waits for this one too.
pub const RUN_SESSION_LOCK: LockKey =
    LockKey::one(7_244_554_146_635_925_502, "the end of an earlier run's last statement");

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
    /// What it stands for, to complete "waiting for …".
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

/// A lock could not be acquired in time.
#[derive(Debug, thiserror::Error)]
pub enum LockTimeout {
    /// Another session held it for the whole time.
    #[error("waited {} for {what}{}", humantime::format_duration(*waited), held_by(holder.as_deref()))]
    TimedOut {
        /// What the lock stands for.
        what: Cow<'static, str>,
        /// For how long.
        waited: Duration,
        /// Who has it.
        holder: Option<Box<Holder>>,
    },
    /// The server or the connection failed.
    #[error(transparent)]
    Database(#[from] Error),
}

fn held_by(holder: Option<&Holder>) -> String {
    holder.map(|holder| format!(", held by {holder}")).unwrap_or_default()
}

/// Waiting for a lock by asking for it again and again. Between two tries nothing is open on the server.
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

    /// Tells of the wait only once it has lasted ten seconds.
    #[must_use]
    pub fn quiet_at_first(self) -> Self {
        Self { reported: Some(Instant::now()), ..self }
    }

    /// Waits a little after `connection` could not acquire `lock`. Every ten seconds, the connector's observer of waits is
    /// told who holds it.
    ///
    /// # Errors
    ///
    /// [`LockTimeout::TimedOut`] when the patience is at its end.
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
/// What the server says.
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
/// concurrent index builds pass it, and no pooler can hand it to another client.
///
/// It does hold one while a statement of its own runs, and an index build that looks around just then waits for the end of the
/// whole transaction. [`RunLock::keep`] sees to that.
pub struct RunLock {
    connection: Connection,
    key: i64,
    /// The server's process.
    pid: i32,
}

impl RunLock {
    /// Takes the run's lock on a session of its own, and the session's lock on another one, which is returned beside it
    /// under the name `application`.
    ///
    /// # Errors
    ///
    /// [`LockTimeout`]; [`Error::SwappedSession`] if the two sessions turn out to share a server process,
    /// [`Error::SplitServers`] if they are on two servers.
    pub async fn acquire(
        connector: &Connector,
        locks: &RunLocks,
        application: &str,
        mut patience: Patience,
    ) -> Result<(Self, Connection), LockTimeout> {
        // Until it is known that no pooler lends them out, neither session gets a setting that would outlive its use.
        let bare = connector.clone().bare();
        let session = bare.connect(application).await?;
        let connection = bare.connect("migrate: lock").await?;
        let marker = mark(&session).await?;
        // Set before the lock is acquired: a limit that ends idle transactions may be shorter than the way to the server.
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; {}; SELECT pg_catalog.pg_try_advisory_xact_lock({})",
            connection.settings_of_transaction(),
            locks.run.key
        );
        while last_value(&connection.simple_query(&begin).await?).as_deref() != Some("t") {
            connection.batch("ROLLBACK").await?;
            patience.wait(&session, &locks.run).await?;
            // Limits on idle sessions still hold for it: a statement now and then keeps it alive.
            session.batch("SELECT 1").await?;
        }
        // The lock's transaction pins a server process. If that is the one which answered as `session` before, or
        // `session` now is another, then a pooler lends them out statement by statement.
        if read_marker(&connection).await? == Some(marker.clone()) || read_marker(&session).await? != Some(marker) {
            return Err(Error::SwappedSession { database: connector.database().to_string() }.into());
        }
        let (one, other) = (connection.identity().await?, session.identity().await?);
        let pid: i32 = connection.query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await?.get(0);
        if !one.is_same(&other) || !sees_lock_of(&session, pid, &locks.run).await? {
            return Err(connector.split(&one, &other).into());
        }
        session.settle().await?;
        let ask = "SELECT pg_catalog.pg_try_advisory_lock($1)";
        while !session.query_one(ask, &[&locks.session.key]).await?.get::<_, bool>(0) {
            patience.wait(&session, &locks.session).await?;
        }
        Ok((Self { connection, key: locks.run.key, pid }, session))
    }

    /// Makes sure that the lock is still held.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] when the session that held it is gone.
    pub async fn check(&self) -> Result<(), Error> {
        // Unlike a SELECT, this takes no snapshot.
        self.connection.batch("SHOW transaction_isolation").await
    }

    /// For as long as this future is polled, lets those go on who wait for the end of the lock's transaction: an index build of
    /// somebody else that has seen a snapshot of it, and for whose lock on a table the run would wait in turn.
    pub async fn keep(&self, connector: &Connector) -> Infallible {
        const WAITED_FOR: &str = "
            SELECT EXISTS (
                SELECT FROM pg_catalog.pg_locks h
                JOIN pg_catalog.pg_locks w ON w.locktype = 'virtualxid' AND w.virtualxid = h.virtualxid AND NOT w.granted
                WHERE h.locktype = 'virtualxid' AND h.granted AND h.pid = $1
            )";
        let look = async {
            let session = connector.connect("migrate: watch").await?;
            loop {
                if session.query_one(WAITED_FOR, &[&self.pid]).await?.get(0) {
                    self.begin_anew().await?;
                }
                session.pause(LOOK_EVERY).await?;
            }
        };
        let ended: Result<Infallible, Error> = look.await;
        let Err(error) = ended;
        tracing::debug!("the transaction of the lock is not begun anew any more: {error}");
        std::future::pending().await
    }

    /// Ends the transaction and begins another one, in a single message: the lock is the session's in between, and no pooler
    /// sees a moment without a transaction.
    async fn begin_anew(&self) -> Result<(), Error> {
        let key = self.key;
        let anew = format!(
            "SELECT pg_catalog.pg_try_advisory_lock({key}); COMMIT; BEGIN ISOLATION LEVEL READ COMMITTED; {}; \
             SELECT pg_catalog.pg_try_advisory_xact_lock({key}); SELECT pg_catalog.pg_advisory_unlock({key})",
            self.connection.settings_of_transaction()
        );
        self.connection.simple_query(&anew).await.map(drop)
    }

    /// Gives the lock back.
    pub async fn release(self) {
        self.connection.close().await;
    }
}

/// Leaves a mark on the server process that answers for `session`.
async fn mark(session: &Connection) -> Result<String, Error> {
    let row = session
        .query_one("SELECT pg_catalog.set_config('migrate.session', pg_catalog.concat(pg_catalog.pg_backend_pid(), '/', pg_catalog.clock_timestamp()), false)", &[])
        .await?;
    Ok(row.get(0))
}

async fn read_marker(connection: &Connection) -> Result<Option<String>, Error> {
    Ok(last_value(&connection.simple_query("SELECT pg_catalog.current_setting('migrate.session', true)").await?))
}

/// Whether `session` sees on its server that `holder` has `lock`.
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
