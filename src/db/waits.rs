//! How long statements may wait for locks of other sessions inside the server, and which observer is told.
//!
//! `Patience`, which polls, reports its wait itself. A wait inside a statement is seen from a second session (`watch`). If the
//! server has no connection left for that session, its `lock_timeout` still ends the wait.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::error::ServerReport;
use super::{Error, Holder, Observer, Waiting};

/// How long statements wait by default.
const LIMIT: Duration = Duration::from_mins(10);

/// How much longer the server waits before its `lock_timeout` ends the wait.
const MARGIN: Duration = Duration::from_secs(15);

/// The limit of a wait, and the observer that is told.
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
    pub fn observed_by(self, observer: Observer<Waiting>) -> Self {
        Self { observer, ..self }
    }

    pub fn tell(&self, waiting: Waiting) {
        self.observer.tell(waiting);
    }

    pub fn set_limit(&self, limit: Duration) {
        self.limit.store(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub fn limit(&self) -> Duration {
        Duration::from_millis(self.limit.load(Ordering::Relaxed))
    }

    /// The server's `lock_timeout` for a single lock, in milliseconds.
    pub fn lock_timeout(&self) -> u128 {
        self.limit().saturating_add(MARGIN).as_millis().min(86_400_000)
    }
}

/// A statement has waited up to the limit.
pub(super) struct TooLong {
    pub waited: Duration,
    pub what: &'static str,
    pub holder: Holder,
}

impl From<TooLong> for Error {
    /// The same SQLSTATE as the server's `lock_timeout`.
    fn from(TooLong { waited, what, holder }: TooLong) -> Self {
        let waited = humantime::format_duration(waited);
        Self::Server(Box::new(ServerReport {
            sqlstate: SqlState::LOCK_NOT_AVAILABLE.code().to_owned(),
            message: format!("canceled after waiting {waited} for {what}, held by {holder}"),
            detail: None,
            hint: None,
            context: None,
            position: None,
            routine: None,
        }))
    }
}

/// The session that was last seen blocking a statement.
pub(super) type InTheWay = Mutex<Option<Holder>>;

/// Watches a session from another one.
pub(super) trait Watcher: Send + Sync {
    /// Watches the session `pid` while this future is polled. Resolves when its statement has waited too long.
    fn watch<'a>(&'a self, pid: i32, in_the_way: &'a InTheWay) -> Pin<Box<dyn Future<Output = TooLong> + Send + 'a>>;
}
