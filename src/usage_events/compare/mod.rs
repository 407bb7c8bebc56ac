//! The comparison of an export with what is recorded: the export goes into a temporary table, the server compares.

mod error;
mod load;
mod report;
mod run;
mod statements;

pub use error::CompareError;
pub use load::{Reading, load};
pub use report::{Counts, Day, Identity, Mismatch, Missing, Numbers, ReadFile, Report, Sides};
pub(crate) use run::find_missing;
pub use run::{Comparison, compare};
