//! The mechanism: which migrations and hooks a database still needs, and running them.
//!
//! [`Set`] is content: migrations, and hooks at their version boundaries. [`Plan`] is what a database still needs of
//! it, a plain value. [`Migrator`] executes the plan or shows it, and tells what happens as [`Event`]s; it never prints.

use migrate_db as db;
use migrate_layout::{Token, sql};

mod adopt;
mod adoption_error;
mod applied;
mod apply;
mod context;
mod description;
mod disagreement;
mod error;
pub mod event;
mod fitness;
mod forbidden;
mod from_folder;
mod hint;
mod history;
mod history_error;
mod hook;
mod invalid_index;
mod ledger;
mod migration;
mod migrator;
mod mode;
mod objects;
mod options;
mod origin;
mod out_of_step;
mod outcome;
mod overlay;
mod overloads;
mod owner;
mod plan;
mod preview;
mod problem;
mod record;
mod repeat;
mod repeatable;
mod run;
mod run_hook;
mod session;
mod set;
mod set_builder;
mod set_error;
mod snapshot;
mod standing;
mod status;
mod take_over;
mod take_over_error;
pub mod tool;
mod verify;
mod watch;
mod why;

#[doc(hidden)]
pub use include_dir;

pub use adoption_error::AdoptionError;
pub use applied::{Adopted, Applied, HookRun, HookState};
pub use context::{HookContext, HookHost};
pub use description::{Description, Objects};
pub use error::{Error, Lacks, Obstacle};
pub use event::Event;
pub use history_error::HistoryError;
pub use hook::{Hook, HookError};
pub use ledger::{Ledger, Object};
pub use migrate_layout::Version;
pub use migration::Migration;
pub use migrator::Migrator;
pub use mode::{Alone, ConcurrentIndex, Mode};
pub use objects::objects;
pub use options::UpOptions;
pub use origin::Origin;
pub use out_of_step::{OutOfStep, Record};
pub use outcome::{Boundary, Forecast, Outcome, Progress};
pub use overloads::Warning;
pub use plan::{Plan, Step};
pub use problem::{Fault, Problem, Remedy};
pub use repeatable::Repeatable;
pub use run::Summary;
pub use set::Set;
pub use set_builder::SetBuilder;
pub use set_error::SetError;
pub use snapshot::{Snapshot, SnapshotObject, snapshot};
pub use status::{RepeatableEntry, RepeatableStatus, Status, StatusEntry, StatusReport};
pub use take_over_error::TakeOverError;
pub use tool::{Tool, ToolTable, find_tool_tables};
pub use verify::{Check, Verified};
pub use why::{Change, LeftAlone, Why};
