//! Statements that wait for other people's locks inside the server: told of after a second or two, ended at the limit.
//!
//! One rule for everything that is sent to a server. Whoever waits by asking again and again (`Patience`) tells of that
//! itself. What waits in a statement is seen from a session beside it, which is opened for a statement that takes
//! longer than a second. Should there be no room for that session, the server's own `lock_timeout` still ends the wait.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;

use super::error::ServerReport;
use super::{Connection, Connector, Error, Holder, Observer, Waiting};

/// How often it is looked at whom a statement waits for, and how often that is told.
const EVERY: Duration = Duration::from_secs(1);
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Most statements are over by then, also where nobody wants to wait at all.
const FIRST_LOOK: Duration = Duration::from_millis(200);

/// How long statements wait where nobody has said how long.
const LIMIT: Duration = Duration::from_mins(10);

/// How much longer the server waits before it ends the wait of its own accord.
const MARGIN: Duration = Duration::from_secs(15);

/// How long statements may wait, and who is told.
#[derive(Clone)]
pub(super) struct Waits {
    limit: Arc<AtomicU64>,
    observer: Observer<Waiting>,
}

impl Default for Waits {
    fn default() -> Self {
        let waits = Self { limit: Arc::default(), observer: Observer::silent() };
        waits.set_limit(LIMIT);
        waits
    }
}

impl Waits {
    pub fn told_to(self, observer: Observer<Waiting>) -> Self {
        Self { observer, ..self }
    }

    pub fn tell(&self, waiting: Waiting) {
        self.observer.tell(waiting);
    }

    pub fn set_limit(&self, limit: Duration) {
        self.limit.store(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(self.limit.load(Ordering::Relaxed))
    }

    /// The server's own limit, in milliseconds, for a single lock.
    pub fn lock_timeout(&self) -> u128 {
        self.limit().saturating_add(MARGIN).as_millis().min(86_400_000)
    }
}

/// A statement has waited for as long as it may.
pub(super) struct TooLong {
    waited: Duration,
    what: &'static str,
    holder: Holder,
}

impl From<TooLong> for Error {
    /// As the server says it when its own limit is over.
    fn from(TooLong { waited, what, holder }: TooLong) -> Self {
        let waited = humantime::format_duration(waited);
        Self::Server(Box::new(ServerReport {
            sqlstate: SqlState::LOCK_NOT_AVAILABLE.code().to_owned(),
            message: format!("canceled after it had waited {waited} for {what}, held by {holder}"),
            detail: None,
            hint: None,
            context: None,
            position: None,
            routine: None,
        }))
    }
}

/// The last one who was seen in the way of a statement.
pub(super) type InTheWay = Mutex<Option<Holder>>;

/// Looks at the session `pid` for as long as this future is polled. Resolves when its statement has waited for too long.
pub(super) fn watch<'a>(
    connector: Option<&'a Connector>,
    pid: i32,
    in_the_way: &'a InTheWay,
) -> Pin<Box<dyn Future<Output = TooLong> + Send + 'a>> {
    Box::pin(async move {
        let Some(connector) = connector else { return pending().await };
        let mut waited = connector.waits().limit().clamp(FIRST_LOOK, EVERY);
        tokio::time::sleep(waited).await;
        loop {
            let began = Instant::now();
            match look(connector, pid, in_the_way, &mut waited).await {
                Ok(too_long) => return too_long,
                // Tried again: whether the server answers at all is worth knowing, and each attempt that takes long is told of.
                Err(error) => tracing::debug!("whom a statement waits for cannot be seen: {error}"),
            }
            tokio::time::sleep(REPORT_EVERY.saturating_sub(began.elapsed()).max(EVERY)).await;
        }
    })
}

async fn look(connector: &Connector, pid: i32, in_the_way: &InTheWay, waited: &mut Duration) -> Result<TooLong, Error> {
    let waits = connector.waits();
    let mut looked = Instant::now();
    let session = connector.clone().unwatched().bare().connect("migrate: watch").await?;
    let mut reported: Option<Instant> = None;
    loop {
        if let Some((holder, what)) = blocker(&session, pid).await? {
            *waited += looked.elapsed();
            *in_the_way.lock().unwrap_or_else(PoisonError::into_inner) = Some(holder.clone());
            let limit = waits.limit();
            if *waited >= limit {
                return Ok(TooLong { waited: limit, what, holder });
            }
            if reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
                reported = Some(Instant::now());
                waits.tell(Waiting { what, holder: Some(holder), waited: *waited });
            }
        }
        looked = Instant::now();
        session.pause(EVERY.min(waits.limit().saturating_sub(*waited)).max(Duration::from_millis(50))).await?;
    }
}

async fn blocker(session: &Connection, pid: i32) -> Result<Option<(Holder, &'static str)>, Error> {
    let row = session.query_opt(include_str!("blocker.sql"), &[&pid]).await?;
    Ok(row.map(|row| {
        let what = match row.get("locktype") {
            Some("virtualxid") => "an older transaction to end",
            Some("relation") => "a table",
            Some("transactionid" | "tuple") => "a row",
            Some("advisory") => "an advisory lock",
            _ => "a lock",
        };
        (Holder::from_row(&row), what)
    }))
}
