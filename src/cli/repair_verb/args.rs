//! The flags of `migrate repair`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, value_parser};

use super::Failure;
use crate::evidence::EvidenceFlag;
use crate::repair::{Derived, Pacing, RepairKind, Repairs, UNDO};

#[derive(Debug, Args)]
pub(in super::super) struct Undo {
    /// The number of the run; repair runs lists all runs.
    #[arg(value_name = "RUN", value_parser = run_number)]
    pub run: i64,
    #[command(flatten)]
    pub execution: Execution,
}

/// How rows are changed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Execution")]
pub(in super::super) struct Execution {
    /// Do it. Without, what would be done is shown, and nothing is written.
    #[arg(long)]
    pub execute: bool,

    /// Do it only if the digest of the rows is this one, which the dry run has shown.
    #[arg(long, value_name = "DIGEST", requires = "execute", value_parser = digest)]
    pub expect: Option<String>,

    /// Start a new run even though this other run of the same repair is unfinished.
    #[arg(long, value_name = "RUN", requires = "execute", value_parser = run_number)]
    beside: Option<i64>,

    /// Rows per transaction.
    #[arg(long, value_name = "ROWS", default_value = "1000", allow_hyphen_values = true,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch_size: u32,

    /// Pause between two transactions, to reduce the load: 50ms, 1s.
    #[arg(long, value_name = "DURATION", default_value = "0s", allow_hyphen_values = true, value_parser = pause)]
    sleep_between_batches: Duration,

    /// Stop cleanly after this time, at the end of a batch: 30m, 2h. The same command then continues.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = runtime)]
    max_runtime: Option<Duration>,

    /// Write nothing while a streaming replica lags by more than this: 5s.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = lag)]
    max_lag: Option<Duration>,

    /// Write totals, a chart and the table to this file, a self-contained page.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,

    #[command(flatten)]
    pub evidence: EvidenceFlag,
}

/// How something is rebuilt.
#[derive(Debug, Args)]
#[command(next_help_heading = "Execution")]
pub(super) struct Rebuilding {
    /// Do it. Without, what would be done is shown, and nothing is written.
    #[arg(long)]
    pub execute: bool,

    /// Pause between two transactions, to reduce the load: 500ms, 5s.
    #[arg(long, value_name = "DURATION", default_value = "0s", allow_hyphen_values = true, value_parser = pause)]
    pub sleep_between_slices: Duration,

    #[command(flatten)]
    pub evidence: EvidenceFlag,
}

fn digest(text: &str) -> Result<String, String> {
    if text.len() == 12 && text.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c)) {
        Ok(text.to_owned())
    } else {
        Err("expected the twelve characters that the dry run has shown".to_owned())
    }
}

fn run_number(text: &str) -> Result<i64, String> {
    let number = text.parse().ok().filter(|run| *run > 0);
    number.ok_or_else(|| "expected the number of a run; repair runs lists all runs".to_owned())
}

fn between(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|_| "expected a number and a unit, such as 500ms, 1s or 5m".to_owned())?;
    if (least..=most).contains(&duration) {
        Ok(duration)
    } else {
        let [least, most] = [least, most].map(humantime::format_duration);
        Err(format!("expected {least} to {most}"))
    }
}

fn pause(text: &str) -> Result<Duration, String> {
    between(text, Duration::ZERO, Duration::from_hours(1))
}

fn runtime(text: &str) -> Result<Duration, String> {
    between(text, Duration::from_secs(1), Duration::from_hours(24 * 30))
}

fn lag(text: &str) -> Result<Duration, String> {
    between(text, Duration::from_millis(100), Duration::from_hours(24))
}

/// The subcommands that do not depend on the repairs.
pub(in super::super) fn command(command: Command) -> Command {
    let run = Arg::new("run").value_name("RUN").required(true).value_parser(run_number);
    command
        .subcommand(Command::new("list").about("List the repairs"))
        .subcommand(Command::new("runs").about("List past runs, the newest first; -v shows their arguments"))
        .subcommand(
            Command::new("close")
                .about("Close an unfinished run, so that no command continues it; its changes stay")
                .arg(run.help("The number of the run; repair runs lists all runs")),
        )
        .subcommand(
            Undo::augment_args(Command::new(UNDO))
                .about("Restore the rows that a run has changed, except rows that were changed since"),
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
}

/// Adds a subcommand for each repair.
pub(in super::super) fn augment(command: Command, repairs: &Repairs) -> Command {
    repairs.list().fold(command, |command, listed| {
        let repair = repairs.augment(listed.repair, Command::new(listed.repair));
        let repair = match listed.kind {
            RepairKind::Corrects => Execution::augment_args(repair),
            RepairKind::Rebuilds => Rebuilding::augment_args(repair),
        };
        // Flattened flags replace the description.
        let repair = repair.about(listed.about).long_about(None::<&str>);
        let Some(derived) = listed.rows.and_then(|rows| rows.derived) else { return command.subcommand(repair) };
        command.mut_subcommand(UNDO, |undo| with_refresh(undo, derived)).subcommand(with_refresh(repair, derived))
    })
}

/// Adds the flag that turns the refresh of derived data off.
fn with_refresh(command: Command, derived: &dyn Derived) -> Command {
    let words = derived.words();
    if command.get_arguments().any(|arg| arg.get_id() == words.flag) {
        return command;
    }
    command.arg(
        Arg::new(words.flag)
            .long(words.flag)
            .value_name("true|false")
            .default_value("true")
            .num_args(0..=1)
            .default_missing_value("true")
            .value_parser(value_parser!(bool))
            .action(ArgAction::Set)
            .help_heading("Execution")
            .help(format!("Refresh the {} for the changed rows", words.name)),
    )
}

/// Whether derived data is refreshed, which is the default.
pub(super) fn refreshes(matches: &ArgMatches, repairs: &Repairs) -> bool {
    let derived = repairs.list().filter_map(|listed| listed.rows.and_then(|rows| rows.derived));
    let flags: Vec<_> = derived.map(|derived| derived.words().flag).collect();
    flags.iter().all(|flag| *matches.try_get_one(flag).ok().flatten().unwrap_or(&true))
}

impl Execution {
    pub fn pacing(&self, lock_wait: Duration, refresh: bool) -> Pacing {
        Pacing {
            batch_size: self.batch_size,
            sleep_between_batches: self.sleep_between_batches,
            max_runtime: self.max_runtime,
            max_lag: self.max_lag,
            lock_wait,
            refresh,
            beside: self.beside,
            with_lines: self.report.is_some(),
        }
    }

    /// The report's file. Checks that it can be written before the run starts.
    pub fn report(&self) -> Result<Option<&Path>, Failure> {
        let Some(path) = self.report.as_deref() else { return Ok(None) };
        let was_there = path.exists();
        match std::fs::OpenOptions::new().create(true).append(true).open(path) {
            Ok(_) => {
                if !was_there {
                    // There may be nothing to report.
                    let _ = std::fs::remove_file(path);
                }
                Ok(Some(path))
            }
            Err(error) => Err(Failure::usage(format!("cannot write the report to {}: {error}", path.display()))),
        }
    }
}
