//! Repairs of data: run once, by an operator, on a database that is in use.
//!
//! [`Repair`] defines which rows are wrong and what they should hold; [`Repairer`] inspects, executes and undoes. All repairs
//! follow the same steps. *Inspect* returns a [`Finding`]. The finding and the operator's `--execute` (with the digest of the
//! dry run, if given) authorise a change, and only an authorised change can be applied (`gate.rs`). Before the first row is
//! changed, the journal (`migrate.repair_change`) holds the before-image of every row; each batch commits together with its
//! part of the journal. Data computed from the rows is [`Derived`]; a repair refreshes it during the run.

mod access;
mod batch;
mod batch_sql;
mod change;
mod columns;
mod derived;
mod error;
mod event;
mod execute;
mod expressions;
mod finding;
mod gate;
mod hint;
mod insertion;
mod insertion_undo;
mod inserts;
mod journal;
mod lag;
mod lines;
mod look;
mod mentions;
mod outcome;
mod past;
mod rate;
mod rebuild;
mod registry;
mod repair;
mod repairer;
mod rows;
mod runs;
mod task;
mod undo;
mod witnessed;

use migrate_db as db;
use migrate_engine as engine;

pub use derived::{Derived, Refresh, Standing, Words};
pub use error::RepairError;
pub use event::RepairEvent;
pub use finding::Finding;
pub use hint::command;
pub use insertion::{Candidates, Moved, WouldInsert};
pub use inserts::Inserts;
pub use lines::{Line, Lines, Owned, Period, Periods, Totals};
pub use outcome::{Pacing, Repaired, totals_to_json};
pub use rebuild::Rebuilt;
pub use registry::{Listed, RepairKind, Repairs};
pub use repair::Repair;
pub use repairer::{Executed, Repairer};
pub use rows::{Column, Counts, Names, Owner, Rows};
pub use runs::{Run, RunState, Unfinished};
pub use undo::UNDO;
