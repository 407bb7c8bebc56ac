//! The commands of the set, and what they show.

mod failure;
mod flags;
mod human;
mod import;
mod page;
mod reading;
mod verify;

pub(crate) use import::ImportUsage;
pub(crate) use verify::VerifyUsage;
