//! `index.html`: the verdict first, then each item. One page, without a network, to be printed.

use maud::{Markup, html};
use serde_json::Value;

use super::changes::Change;
use super::checks::{Checks, Outcome};
use super::plan::facts;
use super::run::{Run, Verdict};
use super::text::shape;
use crate::engine::{Intent, Sent};
use crate::page::{document, fact};
use crate::words::{count, short, utc};

/// Lines of one text that the page shows. The files have all of them.
const LINES: usize = 1200;
/// Lines of one line of the plan that the page shows.
const LINES_OF_SQL: usize = 200;

/// What the page is made of.
pub(super) struct Page<'a> {
    pub run: &'a Run,
    pub verdict: Verdict,
    pub error: Option<&'a str>,
    pub ended: time::OffsetDateTime,
    pub intent: &'a Intent,
    pub environment: &'a Value,
    pub checks: &'a Checks,
    /// None: the schema after the run could not be read, for this reason.
    pub changes: Result<&'a [Change], &'a str>,
    pub diff: &'a str,
    /// How many of the steps have come to their end, where it sends its steps.
    pub done: Option<usize>,
    pub events: usize,
}

impl Page<'_> {
    pub fn html(&self) -> String {
        let content = html! {
            "\n" h1 { "Evidence of a change to database " (self.environment["database"]["name"].as_str().unwrap_or_default()) }
            (self.verdict()) (self.about()) (self.steps()) (self.checked()) (self.schema()) (self.plan()) (self.back())
            (self.objects()) (self.environment()) (files())
        };
        document(&format!("Evidence: {}", self.run.typed), &content)
    }

    fn verdict(&self) -> Markup {
        let class = match self.verdict {
            Verdict::Done | Verdict::NothingToDo => "verdict",
            Verdict::DoneWithFindings => "verdict mild",
            Verdict::Failed => "verdict bad",
        };
        html! {
            "\n" div class=(class) {
                b { (self.verdict.words()) }
                (self.verdict.sentence())
                @if let Some(error) = self.error { pre { (error) } }
            }
        }
    }

    fn about(&self) -> Markup {
        let took = (self.ended - self.run.started).unsigned_abs();
        html! {
            "\n" dl {
                (fact("Command", &self.run.typed))
                (fact("Set", &self.run.set))
                (fact("Database", &self.run.database))
                (fact("From, to", &format!("{} to {} UTC, {}", utc(self.run.started), utc(self.ended), short(took))))
                @for (what, value) in self.intent.subject.iter().filter(|(what, _)| *what != "set") {
                    (fact(match *what { "from" => "Version before", "to" => "Planned version", what => what }, value))
                }
                (fact("Digest of the plan", &self.intent.digest()))
            }
        }
    }

    fn steps(&self) -> Markup {
        let Intent { records, sends, .. } = self.intent;
        html! {
            "\n" h2 { "What was to be done, and what was" }
            @if sends.is_empty() && records.is_empty() { p { "Nothing." } }
            @for line in records { p { (line) } }
            "\n" ol {
                @for (at, sent) in sends.iter().enumerate() {
                    "\n" li {
                        b { (sent.title) }
                        @match self.done {
                            Some(done) if at < done => { ": " b.passed { "done" } },
                            Some(_) => { ": " b.differs { "not done" } },
                            None => {},
                        }
                        @for note in &sent.notes { br; span.soft { (note) } }
                    }
                }
            }
            "\n" p.note { "What happened, event by event, is in run.log: " (count(self.events, "event")) "." }
        }
    }

    fn checked(&self) -> Markup {
        let made = &self.checks.made;
        let class = |outcome: Outcome| match outcome {
            Outcome::Passed => "state passed",
            Outcome::Differs => "state differs",
            Outcome::NotCompared | Outcome::NotMade => "state mild",
        };
        html! {
            "\n" h2 { "Checks after the run" }
            "\n" div.scroll { table {
                tr { th { "check" } th { "result" } th { "what it found" } }
                @for made in made {
                    "\n" tr {
                        td { (made.check) }
                        td class=(class(made.result)) { (made.result.words()) }
                        td { @for (at, said) in made.says.iter().enumerate() { @if at > 0 { br; } (said) } }
                    }
                }
            } }
            @if !self.checks.promised.is_empty() {
                "\n" p.note { "The " (count(self.checks.promised.len(), "object")) " that the versions promise are listed below, one by one." }
            }
        }
    }

    fn schema(&self) -> Markup {
        html! {
            "\n" h2 { "The schema, before and after" }
            @match self.changes {
                Err(why) => p { "The schema after the run could not be read: " (why) },
                Ok([]) => p { "It is the same." },
                Ok(changes) => {
                    "\n" ul { @for change in changes { "\n" li { (change.what.words()) " " (change.kind) " " (change.name) } } }
                    "\n" h3 { "Difference" }
                    "\n" pre {
                        @for (at, line) in self.diff.lines().take(LINES).enumerate() {
                            @let class = match line.as_bytes().first() {
                                // The names of both sides.
                                _ if at < 2 => "at",
                                Some(b'+') => "add", Some(b'-') => "del", Some(b'@') => "at", _ => "",
                            };
                            span class=(class) { (line) } "\n"
                        }
                    }
                    (rest(self.diff, LINES, "schema.diff"))
                }
            }
        }
    }

    fn plan(&self) -> Markup {
        let mut left = LINES;
        html! {
            "\n" h2 { "What was to be sent" }
            @if self.intent.sends.is_empty() { p { "Nothing but rows of the program's own history." } }
            @for (at, sent) in self.intent.sends.iter().enumerate() { (part(at, sent, &mut left, "plan.sql")) }
        }
    }

    fn back(&self) -> Markup {
        let mut left = LINES;
        html! {
            "\n" h2 { "The way back" }
            @match &self.intent.back_command {
                _ if self.intent.sends.is_empty() => p { "Nothing was done, so there is nothing to take back." },
                Some(command) => { pre { (self.run.command(command)) } },
                None => p { "There is no command that takes all of it back." },
            }
            @match &self.run.approval {
                None => p.note { "It was not rehearsed by this run." },
                Some(approval) => {
                    "\n" p { "The same plan was rehearsed:" }
                    "\n" ul { @for line in &approval.lines { "\n" li { (line) } } }
                }
            }
            @for (at, sent) in self.intent.back.iter().enumerate() { (part(at, sent, &mut left, "rollback.txt")) }
        }
    }

    fn objects(&self) -> Markup {
        let Checks { promised, tables, .. } = self.checks;
        html! {
            @if !promised.is_empty() {
                "\n" h2 { "What the versions promise: " (count(promised.len(), "object")) }
                "\n" div.scroll { table.objects {
                    tr { th { "version" } th { "object" } th { "it is" } th { "as it is defined" } }
                    @for promised in promised {
                        @let (class, is) = match (&promised.problem, &promised.expected) {
                            (Some(_), _) => ("state differs", "different"),
                            (None, Some(_)) => ("state passed", "there"),
                            (None, None) => ("state passed", "gone"),
                        };
                        "\n" tr {
                            td { (promised.version) } td { (promised.object) } td class=(class) { (is) }
                            td { (promised.problem.as_deref().or(promised.found.as_deref()).unwrap_or_default()) }
                        }
                    }
                } }
            }
            @if !tables.is_empty() { "\n" h2 { "Tables that the run has made or changed, as they are now" } }
            @for table in tables { "\n" pre.shape { (shape(table)) } }
        }
    }

    fn environment(&self) -> Markup {
        html! {
            "\n" h2 { "Environment" }
            @for (part, values) in self.environment.as_object().into_iter().flatten() {
                @if let Some(values) = values.as_object() {
                    "\n" h3 { (part.replace('_', " ")) }
                    "\n" dl { @for (name, value) in values { (fact(name, &plain(value))) } }
                }
            }
        }
    }
}

/// One text of the plan, or of the way back.
fn part(at: usize, sent: &Sent, left: &mut usize, file: &str) -> Markup {
    let limit = LINES_OF_SQL.min(*left);
    *left -= sent.texts.iter().map(|text| text.lines().count()).sum::<usize>().min(limit);
    html! {
        "\n" h3 { (at + 1) ". " (sent.title) }
        p.note { @for (at, said) in facts(sent).iter().enumerate() { @if at > 0 { br; } (said) } }
        @for text in &sent.texts {
            "\n" pre { @for line in text.lines().take(limit) { (line.trim_end_matches('\r')) "\n" } }
            (rest(text, limit, file))
        }
    }
}

fn rest(text: &str, shown: usize, file: &str) -> Markup {
    let left = text.lines().count().saturating_sub(shown);
    html! { @if left > 0 { p.note { "and " (count(left, "more line")) ", in " (file) } } }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "unknown".to_owned(),
        Value::String(text) if text.is_empty() => "empty".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "none".to_owned(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn files() -> Markup {
    let files = [
        ("plan.sql", "every text that was to be sent, byte for byte, with its checksum"),
        ("plan.json", "the same as a program reads it, with the digest of the plan"),
        ("run.log", "every event, a line of JSON each, with its time"),
        ("schema-before.txt, schema-after.txt, schema.diff", "the schema before and after the run, and the difference"),
        ("checks.txt, checks.json", "what was checked after the run, and the tables that it has made or changed"),
        ("rollback.txt", "the way back"),
        ("rehearsal.json", "what the rehearsal has found, where the run was held to one"),
        ("environment.json", "program, server, database, role, settings"),
        ("verdict.json", "the verdict, for a program"),
        ("SHA256SUMS", "the sum of each file: sha256sum -c SHA256SUMS"),
    ];
    html! {
        "\n" h2 { "The files of this folder" }
        "\n" dl { @for (file, what) in files { (fact(file, what)) } }
    }
}
