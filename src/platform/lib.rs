//! The platform's set: its migrations, hooks and repairs, and the hourly rollup of token usage.
//!
//! `catalog.rs` names all of it. To add a migration, put `V<n>__<name>.sql` into `migrations/platform/`; to add a hook or a repair,
//! write a file in `hooks/` or `repairs/`, name it in the `mod.rs` beside it, and register it in `catalog.rs`.

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
