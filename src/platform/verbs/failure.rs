//! From an error of the rollup to a message, a hint and an exit code.

use tokio_postgres::error::SqlState;

use crate::cli::{Failure, exit};
use crate::db::Hint;
use crate::engine::Error;
use crate::usage::RollupError;

impl From<RollupError> for Failure {
    fn from(error: RollupError) -> Self {
        let message = error.to_string();
        let exit = match error {
            RollupError::Database(error) if error.is(&SqlState::LOCK_NOT_AVAILABLE) => {
                return Self { exit: exit::LOCKED, ..Self::from(error) };
            }
            RollupError::Database(error) => return error.into(),
            RollupError::Lock(error) => return Error::from(error).into(),
            RollupError::NoPipeline | RollupError::NoState | RollupError::Unknown { .. } => exit::REFUSED,
            RollupError::BucketWithoutHour { .. } => exit::DRIFT,
            RollupError::UsageWithoutHour { .. } | RollupError::HeldBack { .. } | RollupError::Hidden => exit::FAILED,
        };
        Self::new(exit, message).hint(Hint::if_any(move |program| error.hint(program)))
    }
}
