//! `migrate rehearse`: what is pending, its way back and it again, on a copy, measured; and `up --approved`, which holds a
//! run to what was rehearsed.

mod approved;
mod copy;
mod human;
mod page;
mod report;
mod run;

pub(super) use self::approved::Approved;
pub(super) use self::run::{Rehearse, command};
