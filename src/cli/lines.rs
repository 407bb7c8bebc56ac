//! Lines that several commands show.

use std::time::Duration;

use super::output::out;
use super::text::{BOLD, DIM, RESET, text};
use super::words::{count, short, utc};
use crate::engine::{Adopted, LeftAlone, Part};

/// A repeatable file that is not applied.
pub(crate) fn left_alone_text(left_alone: &LeftAlone) -> String {
    let LeftAlone { file, reason } = left_alone;
    format!(
        "{file} was not applied: {reason}, which this build does not know; upgrade to a newer build of this program"
    )
}

/// One step: its kind, its name, its duration, and a note.
pub(crate) fn step(kind: &str, name: &str, duration: Option<Duration>, note: &str) {
    let duration = duration.map(short).unwrap_or_default();
    out(text!("  {BOLD}{kind:<5}{RESET} {name:<36} {duration:>8}  {note}").trim_end());
}

/// The versions that an older migrator applied, and whose objects were checked.
pub(crate) fn adopted(ledger: &str, checked: bool, versions: &[Adopted], verbose: bool) {
    let (Some(first), Some(last)) = (versions.first(), versions.last()) else { return };
    let range = if first.version == last.version {
        first.version.label()
    } else {
        format!("{} to {}", first.version.label(), last.version.label())
    };
    let found = if checked { ", all objects found" } else { "" };
    let note = format!("{} recorded in {ledger}{found}", count(versions.len(), "version"));
    step("adopt", &range, None, &note);
    if verbose {
        for adopted in versions {
            let Adopted { version, name, recorded_as, at } = adopted;
            let line = format!("{} {name}: {}, {}", version.label(), recorded_as.join(", "), utc(*at));
            out(text!("        {DIM}{line}{RESET}"));
        }
    }
}

/// The versions that are recorded as applied because the operator says so.
pub(crate) fn baselined(versions: &[Adopted]) {
    let (Some(first), Some(last)) = (versions.first(), versions.last()) else { return };
    let range = match versions.len() {
        1 => first.version.label(),
        _ => format!("{} to {}", first.version.label(), last.version.label()),
    };
    step("base", &range, None, "recorded as applied, not run");
}

/// A part of a rehearsal.
pub(crate) fn rehearsed(part: Part) -> &'static str {
    match part {
        Part::Up => "the run",
        Part::Back => "the way back",
        Part::Again => "the run again",
    }
}
