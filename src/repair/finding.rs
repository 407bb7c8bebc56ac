//! What an inspection finds.

use super::derived::Refresh;
use super::lines::{Lines, Totals};
use super::runs::Unfinished;
use crate::db::Holder;

/// What a repair has found, before anything is changed.
#[derive(Clone, Debug, Default)]
pub struct Finding {
    /// By owner and day, as many as a page takes.
    pub lines: Lines,
    /// All of it.
    pub totals: Totals,
    /// Stands for exactly these rows, with these values, and these arguments.
    pub digest: String,
    /// Rows of the run to be undone that somebody has changed since, and that are left alone.
    pub changed_since: u64,
    /// Rows of the run to be undone that are gone.
    pub gone_since: u64,
    /// What becomes of the data that is computed from these rows.
    pub refresh: Refresh,
    /// A run of the same arguments that would be continued instead.
    pub unfinished: Option<Unfinished>,
    /// Another unfinished run that changes rows of the same repair.
    pub beside: Option<Unfinished>,
    /// A transaction that is older than the repair's cutoff and has not ended. What it writes is not seen yet.
    pub long_transaction: Option<Holder>,
}
