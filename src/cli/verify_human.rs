//! The text output of `migrate verify history` and `migrate verify schema`.

use super::lines::left_alone_text;
use super::output::out;
use super::text::{DIM, RED, RESET, Text, YELLOW, text};
use super::words::count;
use crate::db::Program;
use crate::engine::{Check, Problem, Verified};

pub(super) fn verified(found: &Verified, verbose: bool, program: &Program) {
    for problem in &found.problems {
        out(problem_text(problem, found.check));
        for (label, text) in [("expected", &problem.expected), ("found", &problem.found)] {
            if let Some(text) = text.as_ref().filter(|_| verbose) {
                out(text!("        {DIM}{label}: {}{RESET}", Text::lines(text, 10, usize::MAX)));
            }
        }
        if let Some(remedy) = &problem.remedy {
            out(text!("        next: {}", remedy.text(program)));
        }
    }
    for left_alone in &found.left_alone {
        out(text!("{YELLOW}schema:{RESET} {}", left_alone_text(left_alone)));
    }
    for warning in &found.warnings {
        out(text!("{YELLOW}schema:{RESET} {}", warning.what));
        out(text!("        next: {}", warning.remedy));
    }
    let problems = count(found.problems.len(), "problem");
    out(match found.check {
        Check::History => {
            let versions = count(found.checked, "version");
            let adopted = match found.adopted {
                0 => String::new(),
                adopted => format!(", {adopted} of them adopted"),
            };
            let to_adopt = match found.to_adopt {
                0 => String::new(),
                to_adopt => format!("; {to_adopt} to adopt from an older migrator"),
            };
            if found.problems.is_empty() {
                format!("history: {versions}{adopted}, as they were applied{to_adopt}")
            } else {
                format!("history: {problems} in {versions}{adopted}{to_adopt}")
            }
        }
        Check::Schema if found.checked == 0 && found.problems.is_empty() => {
            "schema: nothing to compare, no object of an applied version is described".to_owned()
        }
        Check::Schema if found.problems.is_empty() => {
            format!("schema: {}, as they should be", count(found.checked, "object"))
        }
        Check::Schema => format!("schema: {problems} in {}", count(found.checked, "object")),
    });
}

fn problem_text(problem: &Problem, check: Check) -> Text {
    let Problem { object, what, recorded_as, .. } = problem;
    match check {
        Check::History => text!("{RED}history:{RESET} {what}"),
        Check::Schema if recorded_as.is_empty() => text!("{RED}schema:{RESET} {object} {what}"),
        Check::Schema => text!("{RED}schema:{RESET} {object} {what} {DIM}({recorded_as}){RESET}"),
    }
}
