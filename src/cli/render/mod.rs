//! How a run looks: lines for a person, or JSON for a program. Nothing else in this program prints.
//!
//! Results go to standard output, everything about the way there to standard error (`output`).

mod human;
mod human_repair;
mod human_rollup;
mod human_verify;
mod json;
pub(super) mod output;
mod report;
mod text;

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::failure::Failure;
use super::repair::Subject;
use crate::db::Database;
use crate::engine::{Event, Forecast, Outcome, Plan, StatusReport, Verified};
use crate::repairs::{Finding, Line, RepairEvent, Repaired, Repairs, Run};
use crate::usage::{Comparison, Difference, Pipeline, Standing, Tick, Way};

pub(super) use report::Report;
pub(super) use text::Text;
use text::{RED, RESET, text};

/// What the parser says about the command line, in one line: what is wrong, a tip if it has one, and where to look.
pub(super) fn usage_error(text: &str) -> Text {
    let said: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let said = said.join(" ").replace(" tip:", "; tip:").replace(" [possible values", "; [possible values");
    let said = said.strip_prefix("error:").unwrap_or(&said);
    text!("{RED}error:{RESET}{said}; see --help")
}

/// One of the two ways to look.
pub(super) struct Renderer(Kind);

enum Kind {
    Human(Mutex<human::Human>),
    Json { quiet: bool, verbose: u8 },
}

impl Kind {
    fn is_quiet(&self) -> bool {
        match self {
            Self::Human(human) => human.lock().unwrap_or_else(PoisonError::into_inner).is_quiet(),
            Self::Json { quiet, .. } => *quiet,
        }
    }

    fn is_verbose(&self) -> bool {
        match self {
            Self::Human(human) => human.lock().unwrap_or_else(PoisonError::into_inner).is_verbose(),
            Self::Json { verbose, .. } => *verbose > 0,
        }
    }
}

impl Renderer {
    pub fn new(json: bool, quiet: bool, verbose: u8) -> Self {
        if json {
            Self(Kind::Json { quiet, verbose })
        } else {
            Self(Kind::Human(Mutex::new(human::Human::new(quiet, verbose))))
        }
    }

    /// Whether it is a program that reads.
    pub fn is_json(&self) -> bool {
        matches!(self.0, Kind::Json { .. })
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
    pub fn preview(&self, preview: &Plan) {
        match &self.0 {
            Kind::Human(human) => human.lock().unwrap_or_else(PoisonError::into_inner).preview(preview),
            Kind::Json { verbose, .. } => json::preview(preview, *verbose > 0),
        }
    }

    /// Every version with its standing.
    pub fn status(&self, report: &StatusReport) {
        match &self.0 {
            Kind::Human(_) => human::status(report),
            Kind::Json { .. } => json::status(report),
        }
    }

    /// What a tick did.
    pub fn tick(&self, tick: &Tick) {
        match &self.0 {
            Kind::Human(_) => human_rollup::tick(tick),
            Kind::Json { .. } => json::tick(tick),
        }
    }

    /// The rollup in force is another program's.
    pub fn wrong_hands(&self, pipeline: &Pipeline) {
        match &self.0 {
            Kind::Human(_) => human_rollup::wrong_hands(pipeline.fault()),
            Kind::Json { .. } => json::wrong_hands(pipeline),
        }
    }

    /// A watch begins.
    pub fn watching(&self, database: &Database, every: Duration) {
        match &self.0 {
            kind if kind.is_quiet() => {}
            Kind::Human(_) => human_rollup::watching(database, every),
            Kind::Json { .. } => json::watching(database, every),
        }
    }

    /// What a tick of a watch did. One that found nothing to do is only worth a line to those who want to hear more.
    pub fn watched(&self, tick: &Tick) {
        match &self.0 {
            kind if kind.is_quiet() || !(tick.did_something() || kind.is_verbose()) => {}
            Kind::Human(_) => human_rollup::watched(tick),
            Kind::Json { .. } => json::tick(tick),
        }
    }

    /// A tick of a watch failed.
    pub fn watch_failed(&self, failure: &Failure, again_in: Duration) {
        if let Kind::Json { .. } = &self.0 {
            json::watch_failed(failure, again_in);
        }
        human_rollup::watch_failed(failure, again_in);
    }

    /// A watch was told to stop.
    pub fn watch_ended(&self) {
        match &self.0 {
            kind if kind.is_quiet() => {}
            Kind::Human(_) => human_rollup::watch_ended(),
            Kind::Json { .. } => json::watch_ended(),
        }
    }

    /// How the rollup stands; the ways to have it called, should nobody do it.
    pub fn standing(&self, standing: &Standing, ways: &[Way]) {
        match &self.0 {
            Kind::Human(_) => human_rollup::standing(standing, ways),
            Kind::Json { .. } => json::standing(standing),
        }
    }

    /// Nobody seems to call the tick of the rollup; these are ways to have it called.
    pub fn nobody_schedules(&self, ways: &[Way]) {
        match &self.0 {
            kind if kind.is_quiet() => {}
            Kind::Human(_) => human_rollup::nobody_schedules(ways),
            Kind::Json { .. } => json::nobody_schedules(ways),
        }
    }

    /// What a comparison of history or schema found.
    pub fn verified(&self, found: &Verified) {
        match &self.0 {
            Kind::Human(_) => human_verify::verified(found, self.0.is_verbose()),
            Kind::Json { .. } => json::verified(found),
        }
    }

    /// There is no hourly rollup to compare.
    pub fn no_rollup(&self) {
        match &self.0 {
            Kind::Human(_) => human::out("rollup: there is none yet"),
            Kind::Json { .. } => json::no_rollup(),
        }
    }

    /// A comparison has come further.
    pub fn comparing(&self, done: u64, total: u64, buckets: u64) {
        match &self.0 {
            Kind::Human(human) => {
                human.lock().unwrap_or_else(PoisonError::into_inner).comparing(done, total, buckets);
            }
            Kind::Json { quiet: true, .. } => {}
            Kind::Json { .. } => json::comparing(done, total, buckets),
        }
    }

    /// A bucket that is not what it should be.
    pub fn difference(&self, difference: &Difference) {
        match &self.0 {
            Kind::Human(human) => human.lock().unwrap_or_else(PoisonError::into_inner).difference(difference),
            Kind::Json { .. } => json::difference(difference),
        }
    }

    /// What a comparison found.
    pub fn compared(&self, found: &Comparison) {
        match &self.0 {
            Kind::Human(human) => human.lock().unwrap_or_else(PoisonError::into_inner).compared(found),
            Kind::Json { .. } => json::compared(found),
        }
    }

    /// Something happened during a repair.
    pub fn repair_event(&self, event: RepairEvent) {
        match &self.0 {
            Kind::Human(human) => human.lock().unwrap_or_else(PoisonError::into_inner).repair_event(event),
            Kind::Json { quiet: true, .. } => {}
            Kind::Json { .. } => json::line(&event),
        }
    }

    /// Which repairs there are.
    pub fn repairs(&self, repairs: &Repairs) {
        match &self.0 {
            Kind::Human(_) => human_repair::repairs(repairs),
            Kind::Json { .. } => json::repairs(repairs),
        }
    }

    /// A past run, for a program.
    pub fn repair_run(&self, run: &Run) {
        if let Kind::Json { .. } = &self.0 {
            json::repair_run(run);
        }
    }

    /// Past runs, the newest, and how many there are besides.
    pub fn repair_runs(&self, runs: &[Run], more: u64) {
        if let Kind::Human(_) = &self.0 {
            human_repair::runs(runs, more, self.0.is_verbose());
        }
    }

    /// A line of what a repair would do. People see those that the finding keeps.
    pub fn finding_line(&self, line: &Line, subject: &Subject) {
        if let Kind::Json { .. } = &self.0 {
            json::finding_line(line, subject);
        }
    }

    /// A run that nobody goes on with any more, as it stood.
    pub fn repair_closed(&self, run: &Run, can_be_undone: bool) {
        match &self.0 {
            Kind::Human(_) => human_repair::closed(run, can_be_undone),
            Kind::Json { .. } => json::repair_closed(run, can_be_undone),
        }
    }

    /// What a repair would do.
    pub fn finding(&self, finding: &Finding, subject: &Subject) {
        match &self.0 {
            Kind::Human(_) => human_repair::finding(finding, subject, self.0.is_verbose()),
            Kind::Json { .. } => json::finding(finding, subject),
        }
    }

    /// A repair was to be executed, and there is nothing to repair.
    pub fn nothing_to_repair(&self, finding: &Finding, subject: &Subject) {
        match &self.0 {
            Kind::Human(_) => human_repair::nothing_done(finding, subject),
            Kind::Json { .. } => json::nothing_to_repair(finding, subject),
        }
    }

    /// What a repair has done.
    pub fn repaired(&self, repaired: &Repaired, subject: &Subject) {
        match &self.0 {
            Kind::Human(human) => {
                let mut human = human.lock().unwrap_or_else(PoisonError::into_inner);
                human.clear();
                human_repair::repaired(repaired, subject, human.is_quiet());
            }
            Kind::Json { .. } => json::repaired(repaired, subject),
        }
    }

    /// What a rebuild would do.
    pub fn rebuild_forecast(&self, name: &str, command: &str, forecast: &Forecast) {
        match &self.0 {
            Kind::Human(_) => human_repair::rebuild_forecast(command, forecast),
            Kind::Json { .. } => json::rebuild_forecast(name, forecast),
        }
    }

    /// What a rebuild has done.
    pub fn rebuilt(&self, name: &str, run: i64, outcome: &Outcome) {
        match &self.0 {
            Kind::Human(human) => {
                human.lock().unwrap_or_else(PoisonError::into_inner).clear();
                human_repair::rebuilt(run, outcome);
            }
            Kind::Json { .. } => json::rebuilt(name, run, outcome),
        }
    }

    /// A report was asked for, and there is nothing to report.
    pub fn nothing_to_report(&self, path: Option<&Path>) {
        if let (Some(path), false, Kind::Human(_)) = (path, self.0.is_quiet(), &self.0) {
            human::aside(text!("there is nothing to report; {} is left as it was", path.display()));
        }
    }

    /// A report is in its file.
    pub fn report_written(&self, path: &Path) {
        if !self.0.is_quiet() && matches!(self.0, Kind::Human(_)) {
            human::aside(text!("the report is in {}", path.display()));
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
