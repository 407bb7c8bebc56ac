//! The commands of the set, and what they show.

mod failure;
mod flags;
mod human;
mod page;
mod verify;
mod written;

pub(crate) use verify::VerifyUsage;
