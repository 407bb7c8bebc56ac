//! Access to one PostgreSQL database: its URL, sessions that can be interrupted, locks that are polled.

mod authority;
mod config;
mod connect;
mod conninfo;
mod copy;
mod error;
mod foreign_options;
mod hint;
mod holder;
mod lock;
mod observer;
mod options;
mod printable;
mod probe;
mod program;
mod reach;
mod readable;
mod server;
mod session;
mod settings;
mod tls;
mod transaction;
mod waits;
mod watch;

use std::time::Duration;

use tokio_postgres::error::SqlState;

pub use authority::share_history;
pub use authority::{OwnTable, Purpose, acting_role, check_history, own_tables, refuse_superuser};
pub use config::Database;
pub use connect::{Connector, Notice};
pub use error::{ConnectCause, Error, ServerReport, SuperuserRefused};
pub use hint::READ_ONLY_HINT;
pub use holder::{Holder, Waiting};
pub use lock::{LockKey, LockTimeout, Patience, REPAIR, RUN_SESSION_LOCK, RunLock, RunLocks, holder};
pub use observer::Observer;
pub use printable::is_printable;
pub use probe::Probe;
pub use program::{Hint, Program, quoted};
pub use readable::readable;
pub use server::{Rights, ServerFacts, ident, is_same_database};
pub use session::Connection;
pub use transaction::Transaction;

/// The SQLSTATEs of a statement that would create an object whose name exists already.
pub const ALREADY_THERE: [SqlState; 5] = [
    SqlState::DUPLICATE_TABLE,
    SqlState::DUPLICATE_OBJECT,
    SqlState::DUPLICATE_COLUMN,
    SqlState::DUPLICATE_FUNCTION,
    SqlState::DUPLICATE_SCHEMA,
];

/// SQL for a time that this program reads: NULL if the driver's types cannot hold it, such as `infinity` and years before 1
/// or after 9999.
#[must_use]
pub fn in_calendar(time: &str) -> String {
    format!("CASE WHEN {time} >= '0001-01-01 UTC' AND {time} < '9999-01-01 UTC' THEN {time} END")
}

/// Serializes a duration as seconds, to the millisecond.
///
/// # Errors
///
/// The serializer's error.
pub fn as_seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1000.0).round() / 1000.0)
}

/// The same for a duration that may be missing.
///
/// # Errors
///
/// The serializer's error.
#[allow(clippy::ref_option, reason = "the signature that serde asks for")]
pub fn as_optional_seconds<S: serde::Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => as_seconds(duration, serializer),
        None => serializer.serialize_none(),
    }
}

/// A number with thousands separators: 52,000. `indicatif::HumanCount` writes the same, but every crate that builds a message
/// would then need a crate for terminals.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(super::grouped(number), text);
        }
    }
}
