//! How a run looks: lines for a person, or JSON for a program. Nothing else in this program prints.
//!
//! Results go to standard output, everything about the way there to standard error. A reader that goes away, such as
//! `head`, is no error.

mod human;
mod json;

use std::sync::{Mutex, PoisonError};

use super::failure::Failure;
use crate::engine::{Event, Preview, StatusEntry};

/// One of the two ways to look.
pub(super) struct Renderer(Kind);

enum Kind {
    Human(Mutex<human::Human>),
    Json { quiet: bool, verbose: u8 },
}

impl Renderer {
    pub fn new(json: bool, quiet: bool, verbose: u8) -> Self {
        if json {
            Self(Kind::Json { quiet, verbose })
        } else {
            Self(Kind::Human(Mutex::new(human::Human::new(quiet, verbose))))
        }
    }

    /// Something happened during a run.
    pub fn event(&self, event: Event) {
        match &self.0 {
            Kind::Human(human) => human.lock().unwrap_or_else(PoisonError::into_inner).event(event),
            Kind::Json { quiet: true, .. } => {}
            Kind::Json { .. } => json::line(&event),
        }
    }

    /// What a run would do.
    pub fn preview(&self, preview: &Preview) {
        match &self.0 {
            Kind::Human(human) => human.lock().unwrap_or_else(PoisonError::into_inner).preview(preview),
            Kind::Json { verbose, .. } => json::preview(preview, *verbose > 0),
        }
    }

    /// Every version with its standing.
    pub fn status(&self, entries: &[StatusEntry]) {
        match &self.0 {
            Kind::Human(_) => human::status(entries),
            Kind::Json { .. } => json::status(entries),
        }
    }

    /// Why the command failed.
    pub fn failure(&self, failure: &Failure) {
        match &self.0 {
            Kind::Human(human) => human.lock().unwrap_or_else(PoisonError::into_inner).clear(),
            Kind::Json { .. } => json::failure(failure),
        }
        human::failure(failure);
    }
}
