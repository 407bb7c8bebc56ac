//! Repairs as text.

use std::io::IsTerminal;
use std::time::Duration;

use serde_json::Value;

use super::Subject;
use crate::db::{Holder, Program, grouped};
use crate::engine::{Forecast, Outcome};
use crate::output::{aside, out};
use crate::repair::{Derived, Finding, Lines, Refresh, Repaired, Repairer, Repairs, Run, RunState, Totals, UNDO};
use crate::text::{BOLD, DIM, PLAIN, RED, RESET, YELLOW, text};
use crate::words::{counted as number_of, short, sum, utc};

/// How many lines of a finding are shown on a screen.
const LINES_SHOWN: usize = 40;

fn rows(number: u64) -> String {
    number_of(number, "row")
}

/// A name as words: `input tokens removed`.
pub(super) fn spoken(name: &str) -> String {
    name.replace('_', " ")
}

pub(super) fn repairs(repairs: &Repairs) {
    let width = repairs.list().map(|listed| listed.repair.len()).max().unwrap_or(0);
    for listed in repairs.list() {
        out(text!("{BOLD}{:<width$}{RESET}  {}", listed.repair, listed.about));
    }
    if repairs.list().next().is_none() {
        out("there are no repairs");
    }
}

pub(super) fn runs(runs: &[Run], more: u64, verbose: bool) {
    if runs.is_empty() {
        out("no repair has run in this database");
        return;
    }
    let width = runs.iter().map(|run| named(run).len()).max().unwrap_or(6).max(6);
    out(text!(
        "{BOLD}{:>4}  {:<19}  {:<width$}  {:<11}  {:>11}{RESET}",
        "run",
        "started (UTC)",
        "repair",
        "state",
        "rows"
    ));
    for run in runs {
        let color = match run.state {
            RunState::Done | RunState::Undone | RunState::Closed => PLAIN,
            RunState::Running | RunState::Stopped | RunState::Interrupted => YELLOW,
            RunState::Failed | RunState::Incomplete => RED,
        };
        let kept = run.totals.as_ref().and_then(|totals| totals.get("rows")).and_then(Value::as_u64);
        // After its end, the totals hold even if the journal is lost.
        let changed = kept.filter(|_| !run.state.is_unfinished()).or(Some(run.rows_done.unsigned_abs()));
        let changed = match changed {
            Some(changed) if changed != run.rows_found.unsigned_abs() && run.rows_found > 0 => {
                format!("{} of {}", grouped(changed), grouped(run.rows_found.unsigned_abs()))
            }
            Some(changed) => grouped(changed),
            None => grouped(run.rows_found.unsigned_abs()),
        };
        out(text!(
            "{:>4}  {:<19}  {:<width$}  {color}{:<11}{RESET}  {changed:>11}",
            run.id,
            utc(run.started_at),
            named(run),
            run.state.as_str()
        ));
        if verbose {
            let from = run.run_from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
            let version = run.tool_version.as_ref().map(|version| format!(", migrate {version}")).unwrap_or_default();
            let ended = run.finished_at.map(|at| format!(", done {}", utc(at))).unwrap_or_default();
            out(text!("      {DIM}{}{RESET}", run.arguments));
            out(text!("      {DIM}by {}{from}{version}{ended}{RESET}", run.run_by));
            if let Some(totals) = &run.totals {
                out(text!("      {DIM}{totals}{RESET}"));
            }
        }
    }
    if more > 0 {
        out(text!("and {} older; --format json has them all", grouped(more)));
    }
}

fn named(run: &Run) -> String {
    run.undoes.map_or_else(|| run.repair.clone(), |undoes| format!("{} of run {undoes}", run.repair))
}

/// Columns of a table, each as wide as it has to be.
struct Table {
    widths: Vec<usize>,
}

impl Table {
    fn new(heads: &[String], lines: &[Vec<String>]) -> Self {
        let width = |at: usize| {
            let cells = lines.iter().filter_map(|line| line.get(at)).chain(heads.get(at));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        Self { widths: (0..heads.len()).map(width).collect() }
    }

    fn line(&self, cells: &[String]) -> String {
        let cells = cells.iter().zip(&self.widths).map(|(cell, width)| format!("{cell:>width$}"));
        format!("  {}", cells.collect::<Vec<_>>().join("  "))
    }
}

fn cells(day: &str, totals: &Totals, first: &str, last: &str, subject: &Subject) -> Vec<String> {
    let mut cells =
        vec![day.to_owned(), grouped(totals.rows), sum(totals.before), sum(totals.after), sum(moved(totals, subject))];
    if counted(subject).is_some() {
        cells.push(grouped(totals.counted));
    }
    cells.extend([first.to_owned(), last.to_owned()]);
    cells
}

/// The name of the counted condition; none in an undo.
fn counted(subject: &Subject) -> Option<&'static str> {
    subject.rows.counts.filter(|_| subject.undoes.is_none()).map(|counts| counts.name)
}

/// What a repair removes, or an undo restores.
fn moved(totals: &Totals, subject: &Subject) -> i128 {
    if subject.undoes.is_some() { -totals.removed() } else { totals.removed() }
}

/// The time of day: the line has the day already.
fn time_of_day(time: &str) -> String {
    time.get(11..19).unwrap_or(time).to_owned()
}

pub(super) fn finding(finding: &Finding, subject: &Subject, verbose: bool) {
    if finding.totals.rows == 0 {
        nothing_to_repair(subject);
    } else {
        table(&finding.lines, subject, verbose);
        total(&finding.totals, subject);
        if let Some(counted) = counted(subject) {
            out(text!("{:<22}{}", spoken(counted), grouped(finding.totals.counted)));
        }
    }
    since(finding.changed_since, finding.gone_since);
    if let Some(unfinished) = &finding.unfinished {
        let [done, total] = [unfinished.done, unfinished.total].map(grouped);
        out(text!(
            "{YELLOW}run {} with these arguments is unfinished ({done} of {total} rows); --execute continues it{RESET}",
            unfinished.id
        ));
    }
    if let Some(beside) = &finding.beside {
        let [done, total] = [beside.done, beside.total].map(grouped);
        let what = if beside.repair == UNDO { "run {}, an undo," } else { "run {} with other arguments" };
        out(text!(
            "{YELLOW}{} is unfinished ({done} of {total} rows){RESET}: continue it, or close it, first",
            what.replace("{}", &beside.id.to_string())
        ));
    }
    if finding.totals.rows == 0 && finding.unfinished.is_none() {
        long_transaction(finding.long_transaction.as_ref());
        return;
    }
    let columns: Vec<_> = subject
        .rows
        .corrects
        .iter()
        .map(|(column, _)| column.name)
        .chain(subject.rows.stamps.iter().copied())
        .collect();
    let batches = finding.totals.rows.div_ceil(u64::from(subject.pacing.batch_size));
    let found = rows(finding.totals.rows);
    let plural = if batches == 1 { "" } else { "s" };
    out(text!("{:<22}{found} of {} ({})", "would write", subject.rows.table, columns.join(", ")));
    out(text!("{:<22}{found} of migrate.repair_change, in {} transaction{plural}", "", grouped(batches)));
    if let Some(words) = subject.rows.derived.map(Derived::words) {
        let refresh = match finding.refresh {
            Refresh::Absent => format!("nothing: there is no {} yet; {} first", words.name, subject.program.run_up()),
            Refresh::Left { .. } | Refresh::NotConcerned => format!("nothing: left to {}", words.left_to),
            Refresh::Now => words.dependent.to_owned(),
        };
        out(text!("{:<22}{refresh}", words.would));
    }
    out(text!("{:<22}about {}, pauses included", "would take", whole(Repairer::estimate(finding, subject.pacing))));
    out(text!("{:<22}{BOLD}{}{RESET}", "digest", finding.digest));
    if finding.unfinished.is_some() {
        out("nothing was written; to continue, run");
        out(text!("  {} --execute", subject.command()));
    } else {
        out("nothing was written; to do exactly this, run");
        out(text!("  {} --execute --expect {}", subject.command(), finding.digest));
    }
    long_transaction(finding.long_transaction.as_ref());
}

fn whole(duration: Duration) -> String {
    humantime::format_duration(Duration::from_secs(duration.as_secs().max(1))).to_string()
}

fn table(lines: &Lines, subject: &Subject, verbose: bool) {
    let heads = if subject.undoes.is_some() {
        vec!["day (UTC)", "rows", "now", "then", "restored", "first", "last"]
    } else {
        let mut heads = vec!["day (UTC)", "rows", "before", "after", "removed"];
        heads.extend(counted(subject).and_then(|name| name.split('_').next()));
        heads.extend(["first", "last"]);
        heads
    };
    let heads: Vec<String> = heads.into_iter().map(str::to_owned).collect();
    let most = if verbose || !std::io::stdout().is_terminal() { usize::MAX } else { LINES_SHOWN };
    let text: Vec<Vec<String>> = lines
        .owners
        .iter()
        .flat_map(|owned| &owned.lines)
        .take(most)
        .map(|line| cells(&line.day, &line.totals, &time_of_day(&line.first), &time_of_day(&line.last), subject))
        .collect();
    let table = Table::new(&heads, &text);
    let what = subject.rows.owner.map_or("row", |owner| owner.name);
    let mut text = text.iter();
    for (at, owned) in lines.owners.iter().enumerate() {
        if text.len() == 0 {
            break;
        }
        if subject.rows.owner.is_some() {
            out(text!("{what} {BOLD}{}{RESET}", owned.owner.as_deref().unwrap_or("none")));
        }
        if at == 0 {
            out(text!("{DIM}{}{RESET}", table.line(&heads)));
        }
        text.by_ref().take(owned.lines.len()).for_each(|cells| out(table.line(cells)));
        if owned.more_days > 0 {
            out(text!("  {DIM}... and {} more days{RESET}", grouped(owned.more_days)));
        }
    }
    let left = lines.owners.iter().map(|owned| owned.lines.len()).sum::<usize>().saturating_sub(most);
    if left > 0 {
        let more = grouped(left as u64);
        out(text!("  {DIM}... and {more} more lines; -v or a pipe shows more, --format json has them all{RESET}"));
    }
    if lines.more_owners > 0 {
        let plural = if lines.more_owners == 1 { "" } else { "s" };
        out(text!(
            "and {} more {what}{plural}: {}, {} {}, {} {}; --format json has them all",
            grouped(lines.more_owners),
            rows(lines.more.rows),
            spoken(&subject.rows.names.before),
            sum(lines.more.before),
            if subject.undoes.is_some() { "restored".to_owned() } else { spoken(&subject.rows.names.removed) },
            sum(moved(&lines.more, subject)),
        ));
    }
    out("");
}

fn total(totals: &Totals, subject: &Subject) {
    let names = &subject.rows.names;
    out(text!("{BOLD}{:<22}{}{RESET}", "rows", grouped(totals.rows)));
    out(text!("{:<22}{}", spoken(&names.before), sum(totals.before)));
    out(text!("{:<22}{}", spoken(&names.after), sum(totals.after)));
    let name = if subject.undoes.is_some() { "restored".to_owned() } else { spoken(&names.removed) };
    out(text!("{name:<22}{}", sum(moved(totals, subject))));
}

fn since(changed: u64, gone: u64) {
    if changed > 0 {
        out(text!("{} changed since, left as {} now", rows(changed), if changed == 1 { "it is" } else { "they are" }));
    }
    if gone > 0 {
        out(text!("{} gone since", rows(gone)));
    }
}

fn nothing_to_repair(subject: &Subject) {
    out(match subject.undoes {
        Some(_) => "nothing to restore: no row is as that run left it",
        None => "nothing to repair: no row meets the condition",
    });
}

pub(super) fn nothing_done(finding: &Finding, subject: &Subject) {
    nothing_to_repair(subject);
    since(finding.changed_since, finding.gone_since);
    long_transaction(finding.long_transaction.as_ref());
}

pub(super) fn repaired(repaired: &Repaired, subject: &Subject, quiet: bool) {
    let Repaired { run, totals, .. } = repaired;
    let names = &subject.rows.names;
    let head = match repaired.state {
        RunState::Stopped => text!("{YELLOW}run {run} stopped{RESET}: it reached its time limit"),
        RunState::Incomplete => text!("{RED}run {run} is incomplete{RESET}"),
        _ => text!("{BOLD}run {run} done{RESET}"),
    };
    out(text!("{head} ({})", short(repaired.duration)));
    let verb = if subject.undoes.is_some() { "restored" } else { "repaired" };
    out(text!("{:<22}{}", format!("rows {verb}"), grouped(totals.rows)));
    out(text!("{:<22}{}", spoken(&names.before), sum(totals.before)));
    out(text!("{:<22}{}", spoken(&names.after), sum(totals.after)));
    if subject.undoes.is_none() {
        out(text!("{:<22}{}", spoken(&names.removed), sum(totals.removed())));
        if let Some(counted) = counted(subject) {
            out(text!("{:<22}{}", spoken(counted), grouped(totals.counted)));
        }
    }
    since(repaired.changed, repaired.gone);
    if let Some(words) = subject.rows.derived.map(Derived::words) {
        let refresh = match repaired.refresh {
            Refresh::Now => format!("{} written", number_of(repaired.refreshed, words.unit)),
            Refresh::Left { .. } | Refresh::NotConcerned => format!("left to {}", words.left_to),
            Refresh::Absent => "there is none yet".to_owned(),
        };
        out(text!("{:<22}{refresh}", words.name));
    }
    long_transaction(repaired.long_transaction.as_ref());
    left(repaired, subject);
    if subject.undoes.is_none() && totals.rows > 0 && !quiet {
        let undo = subject.program.command(&format!("repair undo {run}")).unwrap_or_default();
        aside(text!("{DIM}{undo} would undo it{RESET}"));
    }
}

/// Warns of a transaction whose writes are not visible yet. It is not an error.
fn long_transaction(holder: Option<&Holder>) {
    if let Some(holder) = holder {
        let look = "run this again when it has ended";
        out(text!("{YELLOW}{holder} has been writing since before the cutoff{RESET}; {look}"));
    }
}

pub(super) fn closed(run: &Run, can_be_undone: bool, program: &Program) {
    let [done, found] = [run.rows_done, run.rows_found].map(|rows| grouped(rows.unsigned_abs()));
    let id = run.id;
    let next = match (run.rows_done, can_be_undone) {
        (_, true) => {
            let undo = program.command(&format!("repair undo {id}")).unwrap_or_default();
            format!("; {undo} would undo it")
        }
        (0, false) => String::new(),
        (_, false) => " according to its journal, which is incomplete: it cannot be undone".to_owned(),
    };
    out(text!("{BOLD}run {id} closed{RESET}: {done} of {found} rows changed{next}"));
}

/// What is not repaired, and what to do about it.
fn left(repaired: &Repaired, subject: &Subject) {
    let again = "run the same command again to continue";
    if repaired.waiting > 0 {
        let why = match (repaired.state, &repaired.holder) {
            (RunState::Incomplete, Some(holder)) => format!("locked by others, one of them {holder}"),
            (RunState::Incomplete, None) => "locked by others".to_owned(),
            _ => "not reached".to_owned(),
        };
        out(text!("{RED}{} left{RESET}: {why}; {again}", rows(repaired.waiting)));
    }
    if repaired.left_over > 0 {
        out(text!(
            "{RED}{} still to be repaired{RESET}: written or changed during the run; run it again without --execute",
            rows(repaired.left_over)
        ));
    } else if repaired.waiting == 0 && subject.undoes.is_none() {
        out("no row is left to repair");
    }
}

pub(super) fn rebuild_forecast(command: &str, forecast: &Forecast) {
    if forecast.work {
        out(text!("would {}", forecast.summary));
        out(text!("nothing was written; {command} --execute does it"));
    } else {
        out(text!("nothing to do: {}", forecast.summary));
    }
}

pub(super) fn rebuilt(run: i64, outcome: &Outcome) {
    out(text!("{BOLD}run {run} done{RESET}: {}", outcome.summary));
}
