//! The set `usage-events`: what an admin tool has recorded of the usage of a model provider, and the comparison with that
//! provider's own export. `catalog.rs` names all of it.

mod catalog;
pub mod compare;
pub mod export;
pub mod import;
mod metrics;
mod verbs;

use migrate_cli as cli;
use migrate_db as db;
use migrate_engine as engine;
use migrate_repair as repair;

pub use catalog::{USAGE_EVENTS, UsageEvents, usage_events};
