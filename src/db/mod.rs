//! Access to one PostgreSQL database: where it is, sessions that can be interrupted, locks that are polled.

mod config;
mod connect;
mod error;
mod lock;
mod server;

pub use config::Database;
pub use connect::{Connection, Connector, Notice, Transaction};
pub use error::{Error, ServerReport};
pub use lock::{Holder, LockKey, LockTimeout, RunLock, RUN_LOCK, RUN_SESSION_LOCK, Waiting, poll};
pub use server::ServerFacts;
