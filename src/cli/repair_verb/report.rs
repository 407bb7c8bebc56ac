//! The report of a repair: a self-contained page, to be attached to a change ticket.
//!
//! maud checks its templates at compile time, and escapes every text. (askama would do as well, but adds a parser to the
//! dependencies; maud needs only syn and quote, which other crates need, too.)

use std::collections::BTreeMap;

use maud::{Markup, html};
use time::OffsetDateTime;

use super::Subject;
use super::human::spoken;
use crate::db::grouped;
use crate::page::{document, fact};
use crate::repair::{Finding, Line, Period, Refresh, Repaired, RunState, Totals};
use crate::words::{counted as number_of, short, sum, utc};

const WIDTH: f64 = 1040.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 1030.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 282.0;

/// The content of a page.
pub(super) struct Report<'a> {
    pub finding: &'a Finding,
    pub repaired: Option<&'a Repaired>,
    pub subject: &'a Subject<'a>,
}

impl Report<'_> {
    /// The page. Invisible characters are escaped, as on a terminal.
    pub fn page(&self) -> String {
        let title = match self.subject.undoes {
            Some(run) => format!("undo of run {run}"),
            None => self.subject.name.to_owned(),
        };
        let lead = match (self.repaired, self.subject.undoes) {
            (None, _) => "What it would do. Nothing was written.",
            (Some(_), _) if self.finding.unfinished.is_some() => {
                "It continued an unfinished run. The numbers are those of the whole run; chart and table show the rows that were left."
            }
            (Some(_), None) => "What it found, and what it did.",
            (Some(_), Some(_)) => "What it found, and what it restored.",
        };
        let content = html! {
            "\n" h1 { "Repair: " (title) }
            "\n" p.soft { (lead) }
            (self.figures()) (self.facts()) (self.chart()) (self.table())
        };
        document(&format!("{} repair: {title}", self.subject.program.name().unwrap_or_default()), &content)
    }

    fn figures(&self) -> Markup {
        let names = &self.subject.rows.names;
        let totals = self.repaired.map_or(&self.finding.totals, |repaired| &repaired.totals);
        let mut figures = vec![
            (grouped(totals.rows), if self.repaired.is_some() { "rows changed" } else { "rows found" }.to_owned()),
            (sum(totals.before), spoken(&names.before)),
            (sum(totals.after), spoken(&names.after)),
        ];
        if self.subject.undoes.is_some() {
            figures.push((sum(-totals.removed()), "restored".to_owned()));
        } else {
            figures.push((sum(totals.removed()), spoken(&names.removed)));
            if let Some(counts) = self.subject.rows.counts {
                figures.push((grouped(totals.counted), spoken(counts.name)));
            }
        }
        html! {
            "\n" div.figures {
                @for (number, name) in figures { "\n" div { b { (number) } span { (name) } } }
            }
        }
    }

    fn facts(&self) -> Markup {
        let Finding { changed_since, gone_since, .. } = self.finding;
        let agreed = self.finding.unfinished.as_ref().filter(|_| self.repaired.is_some());
        let digest = match agreed.and_then(|run| run.digest.as_ref()) {
            Some(digest) => format!("{digest} when it began, {} of what was left", self.finding.digest),
            None => self.finding.digest.clone(),
        };
        html! {
            "\n" dl {
                (fact("Database", &self.subject.database.to_string()))
                (fact("Command", &self.subject.command()))
                (fact("Made", &format!("{} UTC", utc(OffsetDateTime::now_utc()))))
                (fact("Digest", &digest))
                @if let Some(repaired) = self.repaired {
                    (self.facts_of(repaired))
                } @else if self.subject.undoes.is_some() {
                    (fact("Left alone", &format!("{} changed since, {} gone", grouped(*changed_since), grouped(*gone_since))))
                }
            }
        }
    }

    /// What an execution has done.
    fn facts_of(&self, repaired: &Repaired) -> Markup {
        let left_alone = format!("{} changed since found, {} gone", grouped(repaired.changed), grouped(repaired.gone));
        let still = if repaired.had_to_leave() {
            let [waiting, left_over] = [repaired.waiting, repaired.left_over].map(grouped);
            Some(format!("{waiting} not reached, {left_over} found wrong afterwards"))
        } else if repaired.state == RunState::Done && self.subject.undoes.is_none() {
            Some("nothing: no row is left to repair".to_owned())
        } else {
            None
        };
        html! {
            "\n" dt { "Run" }
            dd { (repaired.run) " " span.badge.bad[repaired.had_to_leave()] { (repaired.state.as_str()) } }
            (fact("Took", &short(repaired.duration)))
            (fact("Left alone", &left_alone))
            @if let Some(still) = still { (fact("Still to be done", &still)) }
            @if let Some(derived) = self.subject.rows.derived && repaired.refresh == Refresh::Now {
                (fact(&capital(derived.words().name), &format!("{} written", number_of(repaired.refreshed, derived.words().unit))))
            }
        }
    }

    /// Before and after, by day, or by month or year if there are too many days.
    fn chart(&self) -> Markup {
        let periods = &self.finding.lines.periods;
        if periods.totals.is_empty() {
            return Markup::default();
        }
        let unit = match periods.unit {
            Period::Day => "day",
            Period::Month => "month",
            Period::Year => "year",
        };
        let [before, after] = if self.subject.undoes.is_some() { ["now", "restored to"] } else { ["before", "after"] };
        html! {
            "\n" h2 { (spoken(self.subject.rows.amount().name)) " by " (unit) " (UTC)" }
            "\n" p.legend {
                i style="background:var(--orange)" {} (before)
                i style="background:var(--blue)" {} (after)
            }
            "\n" div.scroll { (draw(&periods.totals)) }
        }
    }

    fn table(&self) -> Markup {
        let rows = self.subject.rows;
        let counted = rows.counts.filter(|_| self.subject.undoes.is_none());
        let moved = if self.subject.undoes.is_some() { "restored".to_owned() } else { spoken(&rows.names.removed) };
        let at = spoken(rows.at);
        let mut heads =
            vec!["day (UTC)".to_owned(), "rows".to_owned(), spoken(&rows.names.before), spoken(&rows.names.after)];
        heads.push(moved);
        heads.extend(counted.map(|counts| spoken(counts.name)));
        heads.extend([format!("first {at}"), format!("last {at}")]);
        html! {
            "\n" h2 { "By " (rows.owner.map_or("row", |owner| owner.name)) " and day" }
            "\n" div.scroll {
                table.numbers {
                    thead { tr { @for head in &heads { th { (head) } } } }
                    tbody {
                        @for owned in &self.finding.lines.owners {
                            @if let Some(what) = &rows.owner {
                                "\n" tr {
                                    td.owner.text colspan=(heads.len()) {
                                        (what.name) " " (owned.owner.as_deref().unwrap_or("none"))
                                    }
                                }
                            }
                            @for line in &owned.lines {
                                "\n" tr { @for cell in self.cells(line, counted.is_some()) { td { (cell) } } }
                            }
                            @if owned.more_days > 0 {
                                "\n" tr { td colspan=(heads.len()) { "and " (grouped(owned.more_days)) " more days" } }
                            }
                        }
                        (self.rest(counted.is_some(), heads.len()))
                    }
                }
            }
        }
    }

    /// The totals of the owners that are not in the table.
    fn rest(&self, counted: bool, columns: usize) -> Markup {
        let lines = &self.finding.lines;
        if lines.more_owners == 0 {
            return Markup::default();
        }
        let line = Line {
            owner: None,
            day: "all days".to_owned(),
            totals: lines.more,
            first: String::new(),
            last: String::new(),
        };
        let what = self.subject.rows.owner.map_or("row", |owner| owner.name);
        html! {
            "\n" tr {
                td.owner.text colspan=(columns) {
                    "and " (grouped(lines.more_owners)) " more, each with fewer rows; --format json names every " (what)
                }
            }
            "\n" tr { @for cell in self.cells(&line, counted) { td { (cell) } } }
        }
    }

    fn cells(&self, line: &Line, counted: bool) -> Vec<String> {
        let totals = &line.totals;
        let removed = if self.subject.undoes.is_some() { -totals.removed() } else { totals.removed() };
        let mut cells =
            vec![line.day.clone(), grouped(totals.rows), sum(totals.before), sum(totals.after), sum(removed)];
        if counted {
            cells.push(grouped(totals.counted));
        }
        cells.extend([&line.first, &line.last].map(|time| time.get(..19).unwrap_or(time).replace('T', " ")));
        cells
    }
}

/// With a capital first letter.
fn capital(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// A coordinate.
fn at(value: f64) -> String {
    format!("{value:.2}")
}

#[allow(clippy::cast_precision_loss, reason = "a picture")]
fn draw(bars: &BTreeMap<String, Totals>) -> Markup {
    let most = bars.values().map(|totals| totals.before.max(totals.after)).max().unwrap_or(1).max(1) as f64;
    let step = step(most);
    let lines = (most / step).ceil();
    let y = |value: f64| BOTTOM - value / (lines * step) * (BOTTOM - TOP);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a handful")]
    let marks = (0..=lines as u32).map(|line| f64::from(line) * step);
    let slot = ((RIGHT - LEFT) / bars.len() as f64).min(60.0);
    let labels = bars.len().div_ceil(8).max(1);
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label="before and after" {
            @for value in marks {
                "\n" line x1=(LEFT) x2=(RIGHT) y1=(at(y(value))) y2=(at(y(value))) stroke="var(--line)" {}
                text x=(LEFT - 8.0) y=(at(y(value) + 4.0)) text-anchor="end" { (brief(value)) }
            }
            @for (n, (key, totals)) in bars.iter().enumerate() {
                "\n" (bar(key, totals, LEFT + slot * (n as f64 + 0.5), (slot * 0.82).max(0.8), &y))
                @if n % labels == 0 { (label(key, n == 0, LEFT + slot * (n as f64 + 0.5), slot)) }
            }
            "\n" line x1=(LEFT) x2=(RIGHT) y1=(BOTTOM) y2=(BOTTOM) stroke="var(--soft)" {}
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "a picture")]
fn bar(key: &str, totals: &Totals, x: f64, width: f64, y: &impl Fn(f64) -> f64) -> Markup {
    // Draws the smaller bar in front of the larger one.
    let mut parts = [(totals.before, "var(--orange)"), (totals.after, "var(--blue)")];
    parts.sort_by_key(|(value, _)| std::cmp::Reverse(*value));
    html! {
        g {
            title { (key) ": " (sum(totals.before)) " before, " (sum(totals.after)) " after" }
            @for (value, color) in parts {
                @let top = y(value.max(0) as f64);
                rect x=(at(x - width / 2.0)) y=(at(top)) width=(at(width)) height=(at(BOTTOM - top)) fill=(color) {}
            }
        }
    }
}

fn label(key: &str, first: bool, x: f64, slot: f64) -> Markup {
    // The last label must not leave the picture.
    let (anchor, x) = if first { ("start", x - slot * 0.41) } else { ("middle", x.min(RIGHT - 34.0)) };
    html! { text x=(at(x)) y=(at(BOTTOM + 20.0)) text-anchor=(anchor) { (key) } }
}

/// A round distance between grid lines, for four to eight of them.
fn step(most: f64) -> f64 {
    let powers = std::iter::successors(Some(1.0), |power| Some(power * 10.0));
    let power = powers.take_while(|power| *power <= most / 4.0).last().unwrap_or(1.0);
    let step =
        [5.0, 2.0, 1.0].into_iter().map(|factor| factor * power).find(|step| most / step >= 3.5).unwrap_or(power);
    step.max(1.0)
}

/// A number for an axis: 2.5 M.
fn brief(value: f64) -> String {
    for (unit, name) in [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if value >= unit {
            return format!("{} {name}", (value / unit * 100.0).round() / 100.0);
        }
    }
    format!("{value}")
}
