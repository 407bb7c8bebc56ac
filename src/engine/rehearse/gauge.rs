//! Measures a run from a session of its own: it looks at the database before and after each thing that is sent, and at the
//! locks all the time.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::Measured;
use super::locks::Locks;
use super::look::Look;
use crate::db::{self, Connection, Connector, Probe};
use crate::{HookError, Intent, Witness};

/// How long the locks are not looked at.
const PAUSE: Duration = Duration::from_millis(5);

/// How long sessions that a hook has closed may take to hand in what they have counted.
const CLOSING: Duration = Duration::from_secs(1);

/// Measures what a run sends.
pub(super) struct Gauge {
    connection: Connection,
    locks: tokio::sync::Mutex<Locks>,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    intent: Option<Intent>,
    at: Option<(Instant, Look)>,
    steps: Vec<Measured>,
    /// Whether sessions were seen that are not this program's.
    others: bool,
    /// Why the locks are no longer looked at.
    lost: Option<db::Error>,
}

impl Gauge {
    pub async fn open(connector: &Connector) -> Result<Self, db::Error> {
        let connection = connector.connect("migrate: rehearsal").await?;
        // Its own questions name everything, but for operators.
        connection.batch("SET search_path TO pg_catalog").await?;
        let locks = tokio::sync::Mutex::new(Locks::new(Instant::now()));
        Ok(Self { connection, locks, found: Mutex::default() })
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the locks again and again.
    pub async fn watch(&self) -> ! {
        loop {
            self.sample().await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Looks at the locks once.
    async fn sample(&self) {
        // One after the other, or a lock could seem to have gone.
        let mut locks = self.locks.lock().await;
        if self.found().lost.is_some() {
            return;
        }
        let asked = Instant::now();
        match self.connection.query(include_str!("locks.sql"), &[]).await {
            Ok(rows) => {
                let held = rows.iter().map(|row| (row.get::<_, u32>("table"), row.get("mode")));
                locks.add(asked, Instant::now(), held);
            }
            Err(error) => self.found().lost = Some(error),
        }
    }

    /// Whether somebody else uses the database now.
    async fn others(&self) -> Result<bool, db::Error> {
        const OTHERS: &str = "
            SELECT EXISTS (
                SELECT FROM pg_catalog.pg_stat_activity a
                WHERE a.datname = pg_catalog.current_database() AND a.usesysid IS NOT NULL
                  AND a.application_name NOT LIKE 'migrate: %'
            ) AS others";
        Ok(self.connection.query_one(OTHERS, &[]).await?.get("others"))
    }

    /// Whether somebody else has used the database at any time.
    pub async fn has_seen_others(&self) -> Result<bool, db::Error> {
        let now = self.others().await?;
        Ok(self.found().others || now)
    }

    /// Waits until no session is left that a hook has opened: what it has counted, it hands in at its end.
    async fn wait_for_hooks(&self) -> Result<(), db::Error> {
        const OTHERS: &str = "
            SELECT pg_catalog.count(*) AS others
            FROM pg_catalog.pg_stat_activity a
            WHERE a.datname = pg_catalog.current_database() AND a.state = 'idle' AND a.xact_start IS NULL
              AND a.application_name LIKE 'migrate: %' AND a.application_name !~ '^migrate: (up|down|rehearsal)'";
        let since = Instant::now();
        while self.connection.query_one(OTHERS, &[]).await?.get::<_, i64>("others") > 0 && since.elapsed() < CLOSING {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Ends the thing that was begun.
    async fn end(&self, duration: Duration, finished: bool) -> Result<(), db::Error> {
        let (intent, at) = {
            let mut found = self.found();
            (found.intent.clone().unwrap_or_default(), found.at.take())
        };
        let Some((_, before)) = at else { return Ok(()) };
        let locks = self.locks.lock().await.strongest(|table| before.table(table));
        let difference = before.until(&Look::take(&self.connection).await?);
        let mut found = self.found();
        let sent = intent.sends.get(found.steps.len()).cloned().unwrap_or_default();
        found.steps.push(Measured {
            title: sent.title,
            notes: sent.notes,
            finished,
            duration,
            wal_bytes: difference.wal,
            temp_bytes: difference.temp,
            locks,
            seen_at_commit: sent.is_transaction && finished,
            tables: difference.tables,
        });
        Ok(())
    }

    /// What it has found since it was last asked: what was to be sent, and what that has cost.
    pub async fn take(&self) -> Result<(Option<Intent>, Vec<Measured>), db::Error> {
        let begun = self.found().at.as_ref().map(|(begun, _)| begun.elapsed());
        if let Some(duration) = begun {
            self.end(duration, false).await?;
        }
        let mut found = self.found();
        match found.lost.take() {
            Some(error) => Err(error),
            None => Ok((found.intent.take(), std::mem::take(&mut found.steps))),
        }
    }
}

#[async_trait]
impl Witness for Gauge {
    async fn before(&self, intent: Intent, _: &Connector) -> Result<(), HookError> {
        self.found().intent = Some(intent);
        Ok(())
    }

    async fn begins(&self) -> Result<(), db::Error> {
        let others = self.others().await?;
        self.found().others |= others;
        let look = Look::take(&self.connection).await?;
        *self.locks.lock().await = Locks::new(Instant::now());
        self.found().at = Some((Instant::now(), look));
        Ok(())
    }

    async fn ends(&self, connection: &Connection) -> Result<(), db::Error> {
        let begun = self.found().at.as_ref().map(|(begun, _)| begun.elapsed());
        self.sample().await;
        // A session keeps what it has counted for up to a second.
        connection.query("SELECT pg_catalog.pg_stat_force_next_flush()::text", &[]).await?;
        let is_hook = {
            let found = self.found();
            let sent = found.intent.as_ref().and_then(|intent| intent.sends.get(found.steps.len()));
            sent.is_some_and(|sent| sent.texts.is_empty())
        };
        if is_hook {
            self.wait_for_hooks().await?;
        }
        self.end(begun.unwrap_or_default(), true).await
    }

    async fn after(&self, _: &Connector) {}
}

impl Probe for Gauge {
    fn before_commit(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.sample())
    }
}
