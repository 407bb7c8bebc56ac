//! What an inspection finds.

use super::derived::Refresh;
use super::lines::{Lines, Totals};
use super::runs::Unfinished;
use crate::db::Holder;

/// What a repair has found, before anything is changed.
#[derive(Clone, Debug, Default)]
pub struct Finding {
    /// The rows by owner and day, as many lines as fit on a page.
    pub lines: Lines,
    /// The totals of all rows.
    pub totals: Totals,
    /// The hash of these rows, their values and the arguments.
    pub digest: String,
    /// Rows of the run to be undone that were changed since. An undo leaves them as they are.
    pub changed_since: u64,
    /// Rows of the run to be undone that were deleted since.
    pub gone_since: u64,
    /// What happens to the data that is computed from these rows.
    pub refresh: Refresh,
    /// A run with the same arguments that an execution would continue.
    pub unfinished: Option<Unfinished>,
    /// Another unfinished run that changes rows of the same repair.
    pub beside: Option<Unfinished>,
    /// An open transaction that began before the repair's cutoff. Its writes are not visible yet.
    pub long_transaction: Option<Holder>,
}
