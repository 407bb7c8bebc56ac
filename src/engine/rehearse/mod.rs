//! A rehearsal: a run, its way back and the run again, on a copy, with everything measured that an operator asks before the
//! real one.

mod gauge;
mod locks;
mod look;
mod measured;
mod run;

pub use self::locks::TableLock;
pub use self::look::TableWork;
pub use self::measured::{Measured, Part, Passed, Rehearsal, WayBack};
