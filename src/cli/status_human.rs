//! The text output of `migrate status`.

use super::output::out;
use super::text::{BOLD, DIM, PLAIN, RED, RESET, YELLOW, text};
use super::words::{count, utc};
use crate::db::Program;
use crate::engine::{HookRun, Refusal, RepeatableStatus, Status, StatusReport};

pub(super) fn status(report: &StatusReport, program: &Program) {
    let entries = &report.versions;
    let width = entries.iter().map(|entry| entry.name.chars().count()).max().unwrap_or(4).max(4);
    let time_head = "applied at (UTC)";
    let number = entries.iter().map(|entry| entry.version.to_string().chars().count()).max().unwrap_or(7).max(7);
    out(text!("{BOLD}{:>number$}  {:<width$}  {:<9}  {time_head}{RESET}", "version", "name", "state"));
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
            Status::NoFile { at } => ("applied", utc(*at), "  its file is gone".to_owned()),
            Status::Unknown { at } => ("unknown", utc(*at), "  this program has no such migration".to_owned()),
        };
        let color = match entry.status {
            Status::Applied { .. } | Status::Adopted { .. } | Status::NoFile { .. } => PLAIN,
            Status::Pending { .. } | Status::Adoptable { .. } => YELLOW,
            _ => RED,
        };
        let when = if at.is_empty() { note } else { format!("{:indent$}{at}{note}", "", indent = 11 - state.len()) };
        out(text!("{:>number$}  {:<width$}  {color}{state}{RESET}{when}", entry.version.to_string(), entry.name));
        let adopted = matches!(entry.status, Status::Adopted { .. } | Status::Adoptable { .. });
        for (hook, run) in entry.hooks.iter().filter(|(_, run)| !adopted || run.is_some()) {
            out(text!("{:number$}  {DIM}hook {hook}: {}{RESET}", "", last_run(run.as_ref())));
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
        out(text!("{:>number$}  {:<width$}  {color}{state}{RESET}{note}", "R", entry.name));
        for (hook, run) in &entry.hooks {
            let owed = if entry.owed.contains(hook) { ", not finished" } else { "" };
            if run.is_some() || !owed.is_empty() {
                out(text!("{:number$}  {DIM}hook {hook}: {}{owed}{RESET}", "", last_run(run.as_ref())));
            }
        }
    }
    let how_many = |wanted: fn(&Status) -> bool| entries.iter().filter(|entry| wanted(&entry.status)).count();
    let pending = how_many(|status| matches!(status, Status::Pending { .. }))
        + report.repeatables.iter().filter(|entry| entry.is_pending()).count();
    let adoptable = how_many(|status| matches!(status, Status::Adoptable { .. }));
    let drift = entries.iter().filter(|entry| entry.status.is_drift()).count();
    if let Some(Refusal(error)) = &report.refused {
        let hint = error.hint(program).map(|hint| format!("; {hint}")).unwrap_or_default();
        out(text!("{RED}{} would be refused: {error}{RESET}{hint}", program.up()));
        return;
    }
    match (pending, adoptable) {
        _ if report.out_of_step.is_some() => {
            let found = report.out_of_step.as_ref().map(ToString::to_string).unwrap_or_default();
            out(text!("{RED}{found}{RESET}; {} shows what to do", program.up()));
        }
        _ if drift > 0 => {
            let differ = if drift == 1 { "differs" } else { "differ" };
            let (versions, up) = (count(drift, "version"), program.up());
            out(text!("{versions} {differ} from this program's files; {up} shows how"));
        }
        (0, 0) => out("nothing is pending"),
        (_, 0) => out(text!("{} pending; {}", count(pending, "version"), program.run_up())),
        _ => out(text!("{} to adopt, {pending} pending; {}", count(adoptable, "version"), program.run_up())),
    }
}

fn last_run(run: Option<&HookRun>) -> String {
    let Some(run) = run else { return "has not run".to_owned() };
    let at = utc(run.finished_at.unwrap_or(run.started_at));
    let summary = run.summary.as_ref().map(|summary| format!(", {summary}")).unwrap_or_default();
    format!("{} {at}{summary}", run.state.as_str())
}
