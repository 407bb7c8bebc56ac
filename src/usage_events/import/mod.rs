//! Inserting the windows of an export that the database does not have.

mod keys;
mod missing;

pub use keys::Keys;
pub use missing::{Found, IMPORT, ImportError, Missing, inserts};
