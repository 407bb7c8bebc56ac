//! `migrate repair`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Subcommand};
use serde_json::Value;

use super::exit;
use super::failure::Failure;
use super::render::{Renderer, Report};
use crate::db::Database;
use crate::engine::Forecast;
use crate::repairs::{
    Executed, Finding, Line, Pacing, Rebuilt, Repaired, Repairer, Repairs, Rows, Sort, UNDO, Unfinished,
};

/// How many past runs are shown to people.
const RUNS_SHOWN: i64 = 100;

/// Subcommands of `migrate repair`. Those for the repairs themselves come from the registry.
#[derive(Debug)]
pub(super) enum Repair {
    List,
    Runs,
    Close(i64),
    Undo(Box<Undo>),
    Named(String, Box<ArgMatches>),
}

#[derive(Debug, Args)]
pub(super) struct Undo {
    /// The run, as migrate repair runs lists it.
    #[arg(value_name = "RUN", value_parser = run_number)]
    run: i64,
    #[command(flatten)]
    execution: Execution,
    #[command(flatten)]
    rollup: RollupArgs,
}

/// How rows are changed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Execution")]
struct Execution {
    /// Do it. Without, what would be done is shown, and nothing is written.
    #[arg(long)]
    execute: bool,

    /// Do it only if exactly this was found: the digest that the dry run has shown.
    #[arg(long, value_name = "DIGEST", requires = "execute", value_parser = digest)]
    expect: Option<String>,

    /// Agree that this run, which is unfinished and concerns the same repair, stays as it is beside this one.
    #[arg(long, value_name = "RUN", requires = "execute", value_parser = run_number)]
    beside: Option<i64>,

    /// Rows a transaction.
    #[arg(long, value_name = "ROWS", default_value = "1000", allow_hyphen_values = true,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch_size: u32,

    /// Pause between two transactions, for the application's sake: 50ms, 1s.
    #[arg(long, value_name = "DURATION", default_value = "0s", allow_hyphen_values = true, value_parser = pause)]
    sleep_between_batches: Duration,

    /// Stop cleanly after the batch in which this much time has passed: 30m, 2h. The same command goes on from there.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = runtime)]
    max_runtime: Option<Duration>,

    /// Write nothing while a streaming replica is further behind than this: 5s.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = lag)]
    max_lag: Option<Duration>,

    /// Write totals, a chart and the table into this file, a page that needs nothing else.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Execution")]
struct RollupArgs {
    /// Bring what was changed into the hourly rollup.
    #[arg(long, value_name = "true|false", default_value = "true", num_args = 0..=1, default_missing_value = "true",
          action = ArgAction::Set)]
    rebuild_rollup: bool,
}

/// How something is rebuilt.
#[derive(Debug, Args)]
#[command(next_help_heading = "Execution")]
struct Rebuilding {
    /// Do it. Without, what would be done is shown, and nothing is written.
    #[arg(long)]
    execute: bool,

    /// Pause between two transactions, for the application's sake: 500ms, 5s.
    #[arg(long, value_name = "DURATION", default_value = "0s", allow_hyphen_values = true, value_parser = pause)]
    sleep_between_slices: Duration,
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
    number.ok_or_else(|| "expected the number of a run; migrate repair runs lists them".to_owned())
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

impl Subcommand for Repair {
    fn augment_subcommands(command: Command) -> Command {
        command
            .subcommand(Command::new("list").about("List the repairs"))
            .subcommand(Command::new("runs").about("List past runs, the newest first; -v shows their arguments"))
            .subcommand(
                Command::new("close")
                    .about("Close a run that is unfinished, so that nobody goes on with it; what it has changed stays")
                    .arg(
                        Arg::new("run")
                            .value_name("RUN")
                            .required(true)
                            .value_parser(run_number)
                            .help("The run, as migrate repair runs lists it"),
                    ),
            )
            .subcommand(Undo::augment_args(Command::new(UNDO)).about(
                "Give the rows that a run has changed what they had before, where nobody has changed them since",
            ))
            .subcommand_required(true)
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(_: &str) -> bool {
        true
    }
}

impl FromArgMatches for Repair {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match matches.subcommand() {
            Some(("list", _)) => Ok(Self::List),
            Some(("runs", _)) => Ok(Self::Runs),
            Some(("close", matches)) => Ok(Self::Close(matches.get_one("run").copied().unwrap_or_default())),
            Some((UNDO, matches)) => Ok(Self::Undo(Box::new(Undo::from_arg_matches(matches)?))),
            Some((name, matches)) => Ok(Self::Named(name.to_owned(), Box::new(matches.clone()))),
            None => Err(clap::Error::raw(ErrorKind::MissingSubcommand, "which repair?")),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Adds a subcommand for each repair there is.
pub(super) fn augment(command: Command, repairs: &Repairs) -> Command {
    repairs.list().fold(command, |command, (name, about, sort)| {
        let mut repair = repairs.augment(name, Command::new(name));
        repair = match sort {
            Sort::Corrects => Execution::augment_args(repair),
            Sort::Rebuilds => Rebuilding::augment_args(repair),
        };
        if repairs.feeds_rollup(name) {
            repair = RollupArgs::augment_args(repair);
        }
        // Flattened flags bring a description of their own along.
        command.subcommand(repair.about(about).long_about(None::<&str>))
    })
}

impl Execution {
    fn pacing(&self, lock_wait: Duration, rebuild_rollup: bool) -> Pacing {
        Pacing {
            batch_size: self.batch_size,
            sleep_between_batches: self.sleep_between_batches,
            max_runtime: self.max_runtime,
            max_lag: self.max_lag,
            lock_wait,
            rebuild_rollup,
            beside: self.beside,
            with_lines: self.report.is_some(),
        }
    }

    /// The report's file. Whether it can be written must not turn out at the end.
    fn report(&self) -> Result<Option<&Path>, Failure> {
        let Some(path) = self.report.as_deref() else { return Ok(None) };
        let was_there = path.exists();
        match std::fs::OpenOptions::new().create(true).append(true).open(path) {
            Ok(_) => {
                if !was_there {
                    // Should there be nothing to report, nothing is left behind.
                    let _ = std::fs::remove_file(path);
                }
                Ok(Some(path))
            }
            Err(error) => Err(Failure::usage(format!("the report cannot be written to {}: {error}", path.display()))),
        }
    }
}

/// What a finding is about, for whoever shows it.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    /// The repair, or `undo`.
    pub name: &'a str,
    pub arguments: &'a Value,
    pub rows: &'a Rows,
    pub database: &'a Database,
    pub pacing: &'a Pacing,
    /// The run to be undone.
    pub undoes: Option<i64>,
}

impl<'a> Subject<'a> {
    fn of_undo(rows: &'a Rows, database: &'a Database, pacing: &'a Pacing, run: i64) -> Self {
        Self { name: UNDO, arguments: &Value::Null, rows, database, pacing, undoes: Some(run) }
    }

    /// The command that selects these rows and goes about it in this way.
    pub fn command(&self) -> String {
        let mut command = command(self.name, self.arguments);
        if let Some(run) = self.undoes {
            command = format!("{command} {run}");
        }
        let Pacing { batch_size, sleep_between_batches, max_runtime, max_lag, rebuild_rollup, .. } = self.pacing;
        let usual = Pacing::default();
        if *batch_size != usual.batch_size {
            command.extend([" --batch-size ", &batch_size.to_string()]);
        }
        let pause = (!sleep_between_batches.is_zero()).then_some(*sleep_between_batches);
        for (flag, duration) in
            [(" --sleep-between-batches ", pause), (" --max-runtime ", *max_runtime), (" --max-lag ", *max_lag)]
        {
            if let Some(duration) = duration {
                // One word: the flag takes no spaces.
                let duration = humantime::format_duration(duration).to_string().replace(' ', "");
                command.extend([flag, &duration]);
            }
        }
        if *rebuild_rollup != usual.rebuild_rollup && self.rows.feeds_rollup {
            command += " --rebuild-rollup false";
        }
        command
    }
}

/// The command that goes on with a run.
pub(super) fn command_of(run: &Unfinished) -> String {
    match run.arguments.get("run") {
        Some(undone) if run.repair == UNDO => format!("migrate repair undo {undone} --execute"),
        _ => format!("{} --execute", command(&run.repair, &run.arguments)),
    }
}

/// The command for a repair with these arguments.
fn command(name: &str, arguments: &Value) -> String {
    let mut command = format!("migrate repair {name}");
    for (name, value) in arguments.as_object().into_iter().flatten() {
        let flag = format!(" --{}", name.replace('_', "-"));
        match value {
            Value::Null | Value::Bool(false) => {}
            Value::Bool(true) => command += &flag,
            Value::String(text) => command.extend([&flag, " ", text]),
            other => command.extend([&flag, " ", &other.to_string()]),
        }
    }
    command
}

impl Repair {
    /// Whether nothing but what is shown comes of it.
    pub fn only_shows(&self) -> bool {
        match self {
            Self::List | Self::Runs => true,
            Self::Close(_) => false,
            Self::Undo(undo) => !undo.execution.execute,
            Self::Named(_, matches) => !matches.get_flag("execute"),
        }
    }

    pub async fn run(&self, repairer: &Repairer, renderer: &Renderer, lock_wait: Duration) -> Result<u8, Failure> {
        match self {
            Self::List => {
                renderer.repairs(repairer.repairs());
                Ok(exit::OK)
            }
            Self::Runs => {
                if renderer.is_json() {
                    repairer.runs(None, &mut |run| renderer.repair_run(&run)).await?;
                } else {
                    let mut newest = Vec::new();
                    let all = repairer.runs(Some(RUNS_SHOWN), &mut |run| newest.push(run)).await?;
                    renderer.repair_runs(&newest, all.saturating_sub(newest.len() as u64));
                }
                Ok(exit::OK)
            }
            Self::Close(run) => {
                let (closed, can_be_undone) = repairer.close(*run, lock_wait).await?;
                renderer.repair_closed(&closed, can_be_undone);
                Ok(exit::OK)
            }
            Self::Undo(undo) => Box::pin(undo.run(repairer, renderer, lock_wait)).await,
            Self::Named(name, matches) => Box::pin(named(name, matches, repairer, renderer, lock_wait)).await,
        }
    }
}

async fn named(
    name: &str,
    matches: &ArgMatches,
    repairer: &Repairer,
    renderer: &Renderer,
    lock_wait: Duration,
) -> Result<u8, Failure> {
    let usage = |error: clap::Error| Failure::usage(error.to_string());
    let arguments = repairer.repairs().read(name, matches).map_err(usage)?;
    let Some(rows) = repairer.repairs().rows(name) else {
        let rebuilding = Rebuilding::from_arg_matches(matches).map_err(usage)?;
        return rebuild(name, &arguments, &rebuilding, repairer, renderer, lock_wait).await;
    };
    let execution = Execution::from_arg_matches(matches).map_err(usage)?;
    let rebuild_rollup = !rows.feeds_rollup || RollupArgs::from_arg_matches(matches).map_err(usage)?.rebuild_rollup;
    let pacing = execution.pacing(lock_wait, rebuild_rollup);
    let report = execution.report()?;
    let subject = Subject {
        name,
        arguments: &arguments,
        rows: &rows,
        database: repairer.database(),
        pacing: &pacing,
        undoes: None,
    };
    if execution.execute {
        let executed = repairer.execute(name, &arguments, execution.expect.as_deref(), &pacing).await?;
        executed_rows(&executed, &subject, report, renderer)
    } else {
        let mut on_line = |_: &Rows, line: &Line| renderer.finding_line(line, &subject);
        let finding = repairer.look_and_tell(name, &arguments, lock_wait, &mut on_line).await?;
        shown(&finding, &subject, report, renderer)
    }
}

impl Undo {
    async fn run(&self, repairer: &Repairer, renderer: &Renderer, lock_wait: Duration) -> Result<u8, Failure> {
        let Self { run, execution, rollup } = self;
        let pacing = execution.pacing(lock_wait, rollup.rebuild_rollup);
        let report = execution.report()?;
        let (database, pacing) = (repairer.database(), &pacing);
        if execution.execute {
            let (rows, executed) = repairer.undo(*run, execution.expect.as_deref(), pacing).await?;
            executed_rows(&executed, &Subject::of_undo(&rows, database, pacing, *run), report, renderer)
        } else {
            let mut on_line =
                |rows: &Rows, line: &Line| renderer.finding_line(line, &Subject::of_undo(rows, database, pacing, *run));
            let (rows, finding) = repairer.undo_dry_run_and_tell(*run, lock_wait, &mut on_line).await?;
            shown(&finding, &Subject::of_undo(&rows, database, pacing, *run), report, renderer)
        }
    }
}

fn shown(finding: &Finding, subject: &Subject, report: Option<&Path>, renderer: &Renderer) -> Result<u8, Failure> {
    renderer.finding(finding, subject);
    write_report(report, finding, None, subject, renderer)?;
    Ok(exit::OK)
}

fn executed_rows(
    executed: &Executed,
    subject: &Subject,
    report: Option<&Path>,
    renderer: &Renderer,
) -> Result<u8, Failure> {
    match executed {
        Executed::NothingToDo(finding) => {
            renderer.nothing_to_repair(finding, subject);
            // What is in that file may be the report of the run that left nothing to do.
            renderer.nothing_to_report(report);
            Ok(exit::OK)
        }
        Executed::Done(finding, repaired) => {
            renderer.repaired(repaired, subject);
            write_report(report, finding, Some(repaired), subject, renderer)?;
            Ok(if repaired.had_to_leave() { exit::ROWS_LEFT } else { exit::OK })
        }
    }
}

fn write_report(
    path: Option<&Path>,
    finding: &Finding,
    repaired: Option<&Repaired>,
    subject: &Subject,
    renderer: &Renderer,
) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let page = Report { finding, repaired, subject }.page();
    std::fs::write(path, page).map_err(|error| {
        Failure::new(exit::FAILED, format!("the report could not be written to {}: {error}", path.display()))
    })?;
    renderer.report_written(path);
    Ok(())
}

async fn rebuild(
    name: &str,
    arguments: &Value,
    rebuilding: &Rebuilding,
    repairer: &Repairer,
    renderer: &Renderer,
    lock_wait: Duration,
) -> Result<u8, Failure> {
    let pacing = Pacing { sleep_between_batches: rebuilding.sleep_between_slices, lock_wait, ..Pacing::default() };
    if !rebuilding.execute {
        renderer.rebuild_forecast(name, &command(name, arguments), &repairer.forecast(name, arguments).await?);
        return Ok(exit::OK);
    }
    match repairer.rebuild(name, arguments, &pacing).await? {
        Rebuilt::Done(run, outcome) => renderer.rebuilt(name, run, &outcome),
        Rebuilt::NothingToDo(reason) => renderer.rebuild_forecast(name, "", &Forecast::nothing(reason)),
    }
    Ok(exit::OK)
}
