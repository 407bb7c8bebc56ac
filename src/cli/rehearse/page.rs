//! The result as a page.

use std::time::Duration;

use maud::{Markup, html};

use super::report::{CANNOT_SEE, Report, bytes, sentences, verdict};
use crate::engine::{Measured, Part, Passed, Rehearsal, TableLock, TableWork, WayBack};
use crate::lines::rehearsed;
use crate::page::{document, fact};
use crate::words::{short, utc};

/// Lines of a difference that are shown.
const LINES: usize = 1000;

pub(super) fn page(rehearsal: &Rehearsal, report: &Report) -> String {
    let content = html! {
        "\n" h1 { "Rehearsal of set " (report.set) }
        (head(rehearsal))
        (about(rehearsal, report))
        (part(Part::Up, &rehearsal.up))
        @if let WayBack::Run(back) = &rehearsal.back { (part(Part::Back, back)) }
        @if let Some(again) = &rehearsal.again { (part(Part::Again, again)) }
        @for (what, diff) in ["after the way back", "after the second run"].into_iter().zip(&report.differences) {
            @if let Some(diff) = diff { (difference(what, diff)) }
        }
        "\n" h2 { "What was sent" }
        "\n" ol { @for sent in &rehearsal.intent.sends {
            "\n" li { b { (sent.title) } @for note in &sent.notes { br; span.soft { (note) } } }
        } }
        "\n" p.note { (CANNOT_SEE) }
    };
    document(&format!("Rehearsal of set {}", report.set), &content)
}

fn head(rehearsal: &Rehearsal) -> Markup {
    let (class, words) = match verdict(rehearsal) {
        "passed" if rehearsal.is_back() == Some(true) => ("verdict", "Passed"),
        "passed" => ("verdict mild", "Passed, without the way back"),
        "differs" => ("verdict mild", "Not passed: the schema differs"),
        _ => ("verdict bad", "Failed"),
    };
    html! {
        "\n" div class=(class) {
            b { (words) }
            @for (_, said) in sentences(rehearsal) { p { (capital(&said)) "." } }
            @if let Some((part, error)) = rehearsal.error() { pre { (rehearsed(part)) ": " (error) } }
        }
    }
}

fn about(rehearsal: &Rehearsal, report: &Report) -> Markup {
    html! {
        "\n" dl {
            (fact("Database", &report.database))
            (fact("Begun", &format!("{} UTC", utc(report.started))))
            @for (what, value) in rehearsal.intent.subject.iter().filter(|(what, _)| *what != "set") {
                (fact(match *what { "from" => "Version before", "to" => "Version after", what => what }, value))
            }
            (fact("Digest of the plan", &rehearsal.intent.digest()))
        }
    }
}

fn part(which: Part, passed: &Passed) -> Markup {
    html! {
        "\n" h2 { (capital(rehearsed(which))) ", " (short(passed.duration)) }
        "\n" div.scroll { table.numbers {
            tr { th { "step" } th { "time" } th { "WAL" } th { "temporary files" } th { "reads blocked" } th { "writes blocked" } }
            @for step in &passed.steps {
                "\n" tr {
                    td { (step.title) @if !step.finished { ": " b { "not finished" } } }
                    td { (short(step.duration)) }
                    td { (bytes(step.wal_bytes)) }
                    td { (bytes(step.temp_bytes)) }
                    td { (longest(step, |lock| lock.blocked_reads_at_most)) }
                    td { (longest(step, |lock| lock.blocked_writes_at_most)) }
                }
            }
        } }
        // The second time, it does the same.
        @if which != Part::Again { @for step in &passed.steps { (details(step)) } }
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// For how long a table was blocked, of all the one for longest.
fn longest(step: &Measured, blocked: impl Fn(&TableLock) -> Duration) -> String {
    match step.locks.iter().map(blocked).max() {
        Some(longest) if !longest.is_zero() => short(longest),
        _ if !step.seen_at_commit => "not seen".to_owned(),
        _ => "no".to_owned(),
    }
}

fn details(step: &Measured) -> Markup {
    html! {
        @if !step.locks.is_empty() || !step.tables.is_empty() {
            "\n" h3 { (step.title) }
        }
        @if !step.locks.is_empty() {
            "\n" div.scroll { table.numbers {
                tr { th { "locked table" } th.text { "strongest lock" } th { "held for at most" } th { "reads blocked" } th { "writes blocked" } }
                @for lock in &step.locks {
                    "\n" tr {
                        td { (lock.table) } td.text { (lock.strongest) } td { (short(lock.held_at_most)) }
                        @for blocked in [lock.blocked_reads_at_most, lock.blocked_writes_at_most] {
                            td { @if blocked.is_zero() { "no" } @else { (short(blocked)) } }
                        }
                    }
                }
            } }
            @if !step.seen_at_commit { "\n" p.note { "A lock that was held for a few milliseconds may be missing here." } }
        }
        @if !step.tables.is_empty() {
            "\n" div.scroll { table.numbers {
                tr { th { "table" } th.text { "what became of it" } th { "rows read by scans" } th { "inserted" } th { "updated" } th { "deleted" } }
                @for work in &step.tables {
                    "\n" tr {
                        td { (work.table) } td.text.long { (became(work)) }
                        td { (crate::db::grouped(work.rows_read)) }
                        @for rows in [work.inserted, work.updated, work.deleted] { td { (crate::db::grouped(rows)) } }
                    }
                }
            } }
        }
    }
}

fn became(work: &TableWork) -> String {
    let what = [(work.created, "created"), (work.dropped, "dropped"), (work.rewritten, "rewritten or emptied")];
    let words = what.into_iter().filter(|(is, _)| *is).map(|(_, word)| word.to_owned());
    let all: Vec<String> = words.chain(work.indexes_built.iter().map(|index| format!("index {index} built"))).collect();
    if all.is_empty() { "kept".to_owned() } else { all.join(", ") }
}

fn difference(what: &str, diff: &str) -> Markup {
    html! {
        "\n" h2 { "What the schema " (what) " differs in" }
        "\n" pre {
            @for line in diff.lines().take(LINES) {
                @let class = match line.as_bytes().first() { Some(b'+') => "add", Some(b'-') => "del", Some(b'@') => "at", _ => "" };
                span class=(class) { (line) } "\n"
            }
        }
    }
}
