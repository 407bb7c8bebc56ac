//! What a repair is, for whoever writes one.

use async_trait::async_trait;

use super::RepairError;
use super::rows::Rows;
use crate::db::Connection;

/// A correction of rows that are in the database already, made once, by a person.
///
/// A repair is a type whose fields are its flags (`clap::Args`), which are kept with each run (`serde`): a run that was
/// interrupted is continued by the same ones. Whoever writes one says which rows are wrong and what they should hold.
/// Everything else is done for it: the dry run and its digest, the journal of every row before and after, batches,
/// resuming, undoing.
#[async_trait]
pub trait Repair: Send + Sync + 'static {
    /// The name by which operators call it: lower-case words joined by `-`.
    fn name() -> &'static str
    where
        Self: Sized;

    /// What it repairs, in one line.
    fn about() -> &'static str
    where
        Self: Sized;

    /// Which table, which columns, and how the rows are summed up for a person.
    fn rows() -> Rows
    where
        Self: Sized;

    /// The condition on the row `u` that makes it wrong. A corrected row must not meet it any more. It is evaluated once more
    /// at the moment of the correction.
    fn eligible(&self) -> String;

    /// If only rows from before some time are wrong: that time, as SQL reads it. Transactions that began before it and
    /// are still open are named at the end, since nobody can see yet what they write.
    fn cutoff(&self) -> Option<String> {
        None
    }

    /// Compares the flags with the database. Must not write.
    ///
    /// # Errors
    ///
    /// [`RepairError::Refused`] if they do not fit it.
    async fn check(&self, connection: &Connection) -> Result<(), RepairError> {
        let _ = connection;
        Ok(())
    }
}
