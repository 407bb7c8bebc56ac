//! The command line of a program that migrates, built from a [`Product`]: arguments, output and exit codes.
//!
//! It knows no set by name. The [`Content`] of a set brings its repairs, further commands, checks and advice.

mod beside;
mod call;
mod choice;
mod command;
mod down;
mod down_human;
mod evidence;
pub mod exit;
mod failure;
mod failure_human;
mod folder;
mod human;
mod init;
mod json;
mod lines;
mod manifest;
mod near;
mod new;
mod output;
pub mod page;
mod preview;
mod product;
mod program;
mod recognise;
mod rehearse;
mod repair_command;
mod repair_verb;
mod screen;
mod secrets;
mod signal;
mod snapshot;
mod status;
mod status_human;
pub mod text;
mod trace;
mod up;
mod url;
mod verify;
mod verify_human;
pub mod words;
mod written;

use migrate_db as db;
use migrate_engine as engine;
use migrate_layout as layout;
use migrate_repair as repair;

pub use failure::Failure;
pub use json::Json;
pub use product::{Check, Content, Context, Product, Verb};
pub use program::main_with;
pub use screen::Screen;
pub use written::Reserved;
