//! Where results and messages go: lines for a person, or JSON for a program.
//!
//! Results go to standard output, status and progress to standard error (`output`).

use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::failure::Failure;
use super::failure_human;
use super::human::Human;
use super::json::Json;
use super::output;
use super::text::{Style, Text, text};
use crate::db::Program;
use crate::engine::{Event, Progress};
use crate::repair::RepairEvent;

/// One of the two renderers.
pub struct Screen {
    program: Program,
    quiet: bool,
    verbose: u8,
    kind: Kind,
    /// Where every event is kept, too.
    log: OnceLock<Json>,
}

enum Kind {
    Human(Mutex<Human>),
    Json(Json),
}

impl Screen {
    pub(crate) fn new(program: Program, set: &str, json: bool, quiet: bool, verbose: u8) -> Self {
        let human = || Kind::Human(Mutex::new(Human::new(verbose, false)));
        let kind = if json { Kind::Json(Json::new(set)) } else { human() };
        Self { program, quiet, verbose, kind, log: OnceLock::new() }
    }

    /// For a check whose result is kept instead of shown.
    pub(crate) fn kept(program: Program, json: Json) -> Self {
        Self { program, quiet: true, verbose: 0, kind: Kind::Json(json), log: OnceLock::new() }
    }

    /// Keeps every event there, too, from now on.
    pub(crate) fn keep_log(&self, log: Json) {
        let _ = self.log.set(log);
    }

    /// Where events are kept.
    pub(crate) fn log(&self) -> Option<&Json> {
        self.log.get()
    }

    /// Says first which database it is, from now on.
    pub(crate) fn name_database(&self) {
        if let Some(mut human) = self.human() {
            human.names_database();
        }
    }

    /// The program as the operator called it: with the flags that choose the set.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// A command of this program, as the operator would type it.
    #[must_use]
    pub fn command(&self, command: &str) -> String {
        self.program.command(command).unwrap_or_else(|| command.to_owned())
    }

    /// Whether the output is JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        matches!(self.kind, Kind::Json(_))
    }

    /// Whether only errors and requested results are wanted.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether details are wanted.
    #[must_use]
    pub fn is_verbose(&self) -> bool {
        self.verbose > 0
    }

    /// Shows a result: lines to a person, or an object to a program.
    pub fn show(&self, human: impl FnOnce(), json: impl FnOnce(&Json)) {
        match &self.kind {
            Kind::Human(_) => {
                self.clear();
                human();
            }
            Kind::Json(to) => json(to),
        }
    }

    /// An object, in JSON output only.
    pub fn json(&self, event: &str, value: &impl Serialize) {
        if let Kind::Json(to) = &self.kind {
            to.named(event, value);
        }
    }

    /// A line of the result, in human output only. A progress bar stays below it.
    pub fn out(&self, line: impl Into<Text>) {
        if let Some(human) = self.human() {
            human.out(line);
        }
    }

    /// A line of status, in human output only.
    pub fn aside(&self, line: impl Into<Text>) {
        self.aside_in(super::text::DIM, line);
    }

    /// A line of status on standard error, whatever the format of the results.
    pub fn status(&self, line: impl Into<Text>) {
        match self.human() {
            _ if self.quiet => {}
            Some(human) => human.aside_in(super::text::DIM, line),
            None => output::aside(line),
        }
    }

    /// The same as [`Self::aside`] in another colour.
    pub fn aside_in(&self, color: Style, line: impl Into<Text>) {
        if let Some(human) = self.human().filter(|_| !self.quiet) {
            human.aside_in(color, line);
        }
    }

    /// Progress, in human output only.
    pub fn progress(&self, what: &str, progress: &Progress, eta: Option<Duration>) {
        if let Some(mut human) = self.human().filter(|_| !self.quiet) {
            human.progress(what, progress, eta);
        }
    }

    /// Takes the progress bar off the screen.
    pub fn clear(&self) {
        if let Some(mut human) = self.human() {
            human.clear();
        }
    }

    /// Something happened during a run.
    pub fn event(&self, event: Event) {
        if let Some(log) = self.log() {
            log.line(&event);
        }
        match &self.kind {
            _ if self.quiet => {}
            Kind::Human(human) => human.lock().unwrap_or_else(PoisonError::into_inner).event(event),
            Kind::Json(to) => to.line(&event),
        }
    }

    /// Something happened during a repair.
    pub fn repair_event(&self, event: RepairEvent) {
        if let Some(log) = self.log() {
            log.line(&event);
        }
        match &self.kind {
            _ if self.quiet => {}
            Kind::Human(human) => human.lock().unwrap_or_else(PoisonError::into_inner).repair_event(event),
            Kind::Json(to) => to.line(&event),
        }
    }

    /// Tells whether the report was written to its file.
    pub(crate) fn report(&self, path: &Path, written: bool) {
        self.aside(if written {
            text!("the report is in {}", path.display())
        } else {
            text!("there is nothing to report; {} was not changed", path.display())
        });
    }

    /// Why a command failed.
    pub fn failure(&self, failure: &Failure) {
        self.json("error", &failure.told(&self.program));
        self.complaint(failure);
    }

    /// The same on standard error alone, for something that is tried again.
    pub fn complaint(&self, failure: &Failure) {
        self.clear();
        failure_human::failure(failure, &self.program);
    }

    fn human(&self) -> Option<MutexGuard<'_, Human>> {
        match &self.kind {
            Kind::Human(human) => Some(human.lock().unwrap_or_else(PoisonError::into_inner)),
            Kind::Json(_) => None,
        }
    }
}
