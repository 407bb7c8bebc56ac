//! The history tables of other migration tools: which a database has, what they say, and how each tool writes them.
//!
//! Each tool's own rules decide what counts as applied ([`rows`]), and what is written is what the tool itself would have
//! written, so that it can go on where this program stops.

mod clear;
mod create;
mod erase;
mod insert;
mod locks;
mod quote;
mod rows;
mod tables;

pub use clear::clears;
pub use create::create;
pub use erase::delete;
pub use insert::{cannot_keep, insert, insert_repeatable, rights};
pub use locks::locks;
pub use rows::{RowState, ToolRow, rows};
pub use tables::{Tool, ToolTable, find_tool_tables};
