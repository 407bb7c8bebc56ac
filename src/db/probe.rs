//! A look at the server from outside, just before a transaction commits.

use std::pin::Pin;

/// Is called before each transaction of a connector's sessions commits, while it still holds everything that it has locked.
pub trait Probe: Send + Sync {
    /// The commit waits for it.
    fn before_commit(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}
