//! The report of a repair: one page that needs nothing else, to be attached to a change ticket.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use time::OffsetDateTime;

use super::super::repair::Subject;
use super::human::{short, utc};
use super::human_repair::sum;
use crate::repairs::{Finding, Repaired, Rollup, RunState, Totals};
use crate::usage::grouped;

const WIDTH: f64 = 1040.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 1030.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 282.0;

/// More bars than this cannot be told apart; they are then drawn by month.
const MOST_BARS: usize = 400;

/// What a page is about.
pub(in crate::cli) struct Report<'a> {
    pub finding: &'a Finding,
    pub repaired: Option<&'a Repaired>,
    pub subject: &'a Subject<'a>,
}

impl Report<'_> {
    /// The page.
    pub fn page(&self) -> String {
        let title = escaped(&match self.subject.undoes {
            Some(run) => format!("undo of run {run}"),
            None => self.subject.name.to_owned(),
        });
        let lead = match (self.repaired, self.subject.undoes) {
            (None, _) => "What it would do. Nothing was written.",
            (Some(_), _) if self.finding.unfinished.is_some() => {
                "It went on with an unfinished run. The numbers are those of the whole run; chart and table show what was left."
            }
            (Some(_), None) => "What it found, and what it did.",
            (Some(_), Some(_)) => "What it found, and what it gave back.",
        };
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>migrate repair: {title}</title>\n<style>\n{}</style>\n</head>\n<body>\n\
             <h1>Repair: {title}</h1>\n<p class=\"lead\">{lead}</p>\n{}{}{}{}</body>\n</html>\n",
            include_str!("report.css"),
            self.figures(),
            self.facts(),
            self.chart(),
            self.table()
        )
    }

    fn figures(&self) -> String {
        let names = &self.subject.rows.names;
        let totals = self.repaired.map_or(&self.finding.totals, |repaired| &repaired.totals);
        let mut figures = vec![
            (grouped(totals.rows), if self.repaired.is_some() { "rows changed" } else { "rows found" }.to_owned()),
            (sum(totals.before), names.before.replace('_', " ")),
            (sum(totals.after), names.after.replace('_', " ")),
        ];
        if self.subject.undoes.is_some() {
            figures.push((sum(-totals.removed()), "given back".to_owned()));
        } else {
            figures.push((sum(totals.removed()), names.removed.replace('_', " ")));
            if let Some(counts) = self.subject.rows.counts {
                figures.push((grouped(totals.counted), counts.name.replace('_', " ")));
            }
        }
        let mut text = "<div class=\"figures\">\n".to_owned();
        for (number, name) in figures {
            let _ = writeln!(text, "<div><b>{number}</b><span>{}</span></div>", escaped(&name));
        }
        text + "</div>\n"
    }

    fn facts(&self) -> String {
        let mut facts = vec![
            ("Database", escaped(&self.subject.database.to_string())),
            ("Command", escaped(&self.subject.command())),
            ("Made", format!("{} UTC", utc(OffsetDateTime::now_utc()))),
        ];
        let agreed = self.finding.unfinished.as_ref().filter(|_| self.repaired.is_some());
        match agreed.and_then(|run| run.digest.as_ref()) {
            Some(digest) => {
                facts.push(("Digest", format!("{digest} when it began, {} of what was left", self.finding.digest)));
            }
            None => facts.push(("Digest", self.finding.digest.clone())),
        }
        if let Some(repaired) = self.repaired {
            let bad = if repaired.had_to_leave() { " bad" } else { "" };
            facts.push((
                "Run",
                format!("{} <span class=\"state{bad}\">{}</span>", repaired.run, repaired.state.as_str()),
            ));
            facts.push(("Took", short(repaired.duration)));
            facts.push((
                "Left alone",
                format!("{} changed since found, {} gone", grouped(repaired.changed), grouped(repaired.gone)),
            ));
            if repaired.had_to_leave() {
                facts.push((
                    "Still to be done",
                    format!(
                        "{} not reached, {} found wrong afterwards",
                        grouped(repaired.waiting),
                        grouped(repaired.left_over)
                    ),
                ));
            } else if repaired.state == RunState::Done && self.subject.undoes.is_none() {
                facts.push(("Still to be done", "nothing: no row is left that should be repaired".to_owned()));
            }
            if let Rollup::Rebuilt(buckets) = repaired.rollup {
                facts.push(("Hourly rollup", format!("{} buckets written", grouped(buckets))));
            }
        } else if self.subject.undoes.is_some() {
            let Finding { changed_since, gone_since, .. } = self.finding;
            facts.push((
                "Left alone",
                format!("{} changed since, {} gone", grouped(*changed_since), grouped(*gone_since)),
            ));
        }
        let mut text = "<dl class=\"facts\">\n".to_owned();
        for (name, value) in facts {
            let _ = writeln!(text, "<dt>{name}</dt><dd>{value}</dd>");
        }
        text + "</dl>\n"
    }

    /// Before and after, by day, or by month where there are too many days to tell apart.
    fn chart(&self) -> String {
        let mut bars: BTreeMap<&str, Totals> = BTreeMap::new();
        let by_month = {
            let mut days: Vec<&str> = self.finding.lines.iter().map(|line| line.day.as_str()).collect();
            days.sort_unstable();
            days.dedup();
            days.len() > MOST_BARS
        };
        for line in &self.finding.lines {
            let day = line.day.as_str();
            let key = if by_month { day.get(..7).unwrap_or(day) } else { day };
            bars.entry(key).or_default().add(&line.totals);
        }
        if bars.is_empty() {
            return String::new();
        }
        let unit = if by_month { "month" } else { "day" };
        let amount = escaped(&self.subject.rows.amount.replace('_', " "));
        let [before, after] =
            if self.subject.undoes.is_some() { ["now", "given back to"] } else { ["before", "after"] };
        format!(
            "<h2>{amount} by {unit} (UTC)</h2>\n<p class=\"legend\"><i style=\"background:var(--before)\"></i>{before}\
             <i style=\"background:var(--after)\"></i>{after}</p>\n{}",
            draw(&bars)
        )
    }

    fn table(&self) -> String {
        let rows = self.subject.rows;
        let counted = rows.counts.filter(|_| self.subject.undoes.is_none());
        let moved =
            if self.subject.undoes.is_some() { "given back".to_owned() } else { rows.names.removed.replace('_', " ") };
        let at = rows.at.replace('_', " ");
        let mut heads = vec![
            "day (UTC)".to_owned(),
            "rows".to_owned(),
            rows.names.before.replace('_', " "),
            rows.names.after.replace('_', " "),
            moved,
        ];
        heads.extend(counted.map(|counts| counts.name.replace('_', " ")));
        heads.extend([format!("first {at}"), format!("last {at}")]);
        let columns = heads.len();
        let heads = tagged("th", &heads);
        let mut text = format!(
            "<h2>By {} and day</h2>\n<div class=\"scroll\"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n",
            rows.owner.map_or("row", |owner| owner.name)
        );
        let mut owner: Option<&Option<String>> = None;
        for line in &self.finding.lines {
            if owner != Some(&line.owner) {
                owner = Some(&line.owner);
                if let Some(what) = &rows.owner {
                    let whose = escaped(line.owner.as_deref().unwrap_or("none"));
                    let _ =
                        writeln!(text, "<tr><td class=\"owner\" colspan=\"{columns}\">{} {whose}</td></tr>", what.name);
                }
            }
            let totals = &line.totals;
            let removed = if self.subject.undoes.is_some() { -totals.removed() } else { totals.removed() };
            let mut cells =
                vec![line.day.clone(), grouped(totals.rows), sum(totals.before), sum(totals.after), sum(removed)];
            if counted.is_some() {
                cells.push(grouped(totals.counted));
            }
            cells.extend([&line.first, &line.last].map(|time| time.get(..19).unwrap_or(time).replace('T', " ")));
            let cells = tagged("td", &cells);
            let _ = writeln!(text, "<tr>{cells}</tr>");
        }
        text + "</tbody>\n</table></div>\n"
    }
}

#[allow(clippy::cast_precision_loss, reason = "a picture")]
fn draw(bars: &BTreeMap<&str, Totals>) -> String {
    let most = bars.values().map(|totals| totals.before.max(totals.after)).max().unwrap_or(1).max(1) as f64;
    let step = step(most);
    let top = (most / step).ceil() * step;
    let y = |value: f64| BOTTOM - value / top * (BOTTOM - TOP);
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"before and after\">\n");
    let mut value = 0.0;
    while value <= top * 1.0001 {
        let at = y(value);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#dde2ea\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            at + 4.0,
            brief(value)
        );
        value += step;
    }
    let slot = (RIGHT - LEFT) / bars.len() as f64;
    let slot = slot.min(60.0);
    let width = (slot * 0.82).max(0.8);
    let labels = bars.len().div_ceil(8).max(1);
    for (at, (key, totals)) in bars.iter().enumerate() {
        let x = LEFT + slot * (at as f64 + 0.5);
        let left = x - width / 2.0;
        // The smaller one in front of the larger one.
        let mut parts = [(totals.before, "--before"), (totals.after, "--after")];
        parts.sort_by_key(|(value, _)| std::cmp::Reverse(*value));
        let _ = write!(
            svg,
            "<g><title>{}: {} before, {} after</title>",
            escaped(key),
            sum(totals.before),
            sum(totals.after)
        );
        for (value, color) in parts {
            let top = y(value.max(0) as f64);
            let _ = write!(
                svg,
                "<rect x=\"{left:.2}\" y=\"{top:.1}\" width=\"{width:.2}\" height=\"{:.1}\" fill=\"var({color})\"/>",
                BOTTOM - top
            );
        }
        svg += "</g>\n";
        if at % labels == 0 {
            // The last label must not run out of the picture.
            let anchor = if at == 0 { "start" } else { "middle" };
            let x = if at == 0 { left } else { x.min(RIGHT - 34.0) };
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                BOTTOM + 20.0,
                escaped(key)
            );
        }
    }
    let _ = writeln!(svg, "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{BOTTOM}\" y2=\"{BOTTOM}\" stroke=\"#5b6676\"/>");
    svg + "</svg>\n"
}

/// A round distance between two lines, so that there are four to eight of them.
fn step(most: f64) -> f64 {
    let power = 10_f64.powf((most / 4.0).log10().floor());
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

fn tagged(tag: &str, texts: &[String]) -> String {
    texts.iter().fold(String::new(), |row, text| row + &format!("<{tag}>{}</{tag}>", escaped(text)))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
