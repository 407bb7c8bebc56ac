//! The platform's own commands: `rollup …` and `verify rollup`.

mod compared;
mod failure;
mod human;
mod rollup;
mod verify;

pub(crate) use rollup::{Rollup, tell_who_schedules};
pub(crate) use verify::VerifyRollup;
