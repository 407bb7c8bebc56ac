//! Events as text.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::failure_human::LINES_SHOWN;
use super::lines::{adopted, baselined, left_alone_text, rehearsed, step};
use super::output;
use super::text::{DIM, RESET, Style, Text, YELLOW, text};
use super::words::{count, counted, short};
use crate::db::{Holder, ServerFacts, grouped};
use crate::engine::{Event, Progress};
use crate::repair::RepairEvent;

/// How often progress is printed where no bar can be drawn.
const PLAIN_PROGRESS_EVERY: Duration = Duration::from_secs(3);

/// Prints events, and draws the progress bar below them.
pub(super) struct Human {
    verbose: u8,
    /// Say first which database it is.
    names_database: bool,
    bar: Option<ProgressBar>,
    told: Option<Instant>,
}

impl Human {
    pub fn new(verbose: u8, names_database: bool) -> Self {
        Self { verbose, names_database, bar: None, told: None }
    }

    /// Says first which database it is, from now on.
    pub fn names_database(&mut self) {
        self.names_database = true;
    }

    /// Takes the progress bar off the screen.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    pub fn event(&mut self, event: Event) {
        match event {
            Event::Connected { set, folder, layout, host, port, server } if self.names_database || self.verbose > 0 => {
                let ServerFacts { database, role, version, .. } = server;
                let from = folder.zip(layout).map(|(folder, layout)| format!(" ({folder}, {layout})"));
                let from = from.unwrap_or_default();
                let host = if host.contains(':') { format!("[{host}]") } else { host };
                self.aside(text!("{set}{from} on {host}:{port}/{database}, PostgreSQL {version}, as {role}"));
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
            Event::BuildsAlone { note } => self.aside_in(YELLOW, note),
            Event::LeftEmpty => self.out("nothing was done: the database is empty, and another migrator builds it"),
            Event::LeftAlone(left_alone) => self.aside_in(YELLOW, left_alone_text(&left_alone)),
            Event::RepeatableStarted { name, why } if self.verbose > 0 => {
                self.aside(text!("applying R__{name}.sql: {why}"));
            }
            Event::RepeatableApplied { name, why, duration } => {
                step("R", &name, Some(duration), &why.to_string());
            }
            Event::Baselined { versions } => baselined(&versions),
            Event::Adopted { ledger, checked, versions } => adopted(&ledger, checked, &versions, self.verbose > 0),
            Event::HookStarted { hook, boundary } if self.verbose > 0 => {
                self.aside(text!("running hook {hook} {boundary}"));
            }
            Event::HookProgress { hook, progress, eta, .. } => self.progress(&hook, &progress, eta),
            Event::HookFinished { hook, outcome, duration, .. } => {
                self.clear();
                self.told = None;
                step("hook", &hook, Some(duration), &outcome.summary);
            }
            Event::HookSkipped { hook, .. } => step("skip", &hook, None, "skipped by --skip-hook"),
            Event::MigrationStarted { version, name, again: Some(reason), .. } => {
                self.aside(text!("{} {name} is applied again: {reason}", version.label()));
            }
            Event::MigrationStarted { file, .. } | Event::DownStarted { file, .. } if self.verbose > 0 => {
                self.aside(text!("applying {file}"));
            }
            Event::MigrationRetried { version, name, reason, attempts, holder } => {
                self.gave_way(&format!("{} {name}", version.label()), &reason, attempts, holder);
            }
            Event::RepeatableRetried { name, reason, attempts, holder } => {
                self.gave_way(&format!("R {name}"), &reason, attempts, holder);
            }
            Event::MigrationApplied { version, name, duration } => {
                step(&version.label(), &name, Some(duration), "");
            }
            Event::DownPlanned { current, target, migrations } => {
                self.aside(text!("from version {current} back to {target}: {}", count(migrations, "migration")));
            }
            Event::HookNotUndone { hook, boundary } => {
                self.aside(text!("hook {hook} has run {boundary}, and what it has done stays"));
            }
            Event::TakenBack { version, name, recorded_in, duration } => {
                let also = recorded_in.map(|table| format!("taken out of {table}, too")).unwrap_or_default();
                step(&format!("-{}", version.label()), &name, Some(duration), &also);
            }
            Event::DownFinished { version, migrations: 0, .. } => {
                self.out(text!("nothing to take back: the database is at version {version}"));
            }
            Event::DownFinished { version, migrations, duration } => self.out(text!(
                "done: the database is at version {version} ({} taken back, {})",
                count(migrations, "migration"),
                short(duration)
            )),
            Event::Rehearsing { part } => self.aside(text!("rehearsing {}", rehearsed(part))),
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
                self.out(text!("nothing to do: the database is at version {version}"));
            }
            Event::Finished { version, migrations, hooks, duration, .. } => self.out(text!(
                "done: the database is at version {version} ({}, {}, {})",
                count(migrations, "migration"),
                count(hooks, "hook"),
                short(duration)
            )),
            _ => {}
        }
    }

    pub fn repair_event(&mut self, event: RepairEvent) {
        match event {
            RepairEvent::Waiting(waiting) => self.event(Event::Waiting(waiting)),
            RepairEvent::Notice(notice) => self.event(Event::Notice(notice)),
            RepairEvent::RepairStarted { run, repair, rows } => {
                self.aside(text!("run {run}, {repair}: {} in the journal", counted(rows, "row")));
            }
            RepairEvent::RepairResumed { run, repair, done, rows } => {
                let [done, rows] = [done, rows].map(grouped);
                self.aside(text!("run {run}, {repair}, continues after {done} of {rows} rows"));
                self.told = Some(Instant::now());
            }
            RepairEvent::RepairProgress { repair, unit, done, total, per_second, eta, .. } => {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
                let written = per_second as u64;
                let progress = Progress { unit, done, total, written, written_unit: "a second".into() };
                self.progress(&repair, &progress, eta);
            }
            RepairEvent::ReplicaBehind { replica, lag } => {
                self.aside(text!("waiting for replica {replica}, which is {} behind", short(lag)));
            }
            RepairEvent::RowsLocked { rows, holder } => {
                let holder = holder.map(|holder| format!(", one of them {holder}")).unwrap_or_default();
                self.aside(text!("{} locked by others{holder}; trying again", counted(rows, "row")));
            }
            _ => {}
        }
    }

    pub fn progress(&mut self, hook: &str, progress: &Progress, eta: Option<Duration>) {
        if self.told.is_none() && progress.done > 0 && self.bar.is_none() {
            let Progress { unit, done, total, .. } = progress;
            self.aside(text!("{hook} continues after {done} of {total} {unit}"));
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
        // Neither the line nor a ^C after it may wrap, or the bar could not be erased.
        let taken = hook.len() + 2 * grouped(progress.total).len() + 28;
        let width = terminal_size::terminal_size_of(std::io::stderr()).map_or(80, |(width, _)| usize::from(width.0));
        bar.set_message(message.chars().take(width.saturating_sub(taken)).collect::<String>());
    }

    /// A line of the result.
    pub fn out(&self, line: impl Into<Text>) {
        match &self.bar {
            Some(bar) => bar.suspend(|| output::out(line)),
            None => output::out(line),
        }
    }

    /// A line of progress or status.
    fn aside(&self, text: impl Into<Text>) {
        self.aside_in(DIM, text);
    }

    pub fn aside_in(&self, color: Style, text: impl Into<Text>) {
        let line = text!("{color}{}{RESET}", text.into());
        match &self.bar {
            Some(bar) => bar.suspend(|| output::aside(line)),
            None => output::aside(line),
        }
    }

    fn gave_way(&self, what: &str, reason: &str, attempts: u32, holder: Option<Holder>) {
        let holder = holder.map(|holder| format!(", in the way: {holder}")).unwrap_or_default();
        self.aside(text!("{what} gave way after try {attempts} ({reason}{holder}); it is tried again"));
    }
}
