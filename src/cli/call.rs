//! What every command is run on.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use super::beside::Unchosen;
use super::failure::Failure;
use super::product::Content;
use super::screen::Screen;
use super::signal::Interrupt;
use crate::engine::Error;

/// What a command is run on.
pub(super) struct Call<'a> {
    pub content: &'a dyn Content,
    pub unchosen: &'a Unchosen,
    pub database_url: Option<&'a OsString>,
    pub lock_wait: Duration,
    pub screen: &'a Arc<Screen>,
    pub interrupt: &'a Interrupt,
    /// The version of the program.
    pub version: &'static str,
}

impl Call<'_> {
    /// A failure with the advice of the set, or what became of it because the program was told to stop.
    pub fn explained(&self, failure: Failure) -> Failure {
        let program = self.screen.program();
        failure
            .advised_by(|error: &Error| {
                self.content.hint(error, program).or_else(|| self.unchosen.hint(error, program))
            })
            .unless_interrupted(self.interrupt.exit_code())
    }
}
