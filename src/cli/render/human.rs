//! Lines for a person.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

use super::super::failure::Failure;
use super::text::{BOLD, DIM, NL, PLAIN, RED, RESET, Style, Text, YELLOW, text};
use super::{human_repair, human_rollup, output};
use crate::db::{Holder, ServerFacts};
use crate::engine::{
    Adopted, Event, HookRun, LeftAlone, Mode, Plan, Progress, RepeatableStatus, Status, StatusReport, Step,
};
use crate::repairs::RepairEvent;
use crate::usage::{Comparison, Difference, Pass, grouped};

/// How often progress is told where no bar can be drawn.
const PLAIN_PROGRESS_EVERY: Duration = Duration::from_secs(3);

/// How many lines of each part of a server's report are shown.
const LINES_SHOWN: usize = 6;

/// How many buckets that differ are shown.
const DIFFERENCES_SHOWN: usize = 20;

pub(super) struct Human {
    quiet: bool,
    verbose: u8,
    bar: Option<ProgressBar>,
    told: Option<Instant>,
    /// When a comparison began.
    began: Option<Instant>,
    /// Differences found, and left after a repair.
    found: usize,
    left: usize,
}

impl Human {
    pub fn new(quiet: bool, verbose: u8) -> Self {
        Self { quiet, verbose, bar: None, told: None, began: None, found: 0, left: 0 }
    }

    /// Takes the progress bar off the screen.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    pub fn event(&mut self, event: Event) {
        if self.quiet {
            return;
        }
        match event {
            Event::Connected { server, .. } if self.verbose > 0 => {
                let ServerFacts { database, role, version, .. } = server;
                self.aside(text!("connected to {database} as {role}, PostgreSQL {version}"));
            }
            Event::Waiting(waiting) => {
                let holder = waiting.holder.map(|holder| format!(", held by {holder}")).unwrap_or_default();
                self.aside(text!("waiting for {}{holder}", waiting.what));
            }
            Event::Planned { current, target, adopted, migrations, repeatables, hooks } => {
                let adopted =
                    if adopted > 0 { format!("{} to adopt, ", count(adopted, "version")) } else { String::new() };
                let repeatables = match repeatables {
                    0 => String::new(),
                    _ => format!("{repeatables} repeatable, "),
                };
                self.aside(text!(
                    "from version {current} to {target}: {adopted}{}, {repeatables}{}",
                    count(migrations, "migration"),
                    count(hooks, "hook")
                ));
            }
            Event::BuildsAlone { note } => aside_in(YELLOW, note),
            Event::LeftEmpty => out("nothing was done: the database is empty, and left for others to build"),
            Event::LeftAlone(left_alone) => aside_in(YELLOW, said_of_left_alone(&left_alone)),
            Event::RepeatableStarted { name, why } if self.verbose > 0 => {
                self.aside(text!("applying R__{name}.sql: {why}"));
            }
            Event::RepeatableApplied { name, why, duration } => {
                step("R", &name, Some(duration), &why.to_string());
            }
            Event::Adopted { ledger, versions } => self.adopted(&ledger, &versions),
            Event::HookStarted { hook, boundary } if self.verbose > 0 => {
                self.aside(text!("running hook {hook} {boundary}"));
            }
            Event::HookProgress { hook, progress, eta, .. } => self.progress(&hook, &progress, eta),
            Event::HookFinished { hook, outcome, duration, .. } => {
                self.clear();
                self.told = None;
                step("hook", &hook, Some(duration), &outcome.summary);
            }
            Event::HookSkipped { hook, .. } => step("skip", &hook, None, "left out by --skip-hook"),
            Event::MigrationStarted { version, name, again: Some(reason) } => {
                self.aside(text!("V{version} {name} is applied again: {reason}"));
            }
            Event::MigrationStarted { version, name, .. } if self.verbose > 0 => {
                self.aside(text!("applying V{version}__{name}.sql"));
            }
            Event::MigrationRetried { version, name, reason, attempts, holder } => {
                self.gave_way(&format!("V{version} {name}"), &reason, attempts, holder);
            }
            Event::RepeatableRetried { name, reason, attempts, holder } => {
                self.gave_way(&format!("R {name}"), &reason, attempts, holder);
            }
            Event::MigrationApplied { version, name, duration } => {
                step(&format!("V{version}"), &name, Some(duration), "");
            }
            Event::Notice(notice) => {
                let severity = notice.severity.to_lowercase();
                self.aside(text!("{severity}: {}", Text::lines(&notice.message, 9, LINES_SHOWN)));
                for (label, text) in [("detail", notice.detail), ("hint", notice.hint)] {
                    if let Some(text) = text {
                        self.aside(text!("  {label}: {}", Text::lines(&text, 9, LINES_SHOWN)));
                    }
                }
            }
            Event::Finished { version, adopted: 0, migrations: 0, repeatables: 0, hooks: 0, .. } => {
                out(text!("nothing to do: the database is at version {version}"));
            }
            Event::Finished { version, migrations, hooks, duration, .. } => out(text!(
                "done: the database is at version {version} ({}, {}, {})",
                count(migrations, "migration"),
                count(hooks, "hook"),
                short(duration)
            )),
            _ => {}
        }
    }

    pub fn repair_event(&mut self, event: RepairEvent) {
        if self.quiet {
            return;
        }
        match event {
            RepairEvent::Waiting(waiting) => self.event(Event::Waiting(waiting)),
            RepairEvent::Notice(notice) => self.event(Event::Notice(notice)),
            RepairEvent::RepairStarted { run, repair, rows } => {
                self.aside(text!("run {run}, {repair}: {} in the journal", human_repair::rows(rows)));
            }
            RepairEvent::RepairResumed { run, repair, done, rows } => {
                let [done, rows] = [done, rows].map(grouped);
                self.aside(text!("run {run}, {repair}, goes on after {done} of {rows} rows"));
                self.told = Some(Instant::now());
            }
            RepairEvent::RepairProgress { repair, unit, done, total, per_second, eta, .. } => {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
                let written = per_second as u64;
                let progress = Progress { unit: unit.into(), done, total, written, written_unit: "a second".into() };
                self.progress(&repair, &progress, eta);
            }
            RepairEvent::ReplicaBehind { replica, lag } => {
                self.aside(text!("waiting for replica {replica}, which is {} behind", short(lag)));
            }
            RepairEvent::RowsLocked { rows, holder } => {
                let holder = holder.map(|holder| format!(", one of them {holder}")).unwrap_or_default();
                self.aside(text!("{} locked by others{holder}; trying again", human_repair::rows(rows)));
            }
        }
    }

    fn progress(&mut self, hook: &str, progress: &Progress, eta: Option<Duration>) {
        if self.told.is_none() && progress.done > 0 && self.bar.is_none() {
            let Progress { unit, done, total, .. } = progress;
            self.aside(text!("{hook} goes on after {done} of {total} {unit}"));
        }
        self.told.get_or_insert_with(Instant::now);
        let left = eta.map(|eta| format!(", about {} left", short(eta))).unwrap_or_default();
        if !std::io::stderr().is_terminal() {
            if self.told.is_none_or(|told| told.elapsed() >= PLAIN_PROGRESS_EVERY) {
                self.told = Some(Instant::now());
                let Progress { unit, done, total, written, written_unit } = progress;
                let [done, total, written] = [*done, *total, *written].map(grouped);
                self.aside(text!("{hook}: {done} of {total} {unit}, {written} {written_unit}{left}"));
            }
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(progress.total), ProgressDrawTarget::stderr());
            if let Ok(style) =
                ProgressStyle::with_template("{spinner} {prefix} [{bar:16}] {human_pos}/{human_len} {msg}")
            {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(Text::from(hook).as_str().to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        bar.set_position(progress.done);
        let message = format!("{}{left}, {} {}", progress.unit, grouped(progress.written), progress.written_unit);
        // The line must not wrap, nor must the ^C behind it, or it could not be taken off the screen again.
        let taken = hook.len() + 2 * grouped(progress.total).len() + 28;
        let width = terminal_size::terminal_size_of(std::io::stderr()).map_or(80, |(width, _)| usize::from(width.0));
        bar.set_message(message.chars().take(width.saturating_sub(taken)).collect::<String>());
    }

    pub fn comparing(&mut self, done: u64, total: u64, buckets: u64) {
        if self.quiet {
            return;
        }
        let began = *self.began.get_or_insert_with(Instant::now);
        if done == total {
            self.clear();
            self.began = None;
            return;
        }
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        let eta = (done > 0).then(|| began.elapsed().mul_f64((total - done) as f64 / done as f64));
        let progress = Progress { unit: "days".into(), done, total, written: buckets, written_unit: "buckets".into() };
        self.progress("comparing", &progress, eta);
    }

    pub fn difference(&mut self, difference: &Difference) {
        if difference.waiting && self.verbose == 0 {
            return;
        }
        // What is left after a repair is worth as many lines as what was found.
        let told = match difference.pass {
            Pass::Found => &mut self.found,
            Pass::Left => &mut self.left,
        };
        *told += 1;
        if *told > DIFFERENCES_SHOWN && self.verbose == 0 {
            return;
        }
        let text = human_rollup::said_of_difference(difference);
        match &self.bar {
            Some(bar) => bar.suspend(|| out(text)),
            None => out(text),
        }
    }

    pub fn compared(&mut self, found: &Comparison) {
        self.clear();
        let more = self.found.saturating_sub(DIFFERENCES_SHOWN) + self.left.saturating_sub(DIFFERENCES_SHOWN);
        if more > 0 && self.verbose == 0 {
            out(text!("and {} more; -v or --format json name them all", grouped(more as u64)));
        }
        human_rollup::compared(found);
    }

    /// A line about the way there.
    fn aside(&self, text: impl Into<Text>) {
        match &self.bar {
            Some(bar) => bar.suspend(|| aside(text)),
            None => aside(text),
        }
    }

    fn gave_way(&self, what: &str, reason: &str, attempts: u32, holder: Option<Holder>) {
        let holder = holder.map(|holder| format!(", in the way: {holder}")).unwrap_or_default();
        self.aside(text!("{what} gave way after try {attempts} ({reason}{holder}); it is tried again"));
    }

    /// What an older migrator has applied, and has been checked.
    fn adopted(&self, ledger: &str, versions: &[Adopted]) {
        let (Some(first), Some(last)) = (versions.first(), versions.last()) else { return };
        let range = if first.version == last.version {
            format!("V{}", first.version)
        } else {
            format!("V{} to V{}", first.version, last.version)
        };
        let note = format!("{} recorded in {ledger}, and all there", count(versions.len(), "version"));
        step("adopt", &range, None, &note);
        if self.verbose > 0 {
            for adopted in versions {
                let Adopted { version, name, recorded_as, at } = adopted;
                let line = format!("V{version} {name}: {}, {}", recorded_as.join(", "), utc(*at));
                out(text!("        {DIM}{line}{RESET}"));
            }
        }
    }

    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    pub fn is_verbose(&self) -> bool {
        self.verbose > 0
    }

    pub fn preview(&self, preview: &Plan) {
        if let Some(note) = &preview.note {
            aside_in(YELLOW, note.as_str());
        }
        for left_alone in &preview.left_alone {
            aside_in(YELLOW, said_of_left_alone(left_alone));
        }
        if preview.steps.is_empty() {
            out(text!("nothing to do: the database is at version {}", preview.current));
            return;
        }
        if preview.current == preview.target {
            out(text!("would stay at version {}:", preview.current));
        } else {
            out(text!("would go from version {} to {}:", preview.current, preview.target));
        }
        for planned in &preview.steps {
            match planned {
                Step::Hook { hook, forecast: None, .. } => {
                    step("skip", hook.name(), None, "left out by --skip-hook");
                }
                Step::Hook { hook, forecast: Some(forecast), .. } => {
                    let text = if forecast.work {
                        format!("would {}", forecast.summary)
                    } else {
                        format!("nothing to do: {}", forecast.summary)
                    };
                    step("hook", hook.name(), None, &text);
                }
                Step::Adopt { ledger, versions } => self.adopted(ledger, versions),
                Step::Repeat { repeatable, why } => {
                    step("R", repeatable.name(), None, &why.to_string());
                    self.sql(repeatable.sql());
                }
                Step::Apply { migration, again } => {
                    let note = match (again, migration.mode()) {
                        (Some(reason), _) => format!("again: {reason}"),
                        (None, Mode::Transaction) => String::new(),
                        (None, Mode::NoTransaction { .. }) => "outside a transaction".to_owned(),
                    };
                    step(&format!("V{}", migration.version()), migration.name(), None, &note);
                    self.sql(migration.sql());
                }
            }
        }
        out("nothing was written; run migrate up to do it");
    }

    /// The text of a file, for those who want to see it.
    fn sql(&self, text: &str) {
        if self.verbose > 0 {
            for line in text.lines() {
                out(text!("        {DIM}{line}{RESET}"));
            }
        }
    }
}

/// A repeatable file that is not applied.
pub(super) fn said_of_left_alone(left_alone: &LeftAlone) -> String {
    let LeftAlone { file, reason } = left_alone;
    format!("{file} is left as it is: {reason}, which this build does not know; upgrade to a newer build of migrate")
}

/// One step: what, its name, how long it took, what came of it.
fn step(kind: &str, name: &str, duration: Option<Duration>, note: &str) {
    let duration = duration.map(short).unwrap_or_default();
    out(text!("  {BOLD}{kind:<5}{RESET} {name:<36} {duration:>8}  {note}").trim_end());
}

pub(super) fn status(report: &StatusReport) {
    let entries = &report.versions;
    let width = entries.iter().map(|entry| entry.name.len()).max().unwrap_or(4).max(4);
    let time_head = "applied at (UTC)";
    out(text!("{BOLD}{:>7}  {:<width$}  {:<9}  {time_head}{RESET}", "version", "name", "state"));
    for entry in entries {
        let (state, at, note) = match &entry.status {
            Status::Applied { at } => ("applied", utc(*at), String::new()),
            Status::Adopted { at } => ("adopted", utc(*at), String::new()),
            Status::Adoptable { at } => ("to adopt", utc(*at), "  by an older migrator".to_owned()),
            Status::Pending { again: Some(_) } => {
                ("pending", String::new(), "  recorded by an older migrator, applied again".to_owned())
            }
            Status::Pending { again: None } => ("pending", String::new(), String::new()),
            Status::OutOfOrder => ("left out", String::new(), String::new()),
            Status::Divergent { at, recorded_name } if *recorded_name != entry.name => {
                ("divergent", utc(*at), format!("  applied as {recorded_name}"))
            }
            Status::Divergent { at, .. } => ("divergent", utc(*at), "  its text has changed since".to_owned()),
            Status::Unknown { at } => ("unknown", utc(*at), "  this program has no such migration".to_owned()),
        };
        let color = match entry.status {
            Status::Applied { .. } | Status::Adopted { .. } => PLAIN,
            Status::Pending { .. } | Status::Adoptable { .. } => YELLOW,
            _ => RED,
        };
        let when = if at.is_empty() { note } else { format!("{:indent$}{at}{note}", "", indent = 11 - state.len()) };
        out(text!("{:>7}  {:<width$}  {color}{state}{RESET}{when}", entry.version, entry.name));
        let adopted = matches!(entry.status, Status::Adopted { .. } | Status::Adoptable { .. });
        for (hook, run) in entry.hooks.iter().filter(|(_, run)| !adopted || run.is_some()) {
            out(text!("         {DIM}hook {hook}: {}{RESET}", last_run(run.as_ref())));
        }
    }
    for entry in &report.repeatables {
        let (state, color, note) = match &entry.status {
            RepeatableStatus::Applied => ("applied", PLAIN, String::new()),
            RepeatableStatus::Pending { why } => ("pending", YELLOW, format!("  {why}")),
            RepeatableStatus::LeftAlone { reason } => {
                ("left", YELLOW, format!("  {reason}, which this build does not know"))
            }
        };
        out(text!("{:>7}  {:<width$}  {color}{state}{RESET}{note}", "R", entry.name));
        for (hook, run) in &entry.hooks {
            let owed = if entry.owed.contains(hook) { ", not done to its end" } else { "" };
            if run.is_some() || !owed.is_empty() {
                out(text!("         {DIM}hook {hook}: {}{owed}{RESET}", last_run(run.as_ref())));
            }
        }
    }
    let how_many = |wanted: fn(&Status) -> bool| entries.iter().filter(|entry| wanted(&entry.status)).count();
    let pending = how_many(|status| matches!(status, Status::Pending { .. }))
        + report.repeatables.iter().filter(|entry| entry.is_pending()).count();
    let adoptable = how_many(|status| matches!(status, Status::Adoptable { .. }));
    let drift = entries.iter().filter(|entry| entry.status.is_drift()).count();
    match (pending, adoptable) {
        _ if report.out_of_step.is_some() => {
            let found = report.out_of_step.as_ref().map(ToString::to_string).unwrap_or_default();
            out(text!("{RED}{found}{RESET}; migrate up will say what to do"));
        }
        _ if drift > 0 => {
            let differ = if drift == 1 { "differs" } else { "differ" };
            out(text!("{} {differ} from what this program has; migrate up will say how", count(drift, "version")));
        }
        (0, 0) => out("nothing is pending"),
        (_, 0) => out(text!("{} pending; run migrate up", count(pending, "version"))),
        _ => out(text!("{} to adopt, {pending} pending; run migrate up", count(adoptable, "version"))),
    }
}

fn last_run(run: Option<&HookRun>) -> String {
    let Some(run) = run else { return "has not run".to_owned() };
    let at = utc(run.finished_at.unwrap_or(run.started_at));
    let summary = run.summary.as_ref().map(|summary| format!(", {summary}")).unwrap_or_default();
    format!("{} {at}{summary}", run.state.as_str())
}

pub(super) fn failure(failure: &Failure) {
    let mut text = text!("{RED}error:{RESET} {}", failure.summary());
    for problem in &failure.problems {
        text.push(&text!("{NL}  {problem}"));
    }
    let server = failure.server.as_ref().map(|reported| &reported.server);
    if let Some(report) = server {
        let message = Text::lines(&report.message, 9, LINES_SHOWN);
        text.push(&text!("{NL}  {message} (SQLSTATE {})", report.sqlstate));
        let more = [("detail", &report.detail), ("hint", &report.hint), ("where", &report.context)];
        for (label, value) in more {
            if let Some(value) = value {
                // A long call stack is cut to its innermost frames; JSON has all of it.
                text.push(&text!("{NL}  {label}: {}", Text::lines(value, 9, LINES_SHOWN)));
            }
        }
    }
    if let Some(hint) = &failure.hint {
        // One line where one line says it all.
        let below = server.is_some() || !failure.problems.is_empty();
        text.push(&if below { text!("{NL}next: ") } else { text!("; ") });
        // Of several lines, those behind the first are statements.
        let mut lines = hint.split("\n  ");
        text.push(&text!("{}", lines.next().unwrap_or_default()));
        lines.for_each(|statement| text.push(&text!("{NL}  {statement}")));
    }
    output::aside(text);
}

/// A line about the way there.
pub(super) fn aside(text: impl Into<Text>) {
    aside_in(DIM, text);
}

pub(super) fn aside_in(color: Style, text: impl Into<Text>) {
    output::aside(text!("{color}{}{RESET}", text.into()));
}

pub(super) fn out(line: impl Into<Text>) {
    output::out(line);
}

pub(super) fn utc(at: OffsetDateTime) -> String {
    at.to_offset(UtcOffset::UTC)
        .format(format_description!("[year]-[month]-[day] [hour]:[minute]:[second]"))
        .unwrap_or_else(|_| at.to_string())
}

pub(super) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// A duration as people say it: `12 ms`, `3.4 s`, `2m 5s`.
pub(super) fn short(duration: Duration) -> String {
    match duration.as_millis() {
        millis @ 0..1000 => format!("{millis} ms"),
        millis @ 1000..60_000 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        _ => humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string(),
    }
}
