//! Repairs of data: made once, by a person, on a database that is in use.
//!
//! [`Repair`] says which rows are wrong and what they should hold; [`Repairer`] looks, executes and undoes. The way there
//! is the same for all of them: *inspect* gives a [`Finding`]; the finding and the operator's `--execute` (with the digest
//! of what was seen, if one is given) authorise a change, and only what is authorised can be applied (`gate.rs`). Before
//! the first row is changed, every row is in the journal as it was (`migrate.repair_change`); each batch commits together
//! with its part of the journal. What is computed from the rows is [`Derived`], and refreshed as a repair goes.

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

use migrate_db as db;
use migrate_engine as engine;

pub use derived::{Derived, Refresh, Standing, Words};
pub use error::RepairError;
pub use event::RepairEvent;
pub use finding::Finding;
pub use lines::{Line, Lines, Owned, Period, Periods, Totals};
pub use outcome::{Pacing, Repaired, totals_to_json};
pub use rebuild::Rebuilt;
pub use registry::{Listed, RepairKind, Repairs};
pub use repair::Repair;
pub use repairer::{Executed, Repairer};
pub use rows::{Column, Counts, Names, Owner, Rows};
pub use runs::{Run, RunState, Unfinished};
pub use undo::UNDO;
