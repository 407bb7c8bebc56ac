//! Repairs of data: made once, by a person, on a database that is in use.
//!
//! [`Repair`] says which rows are wrong and what they should say; [`Repairer`] looks, executes and undoes. The way there
//! is the same for all of them: *inspect* gives a [`Finding`], the finding and the operator's `--execute` (with the digest
//! of what was seen, if one is given) make it [`Authorised`], and only what is authorised can be applied. Before the first
//! row is changed, every row is in the journal as it was (`migrate.repair_change`); each batch commits together with its
//! part of the journal.

mod codex_cache;
mod columns;
mod error;
mod event;
mod execute;
mod expressions;
mod finding;
mod gate;
mod hourly_rollup;
mod journal;
mod lag;
mod outcome;
mod past;
mod rate;
mod rebuild;
mod registry;
mod repair;
mod repairer;
mod runs;
mod statements;
mod task;

pub use codex_cache::CodexCache;
pub use error::RepairError;
pub use event::{RepairEvent, RepairObserver};
pub use finding::{Finding, Line, Lines, Owned, Period, Periods, RollupThere, Totals};
pub use gate::Authorised;
pub use hourly_rollup::HourlyRollup;
pub use outcome::{Pacing, Repaired, Rollup, totals_to_json};
pub use rebuild::RebuildContext;
pub use registry::{Repairs, Sort};
pub use repair::{Column, Counts, Names, Owner, Rebuild, Repair, Rows};
pub use repairer::{Executed, Rebuilt, Repairer, UNDO};
pub use runs::{Run, RunState, Unfinished};
