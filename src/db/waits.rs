//! How long statements may wait for other people's locks inside the server, and who hears of such a wait.
//!
//! One rule for everything that is sent to a server. `Patience`, which asks again and again, tells of its wait
//! itself. A wait inside a statement is seen from a session beside it (`watch`). Should there be no room for that session,
//! the server's own `lock_timeout` still ends the wait.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::error::ServerReport;
use super::{Error, Holder, Observer, Waiting};

/// How long statements wait where nobody has said how long.
const LIMIT: Duration = Duration::from_mins(10);

/// How much longer the server waits before it ends the wait of its own accord.
const MARGIN: Duration = Duration::from_secs(15);

/// How long statements may wait, and who hears of it.
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

    /// The server's own limit, in milliseconds, for a single lock.
    pub fn lock_timeout(&self) -> u128 {
        self.limit().saturating_add(MARGIN).as_millis().min(86_400_000)
    }
}

/// A statement has waited for as long as it may.
pub(super) struct TooLong {
    pub waited: Duration,
    pub what: &'static str,
    pub holder: Holder,
}

impl From<TooLong> for Error {
    /// As the server says it when its own limit is over.
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

/// The last one who was seen in the way of a statement.
pub(super) type InTheWay = Mutex<Option<Holder>>;

/// Looks at a session from beside.
pub(super) trait Watcher: Send + Sync {
    /// Looks at the session `pid` for as long as this future is polled. Resolves when its statement has waited for too long.
    fn watch<'a>(&'a self, pid: i32, in_the_way: &'a InTheWay) -> Pin<Box<dyn Future<Output = TooLong> + Send + 'a>>;
}
