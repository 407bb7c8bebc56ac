//! The platform's set: its migrations, hooks and repairs, and the hourly rollup of token usage.
//!
//! To add a migration, put `V<n>__<name>.sql` into `migrations/platform/`. To add a hook, write it in `hooks/` and name it in
//! `catalog.rs`, before its version. To add a repair, write it in `repairs/` and name it there, too.

// Lets hooks and repairs name this crate as programs of others do.
extern crate self as migrate;

mod catalog;
mod derived;
#[path = "../../hooks/mod.rs"]
pub mod hooks;
mod ledger;
pub mod repairs;
pub mod usage;
mod verbs;

use migrate_cli as cli;
use migrate_db as db;
use migrate_engine as engine;
use migrate_repair as repair;

pub use catalog::{PLATFORM, Platform, platform};
