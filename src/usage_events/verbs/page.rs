//! The report as one page, without network: the verdict, the totals, a chart for each metric, examples.

use maud::{Markup, html};

use super::human::spoken;
use crate::cli::page::{document, fact};
use crate::cli::words::{counted, sum, utc};
use crate::compare::{Day, Report};
use crate::db::{Program, grouped};
use crate::metrics::METRICS;

const WIDTH: f64 = 1040.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 1030.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 158.0;

/// How many labels fit below a chart.
const LABELS: usize = 11;

/// The page.
pub(super) fn page(report: &Report, program: &Program) -> String {
    let content = html! {
        "\n" h1 { "Usage: the provider's export against the database" }
        (verdict(report)) (facts(report)) (totals(report)) (charts(report)) (missing(report)) (mismatched(report))
    };
    document(&format!("{} verify usage", program.name().unwrap_or_default()), &content)
}

fn verdict(report: &Report) -> Markup {
    let counts = report.counts;
    let (headline, text) = if report.agrees() {
        ("Agrees", format!("The database has the usage of all {} of the export.", counted(report.rows.csv, "row")))
    } else {
        let (missing, mismatched) = (counted(counts.missing_in_db, "window"), counted(counts.mismatched, "number"));
        let windows = counted(counts.mismatched_windows, "window");
        ("Differs", format!("{missing} missing in the database, {mismatched} mismatched in {windows}."))
    };
    html! { "\n" div.verdict.bad[!report.agrees()] { b { (headline) } (text) } }
}

fn facts(report: &Report) -> Markup {
    let windows = match (report.from, report.to) {
        (None, None) => "all".to_owned(),
        (Some(from), None) => format!("that begin at {} UTC or later", utc(from)),
        (None, Some(to)) => format!("that begin before {} UTC", utc(to)),
        (Some(from), Some(to)) => format!("that begin at {} UTC or later, and before {}", utc(from), utc(to)),
    };
    let mut facts = vec![
        ("Database", report.database.clone()),
        ("Made", format!("{} UTC", utc(report.made_at))),
        ("Windows", windows),
        ("Only in the database", counted(report.counts.missing_in_csv, "window")),
        ("Files", report.files.iter().map(|file| file.file.as_str()).collect::<Vec<_>>().join(", ")),
    ];
    for (name, list) in [
        ("Unknown columns", &report.unknown_columns),
        ("Absent columns, counted as empty", &report.absent_columns),
        ("Files without a last line break", &report.unended_files),
    ] {
        if !list.is_empty() {
            facts.push((name, list.join(", ")));
        }
    }
    if !report.has_windows {
        facts.push(("Version", "below 3: the table has no windows yet".to_owned()));
    }
    html! { "\n" dl { @for (name, value) in facts { (fact(name, &value)) } } }
}

fn totals(report: &Report) -> Markup {
    let (csv, db) = (report.totals.csv.0, report.totals.db.0);
    html! {
        "\n" h2 { "Totals" }
        div.scroll { table.numbers {
            "\n" tr { th { "metric" } th { "export" } th { "database" } th { "database - export" } }
            "\n" tr { td { "rows" } td { (grouped(report.rows.csv)) } td { (grouped(report.rows.db)) } td {} }
            @for (metric, (csv, db)) in METRICS.iter().zip(csv.into_iter().zip(db)) {
                "\n" tr {
                    td { (metric.name) } td { (sum(csv.into())) } td { (sum(db.into())) }
                    td.differs[csv != db] { (sum(i128::from(db) - i128::from(csv))) }
                }
            }
        } }
    }
}

fn charts(report: &Report) -> Markup {
    let both = |at: usize, day: &Day| [day.totals.csv.0[at], day.totals.db.0[at]];
    let is_used = |at: &usize| report.days.iter().any(|day| both(*at, day) != [0, 0]);
    let (used, unused): (Vec<usize>, Vec<usize>) = (0..METRICS.len()).partition(is_used);
    let unused: Vec<&str> = unused.into_iter().map(|at| METRICS[at].name).collect();
    html! {
        "\n" h2 { "By day" }
        p.legend {
            i style="background: var(--grey)" {} "export" i style="background: var(--blue)" {} "database"
            i style="background: var(--bad)" {} "the day differs"
        }
        @for at in used {
            @let days: Vec<(&str, [i64; 2])> = report.days.iter().map(|day| (day.day.as_str(), both(at, day))).collect();
            @let differing = days.iter().filter(|(_, [csv, db])| csv != db).count() as u64;
            figure {
                "\n" h3 { (METRICS[at].name) " " span { @if differing > 0 { (counted(differing, "day")) " differ" } } }
                div.scroll { (chart(METRICS[at].name, &days)) }
            }
        }
        @if !unused.is_empty() { "\n" p.legend { "Zero on both sides: " (unused.join(", ")) } }
    }
}

/// Two bars a day, and a mark below a day that differs.
#[allow(clippy::cast_precision_loss, reason = "a picture")]
fn chart(name: &str, days: &[(&str, [i64; 2])]) -> Markup {
    let largest = days.iter().flat_map(|(_, sides)| sides).copied().max().unwrap_or(0).max(1);
    let step = (RIGHT - LEFT) / days.len() as f64;
    let bar = (step * 0.4).clamp(0.5, 18.0);
    let height = |number: i64| number.max(0) as f64 / largest as f64 * (BOTTOM - TOP);
    let labels = days.len().div_ceil(LABELS);
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(format!("{name} by day, export and database")) {
            @for part in [0.0, 0.5, 1.0] {
                @let y = BOTTOM - part * (BOTTOM - TOP);
                line x1=(LEFT) x2=(RIGHT) y1=(place(y)) y2=(place(y)) stroke="var(--line)" {}
                text x=(LEFT - 8.0) y=(place(y + 4.0)) text-anchor="end" { (short(largest as f64 * part)) }
            }
            @for (at, (day, [csv, db])) in days.iter().enumerate() {
                @let middle = LEFT + step * (at as f64 + 0.5);
                g {
                    title { (day) ": export " (sum((*csv).into())) ", database " (sum((*db).into())) }
                    rect x=(place(middle - bar)) y=(place(BOTTOM - height(*csv))) width=(place(bar)) height=(place(height(*csv))) fill="var(--grey)" {}
                    rect x=(place(middle)) y=(place(BOTTOM - height(*db))) width=(place(bar)) height=(place(height(*db))) fill="var(--blue)" {}
                    @if csv != db {
                        rect x=(place(middle - bar)) y=(place(BOTTOM + 2.0)) width=(place(bar * 2.0)) height="4" fill="var(--bad)" {}
                    }
                }
                @if at % labels == 0 {
                    @let (at, anchor) = if middle > RIGHT - 40.0 { (RIGHT, "end") } else { (middle, "middle") };
                    text x=(place(at)) y=(HEIGHT - 10.0) text-anchor=(anchor) { (day) }
                }
            }
        }
    }
}

fn place(at: f64) -> String {
    format!("{at:.1}")
}

/// A number that fits beside an axis.
fn short(number: f64) -> String {
    for (unit, name) in [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if number >= unit {
            return format!("{:.1}{name}", number / unit);
        }
    }
    format!("{number:.0}")
}

fn missing(report: &Report) -> Markup {
    let kinds = [
        ("Missing in the database", &report.missing_in_db, report.counts.missing_in_db),
        ("Missing in the export", &report.missing_in_csv, report.counts.missing_in_csv),
    ];
    html! {
        @for (title, windows, all) in kinds.into_iter().filter(|(_, windows, _)| !windows.is_empty()) {
            "\n" h2 { (title) } (shown(windows.len(), all))
            div.scroll { table.numbers {
                "\n" tr { th { "window" } th { "requests" } th { "input tokens" } th { "output tokens" } }
                @for missing in windows {
                    "\n" tr {
                        td.long { (spoken(&missing.identity)) }
                        @for number in &missing.values.0[..3] { td { (sum((*number).into())) } }
                    }
                }
            } }
        }
    }
}

fn mismatched(report: &Report) -> Markup {
    if report.mismatched.is_empty() {
        return Markup::default();
    }
    html! {
        "\n" h2 { "Mismatched" } (shown(report.mismatched.len(), report.counts.mismatched))
        div.scroll { table.numbers {
            "\n" tr { th { "window" } th.text { "metric" } th { "export" } th { "database" } }
            @for mismatch in &report.mismatched {
                "\n" tr {
                    td.long { (spoken(&mismatch.identity)) } td.text { (mismatch.metric) }
                    td { (sum(mismatch.csv.into())) } td { (sum(mismatch.db.into())) }
                }
            }
        } }
    }
}

fn shown(listed: usize, all: u64) -> Markup {
    html! { @if all > listed as u64 { p.legend { "The first " (grouped(listed as u64)) " of " (grouped(all)) "." } } }
}
