//! What an inspection finds.

use serde::Serialize;

use super::journal::Unfinished;
use crate::db::Holder;

/// The rows of one owner on one UTC day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Whose they are; none if that cannot be said, or the repair does not tell owners apart.
    pub owner: Option<String>,
    /// The UTC day they belong to, as the server writes it.
    pub day: String,
    /// How many, and what they add up to.
    #[serde(flatten)]
    pub totals: Totals,
    /// When the first of them belongs to, in RFC 3339.
    pub first: String,
    /// When the last of them belongs to.
    pub last: String,
}

/// What rows add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// How many rows.
    pub rows: u64,
    /// The sum before.
    pub before: i128,
    /// The sum after.
    pub after: i128,
    /// Rows that meet the condition worth counting.
    pub counted: u64,
}

impl Totals {
    /// How much less it is afterwards.
    #[must_use]
    pub fn removed(&self) -> i128 {
        self.before - self.after
    }

    /// Adds other rows.
    pub fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.before += other.before;
        self.after += other.after;
        self.counted += other.counted;
    }
}

/// Which hourly rollup a database has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RollupThere {
    /// None.
    None,
    /// With the functions of an older program, whose windows are left to its ticks.
    Older,
    /// With ours.
    Ours,
}

/// What a repair has found, before anything is changed.
#[derive(Clone, Debug)]
pub struct Finding {
    /// By owner and day.
    pub lines: Vec<Line>,
    /// All of it.
    pub totals: Totals,
    /// Stands for exactly these rows, with these values, and these arguments.
    pub digest: String,
    /// Rows of the run to be undone that somebody has changed since, and that are left alone.
    pub changed_since: u64,
    /// Rows of the run to be undone that are gone.
    pub gone_since: u64,
    /// Which hourly rollup there is to follow; none also if these rows do not feed it.
    pub rollup: RollupThere,
    /// A run of the same arguments that would be continued instead.
    pub unfinished: Option<Unfinished>,
    /// Another unfinished run that changes rows of the same repair.
    pub beside: Option<Unfinished>,
    /// A transaction that is older than the repair's cutoff and has not ended. What it writes is not seen yet.
    pub straggler: Option<Holder>,
}
