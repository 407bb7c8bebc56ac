//! `migrate repair`.

mod args;
mod human;
mod json;
mod report;
mod taken_out;

use std::path::Path;
use std::time::Duration;

use clap::{ArgMatches, FromArgMatches};
use serde_json::Value;

use self::args::{Execution, Rebuilding, Undo, refreshes};
use self::report::Report;
use super::evidence::EvidenceFlag;
use super::exit;
use super::failure::Failure;
use super::repair_command::Subject;
use super::screen::Screen;
use crate::engine::Forecast;
use crate::repair::{self, Executed, Finding, Line, Pacing, Rebuilt, Repaired, Repairer, Repairs, Rows, UNDO};

pub(super) use self::args::{augment, command};

/// How many past runs human output shows.
const RUNS_SHOWN: i64 = 100;

/// The arguments of `migrate repair`.
pub(super) enum Repair {
    List,
    Runs,
    Close(i64),
    Undo(Box<Undo>, Box<ArgMatches>),
    Named(String, Box<ArgMatches>, EvidenceFlag),
}

/// Names the repairs.
pub(super) fn list(repairs: &Repairs, screen: &Screen) {
    screen.show(|| human::repairs(repairs), |to| json::repairs(repairs, to));
}

impl Repair {
    pub fn read(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(match matches.subcommand() {
            Some(("runs", _)) => Self::Runs,
            Some(("close", matches)) => Self::Close(matches.get_one("run").copied().unwrap_or_default()),
            Some((UNDO, matches)) => Self::Undo(Box::new(Undo::from_arg_matches(matches)?), Box::new(matches.clone())),
            Some(("list", _)) | None => Self::List,
            Some((name, matches)) => {
                let evidence = EvidenceFlag::from_arg_matches(matches)?;
                Self::Named(name.to_owned(), Box::new(matches.clone()), evidence)
            }
        })
    }

    /// Whether the command only shows something.
    pub fn only_shows(&self) -> bool {
        match self {
            Self::List | Self::Runs => true,
            Self::Close(_) => false,
            Self::Undo(undo, _) => !undo.execution.execute,
            Self::Named(_, matches, _) => !matches.get_flag("execute"),
        }
    }

    /// The flag that asks for evidence, where there is one.
    pub fn evidence(&self) -> Option<&EvidenceFlag> {
        match self {
            Self::List | Self::Runs | Self::Close(_) => None,
            Self::Undo(undo, _) => Some(&undo.execution.evidence),
            Self::Named(_, _, evidence) => Some(evidence),
        }
    }

    pub async fn run(&self, repairer: &Repairer, screen: &Screen, lock_wait: Duration) -> Result<u8, Failure> {
        match self {
            Self::List => list(repairer.repairs(), screen),
            Self::Runs if screen.is_json() => {
                repairer.runs(None, &mut |run| screen.json("repair_run", &run)).await?;
            }
            Self::Runs => {
                let mut newest = Vec::new();
                let all = repairer.runs(Some(RUNS_SHOWN), &mut |run| newest.push(run)).await?;
                human::runs(&newest, all.saturating_sub(newest.len() as u64), screen.is_verbose());
            }
            Self::Close(run) => {
                let (run, can_be_undone) = repairer.close(*run, lock_wait).await?;
                screen.show(
                    || human::closed(&run, can_be_undone, screen.program()),
                    |to| json::closed(&run, can_be_undone, to),
                );
            }
            Self::Undo(undo, matches) => {
                let refresh = refreshes(matches, repairer.repairs());
                return Box::pin(undo.run(repairer, screen, lock_wait, refresh)).await;
            }
            Self::Named(name, matches, _) => return Box::pin(named(name, matches, repairer, screen, lock_wait)).await,
        }
        Ok(exit::OK)
    }
}

async fn named(
    name: &str,
    matches: &ArgMatches,
    repairer: &Repairer,
    screen: &Screen,
    lock_wait: Duration,
) -> Result<u8, Failure> {
    let usage = |error: clap::Error| Failure::usage(error.to_string());
    let repairs = repairer.repairs();
    let arguments = repairs.read(name, matches).map_err(usage)?;
    let Some(listed) = repairs.list().find(|listed| listed.repair == name) else {
        return Err(Failure::usage(format!("this set has no repair {name}")));
    };
    let Some(rows) = listed.rows else {
        let rebuilding = Rebuilding::from_arg_matches(matches).map_err(usage)?;
        return rebuild(name, &arguments, &rebuilding, repairer, screen, lock_wait).await;
    };
    let execution = Execution::from_arg_matches(matches).map_err(usage)?;
    let pacing = execution.pacing(lock_wait, refreshes(matches, repairs));
    let report = execution.report()?;
    let subject = Subject {
        name,
        arguments: &arguments,
        program: screen.program(),
        rows: &rows,
        database: repairer.database(),
        pacing: &pacing,
        undoes: None,
    };
    if execution.execute {
        let executed = Box::pin(repairer.execute(name, &arguments, execution.expect.as_deref(), &pacing)).await?;
        executed_rows(&executed, &subject, report, screen)
    } else {
        let mut on_line = |_: &Rows, line: &Line| json::line(line, &subject, screen);
        let finding = repairer.look(name, &arguments, &pacing, &mut on_line).await?;
        shown(&finding, &subject, report, screen)
    }
}

impl Undo {
    async fn run(
        &self,
        repairer: &Repairer,
        screen: &Screen,
        lock_wait: Duration,
        refresh: bool,
    ) -> Result<u8, Failure> {
        let Self { run, execution } = self;
        let pacing = execution.pacing(lock_wait, refresh);
        let report = execution.report()?;
        let (program, database, pacing) = (screen.program(), repairer.database(), &pacing);
        if let Some(moved) =
            repairer.undo_insertion(*run, execution.execute, execution.expect.as_deref(), pacing).await?
        {
            taken_out::taken_out(&moved, screen);
            return Ok(exit::OK);
        }
        if execution.execute {
            let (rows, executed) = Box::pin(repairer.undo(*run, execution.expect.as_deref(), pacing)).await?;
            executed_rows(&executed, &Subject::of_undo(program, &rows, database, pacing, *run), report, screen)
        } else {
            let mut on_line = |rows: &Rows, line: &Line| {
                json::line(line, &Subject::of_undo(program, rows, database, pacing, *run), screen);
            };
            let (rows, finding) = repairer.undo_dry_run(*run, pacing, &mut on_line).await?;
            shown(&finding, &Subject::of_undo(program, &rows, database, pacing, *run), report, screen)
        }
    }
}

fn shown(finding: &Finding, subject: &Subject, report: Option<&Path>, screen: &Screen) -> Result<u8, Failure> {
    screen.show(|| human::finding(finding, subject, screen.is_verbose()), |to| json::finding(finding, subject, to));
    write_report(report, finding, None, subject, screen)?;
    Ok(exit::OK)
}

fn executed_rows(
    executed: &Executed,
    subject: &Subject,
    report: Option<&Path>,
    screen: &Screen,
) -> Result<u8, Failure> {
    match executed {
        Executed::NothingToDo(finding) => {
            screen.show(|| human::nothing_done(finding, subject), |to| json::nothing_to_repair(finding, subject, to));
            // Keeps the file: it may be the report of the run that repaired everything.
            if let Some(report) = report {
                screen.report(report, false);
            }
            Ok(exit::OK)
        }
        Executed::Done(finding, repaired) => {
            if let Some(log) = screen.log() {
                json::repaired(repaired, subject, log);
            }
            screen.show(
                || human::repaired(repaired, subject, screen.is_quiet()),
                |to| json::repaired(repaired, subject, to),
            );
            write_report(report, finding, Some(repaired), subject, screen)?;
            Ok(if repaired.had_to_leave() { exit::ROWS_LEFT } else { exit::OK })
        }
    }
}

fn write_report(
    path: Option<&Path>,
    finding: &Finding,
    repaired: Option<&Repaired>,
    subject: &Subject,
    screen: &Screen,
) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let page = Report { finding, repaired, subject }.page();
    std::fs::write(path, page).map_err(|error| {
        Failure::new(exit::FAILED, format!("could not write the report to {}: {error}", path.display()))
    })?;
    screen.report(path, true);
    Ok(())
}

async fn rebuild(
    name: &str,
    arguments: &Value,
    rebuilding: &Rebuilding,
    repairer: &Repairer,
    screen: &Screen,
    lock_wait: Duration,
) -> Result<u8, Failure> {
    let pacing = Pacing { sleep_between_batches: rebuilding.sleep_between_slices, lock_wait, ..Pacing::default() };
    if !rebuilding.execute {
        let command = repair::command(screen.program(), name, arguments).unwrap_or_default();
        forecast(name, &command, &repairer.forecast(name, arguments).await?, screen);
        return Ok(exit::OK);
    }
    match repairer.rebuild(name, arguments, &pacing).await? {
        Rebuilt::Done(run, outcome) => {
            if let Some(log) = screen.log() {
                json::rebuilt(name, run, &outcome, log);
            }
            screen.show(|| human::rebuilt(run, &outcome), |to| json::rebuilt(name, run, &outcome, to));
        }
        Rebuilt::NothingToDo(reason) => forecast(name, "", &Forecast::nothing(reason), screen),
    }
    Ok(exit::OK)
}

fn forecast(name: &str, command: &str, forecast: &Forecast, screen: &Screen) {
    screen.show(|| human::rebuild_forecast(command, forecast), |to| json::rebuild_forecast(name, forecast, to));
}
