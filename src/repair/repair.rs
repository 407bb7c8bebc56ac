//! The trait that the author of a repair implements.

use async_trait::async_trait;

use super::RepairError;
use super::rows::Rows;
use crate::db::Connection;

/// A correction of existing rows, run once, by an operator.
///
/// A repair is a type whose fields are its flags (`clap::Args`). Each run records them (`serde`); the same flags continue an
/// interrupted run. The author defines which rows are wrong and what they should hold. The rest comes with the library: dry
/// run and digest, the journal of every row before and after, batches, resume, undo.
#[async_trait]
pub trait Repair: Send + Sync + 'static {
    /// Its name on the command line: lower-case words joined by `-`.
    fn name() -> &'static str
    where
        Self: Sized;

    /// What it repairs, in one line.
    fn about() -> &'static str
    where
        Self: Sized;

    /// The table, its columns, and how findings sum up the rows.
    fn rows() -> Rows
    where
        Self: Sized;

    /// The condition that a wrong row `u` meets. A corrected row must not meet it. It is evaluated again when the row is
    /// corrected.
    fn eligible(&self) -> String;

    /// If only rows from before some time are wrong: that time, as SQL text. The end of a run names an open transaction that
    /// began before it, because its writes are not visible yet.
    fn cutoff(&self) -> Option<String> {
        None
    }

    /// Checks the flags against the database. Must not write.
    ///
    /// # Errors
    ///
    /// [`RepairError::Refused`] if they are not suitable for it.
    async fn check(&self, connection: &Connection) -> Result<(), RepairError> {
        let _ = connection;
        Ok(())
    }
}
