//! Inserting the windows of an export that the database does not have.

mod error;
mod keys;
mod missing;

pub use error::ImportError;
pub use keys::Keys;
pub use missing::{Found, IMPORT, Missing, inserts};
