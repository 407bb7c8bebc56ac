//! An error as text.

use super::failure::Failure;
use super::output;
use super::text::{NL, RED, RESET, Text, text};
use crate::db::Program;

/// How many lines of each part of a server's report are shown.
pub(crate) const LINES_SHOWN: usize = 6;

/// What happened, the server's report, and what to do.
pub(super) fn failure(failure: &Failure, program: &Program) {
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
                // Cuts a long call stack to its innermost frames; JSON has all of it.
                text.push(&text!("{NL}  {label}: {}", Text::lines(value, 9, LINES_SHOWN)));
            }
        }
    }
    if let Some(hint) = failure.next(program) {
        // One line, if there is nothing but the message.
        let below = server.is_some() || !failure.problems.is_empty();
        text.push(&if below { text!("{NL}next: ") } else { text!("; ") });
        // The lines after the first are statements.
        let mut lines = hint.split("\n  ");
        text.push(&text!("{}", lines.next().unwrap_or_default()));
        lines.for_each(|statement| text.push(&text!("{NL}  {statement}")));
    }
    output::aside(text);
}
