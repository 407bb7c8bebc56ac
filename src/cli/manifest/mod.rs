//! `migrate.toml`: the sets of a project that are folders of files.
//!
//! It is read and checked whole, without a database, by every command. `docs/directory.md` describes each key.

mod config;
mod document;
mod error;
mod file;
mod known;
mod set;
#[cfg(test)]
mod tests;

pub(super) use config::{Placeholder, SetConfig, TakeOver};
pub(super) use error::ManifestError;
pub(super) use file::{FILE, Manifest};
pub(super) use known::Known;
pub(super) use set::is_name;
