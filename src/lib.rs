//! Versioned PostgreSQL migrations with hooks at their version boundaries.
//!
//! Read in this order: [`engine::Set`] (what there is to apply), [`engine::Hook`] (code before a migration),
//! [`engine::Migrator`] (doing it), [`catalog`] (the platform's own content). `examples/own_chain.rs` embeds all of it
//! in another program.

#![forbid(unsafe_code)]
#![warn(missing_docs, clippy::pedantic)]
#![cfg_attr(test, allow(clippy::unwrap_used))]
#![warn(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

// What hooks and repairs say of this program is then what programs of others would say.
extern crate self as migrate;

pub mod catalog;
pub mod cli;
#[path = "../hooks/mod.rs"]
pub mod hooks;
pub mod repairs;
pub mod usage;

pub use migrate_db as db;
pub use migrate_engine as engine;
pub use refinery;
pub use tokio_util::sync::CancellationToken;

/// The Rust on the pages compiles.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../docs/writing-hooks.md")]
    mod writing_hooks {}
}
