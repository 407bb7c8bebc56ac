//! Versioned PostgreSQL migrations with hooks at their version boundaries.
//!
//! Read in this order: [`engine::Set`] (what there is to apply), [`engine::Hook`] (code before a migration),
//! [`engine::Migrator`] (doing it), [`repair::Repair`] (corrections of data), [`cli::Product`] (a program of your own), and
//! [`platform`], which is made of all of it. `docs/library.md` shows how a program of your own uses it, and `examples/` has whole
//! ones; `docs/architecture.md` describes the house.

pub use migrate_cli as cli;
pub use migrate_db as db;
pub use migrate_engine as engine;
pub use migrate_engine::embed;
pub use migrate_layout as layout;
pub use migrate_platform as platform;
pub use migrate_repair as repair;
pub use migrate_usage_events as usage_events;

/// The program `migrate`: which sets it carries.
#[must_use]
pub fn product() -> cli::Product {
    cli::Product::new("migrate", env!("CARGO_PKG_VERSION")).with(platform::Platform).with(usage_events::UsageEvents)
}

pub use refinery;
pub use tokio_util::sync::CancellationToken;

/// The Rust on the pages compiles.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../docs/library.md")]
    mod library {}
    #[doc = include_str!("../docs/writing-hooks.md")]
    mod writing_hooks {}
    #[doc = include_str!("../docs/writing-repairs.md")]
    mod writing_repairs {}
}
