//! The mechanism: which migrations and hooks a database still needs, and running them.
//!
//! [`Set`] is content: migrations, and hooks at their version boundaries. [`Plan`] is what a database still needs of
//! it, a plain value. [`Migrator`] executes the plan or shows it, and tells what happens as [`Event`]s; it never prints.

use migrate_db as db;

mod adopt;
mod apply;
mod context;
mod error;
pub mod event;
mod fitness;
mod forbidden;
mod history;
mod hook;
mod invalid_index;
mod ledger;
mod migration;
mod objects;
mod options;
mod out_of_step;
mod outcome;
mod overloads;
mod owner;
mod plan;
mod preview;
mod record;
mod repeatable;
mod run;
mod run_hook;
mod set;
mod sql;
mod status;
mod verify;
mod watch;
mod why;

pub use adopt::Adopted;
pub use context::{HookContext, HookHost};
pub use error::{AdoptionError, Error, HistoryError, Lacks, Obstacle, Problem};
pub use event::{Event, Observer};
pub use history::{Applied, HookRun, HookState};
pub use hook::{Hook, HookError};
pub use ledger::{Ledger, Object};
pub use migration::{ConcurrentIndex, Migration, Mode};
pub use objects::{Description, Objects, objects};
pub use options::UpOptions;
pub use out_of_step::{OutOfStep, Record};
pub use outcome::{Boundary, Forecast, Outcome, Progress};
pub use overloads::Warning;
pub use plan::{LeftAlone, Plan, Step};
pub use repeatable::Repeatable;
pub use run::{Migrator, Summary};
pub use set::{Set, SetBuilder, SetError};
pub use status::{RepeatableEntry, RepeatableStatus, Status, StatusEntry, StatusReport};
pub use verify::{Check, Verified};
pub use why::{Change, Why};

/// A migration's version: the number in `V<n>__<name>.sql`.
pub type Version = i64;
