//! The result on the screen.

use super::report::{CANNOT_SEE, Report, bytes, lines, sentences};
use crate::engine::{Part, Passed, Rehearsal, WayBack};
use crate::lines::rehearsed;
use crate::output::out;
use crate::screen::Screen;
use crate::snapshot::line;
use crate::text::{BOLD, DIM, RED, RESET, YELLOW, text};
use crate::words::{count, short};

/// Lines of a difference that are shown.
const SHOWN: usize = 40;

pub(super) fn show(rehearsal: &Rehearsal, report: &Report, screen: &Screen) {
    let verbose = screen.is_verbose();
    part(Part::Up, &rehearsal.up, verbose);
    if let WayBack::Run(back) = &rehearsal.back {
        part(Part::Back, back, verbose);
    }
    if let Some(again) = &rehearsal.again {
        part(Part::Again, again, verbose);
    }
    for (is_right, said) in sentences(rehearsal) {
        out(if is_right { text!("{said}") } else { text!("{RED}{said}{RESET}") });
    }
    for difference in report.differences.iter().flatten() {
        difference.lines().take(SHOWN).for_each(|said| out(line(said)));
        let left = difference.lines().count().saturating_sub(SHOWN);
        if left > 0 {
            out(text!("{DIM}and {}; --output has all{RESET}", count(left, "more line")));
        }
    }
    screen.aside(CANNOT_SEE);
    if rehearsal.passed() {
        out(text!("rehearsed on {}: passed; the plan's digest is {}", report.database, rehearsal.intent.digest()));
    } else {
        out(text!("rehearsed on {}: {RED}not passed{RESET}", report.database));
    }
}

fn part(which: Part, passed: &Passed, verbose: bool) {
    out(text!("{BOLD}{}{RESET}, {}", rehearsed(which), short(passed.duration)));
    for step in &passed.steps {
        let mut cost = vec![short(step.duration), format!("{} WAL", bytes(step.wal_bytes))];
        if step.temp_bytes > 0 {
            cost.push(format!("{} of temporary files", bytes(step.temp_bytes)));
        }
        let ended = if step.finished { "" } else { ", not finished" };
        out(text!("  {BOLD}{}{RESET}  {}{YELLOW}{ended}{RESET}", step.title, cost.join(", ")));
        // The second time, it does the same.
        if which != Part::Again {
            for line in lines(step, verbose) {
                out(text!("      {line}"));
            }
        }
    }
}
