//! The usage rollup, as programs see it.

mod survey;
mod walk;

pub use survey::{Survey, SurveyError};
pub use walk::{Resume, WalkError, WalkHost, WalkOptions, WalkReport, forecast, walk};
