//! The text output of `migrate verify usage`.

use crate::cli::Screen;
use crate::cli::text::{BOLD, DIM, RED, RESET, Text, YELLOW, text};
use crate::cli::words::{counted, sum, utc};
use crate::compare::{Identity, Report};
use crate::db::grouped;
use crate::metrics::METRICS;

/// How many lines of each list are shown.
const SHOWN: usize = 10;

/// The totals, where it differs most, examples, and the verdict.
pub(super) fn compared(report: &Report, screen: &Screen) {
    warnings(report, screen);
    totals(report, screen);
    worst(report, screen);
    examples(report, screen);
    verdict(report, screen);
}

fn warnings(report: &Report, screen: &Screen) {
    let warn = |line: String| screen.out(text!("{YELLOW}export:{RESET} {line}"));
    if !report.unknown_columns.is_empty() {
        warn(format!("not compared, since nobody knows these columns: {}", report.unknown_columns.join(", ")));
    }
    if !report.absent_columns.is_empty() {
        warn(format!("counted as empty, since a file has no such column: {}", report.absent_columns.join(", ")));
    }
    for file in &report.unended_files {
        warn(format!("{file} does not end in a line break; if it is cut off, its last row is not whole"));
    }
    if report.outside > 0 {
        warn(format!("{} outside of --from and --to", counted(report.outside, "row")));
    }
    if !report.has_windows {
        screen.out(text!(
            "{YELLOW}database:{RESET} usage_events has no windows before version 3, so nothing of the export is there"
        ));
    }
}

fn totals(report: &Report, screen: &Screen) {
    let line = |name: &str, csv: String, db: String, difference: String| {
        format!("{name:<26}  {csv:>20}  {db:>20}  {difference:>20}").trim_end().to_owned()
    };
    let head = line("", "export".into(), "database".into(), "database - export".into());
    screen.out(text!("{DIM}{head}{RESET}"));
    let rows = report.rows;
    screen.out(line("rows", grouped(rows.csv), grouped(rows.db), String::new()));
    for (metric, (csv, db)) in METRICS.iter().zip(report.totals.csv.0.into_iter().zip(report.totals.db.0)) {
        let line = line(metric.name, sum(csv.into()), sum(db.into()), difference(csv, db));
        screen.out(if csv == db { Text::from(line) } else { text!("{BOLD}{line}{RESET}") });
    }
}

fn difference(csv: i64, db: i64) -> String {
    match i128::from(db) - i128::from(csv) {
        0 => String::new(),
        more if more > 0 => format!("+{}", sum(more)),
        less => sum(less),
    }
}

/// The days and metrics that differ most.
fn worst(report: &Report, screen: &Screen) {
    let mut off: Vec<_> = report
        .days
        .iter()
        .flat_map(|day| {
            let sides = day.totals.csv.0.into_iter().zip(day.totals.db.0);
            METRICS.iter().zip(sides).map(move |(metric, (csv, db))| (day.day.as_str(), metric.name, csv, db))
        })
        .filter(|(_, _, csv, db)| csv != db)
        .collect();
    if off.is_empty() {
        return;
    }
    off.sort_by_key(|(day, metric, csv, db)| (std::cmp::Reverse(csv.abs_diff(*db)), *day, *metric));
    screen.out(text!("{DIM}where it differs most, by UTC day{RESET}"));
    for (day, metric, csv, db) in off.iter().take(SHOWN) {
        screen.out(
            format!(
                "  {day}  {metric:<26}  {:>20}  {:>20}  {:>18}",
                sum((*csv).into()),
                sum((*db).into()),
                difference(*csv, *db)
            )
            .trim_end(),
        );
    }
}

fn examples(report: &Report, screen: &Screen) {
    let missing = [
        ("missing in the database", RED, &report.missing_in_db, report.counts.missing_in_db),
        ("missing in the export", YELLOW, &report.missing_in_csv, report.counts.missing_in_csv),
    ];
    for (what, color, windows, all) in missing {
        for missing in windows.iter().take(SHOWN) {
            screen.out(text!("{color}{what}{RESET}  {}", spoken(&missing.identity)));
        }
        more(all, windows.len(), screen);
    }
    for mismatch in report.mismatched.iter().take(SHOWN) {
        let [csv, db] = [mismatch.csv, mismatch.db].map(|number| sum(number.into()));
        let (metric, identity) = (mismatch.metric, spoken(&mismatch.identity));
        screen.out(text!("{RED}mismatched{RESET}  {metric}: export {csv}, database {db}  {identity}"));
    }
    more(report.counts.mismatched, report.mismatched.len(), screen);
}

/// How many were not shown.
fn more(all: u64, listed: usize, screen: &Screen) {
    let shown = listed.min(SHOWN) as u64;
    if all > shown {
        screen.out(text!("{DIM}and {} more; --output lists up to --examples of them{RESET}", grouped(all - shown)));
    }
}

/// A window in one line.
pub(super) fn spoken(identity: &Identity) -> String {
    let Identity { window_start, window_end, project_id, user_id, api_key_id, model, service_tier, batch } = identity;
    let end = window_end.map_or_else(|| "open".to_owned(), utc);
    let parts = [
        ("model", model.clone()),
        ("project", project_id.clone()),
        ("key", api_key_id.clone()),
        ("user", user_id.clone()),
        ("tier", service_tier.clone()),
        ("batch", batch.map(|batch| batch.to_string())),
    ];
    let parts = parts.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?)));
    let parts = parts.collect::<Vec<_>>().join(", ");
    format!("{} to {end} UTC  {parts}", utc(*window_start))
}

fn verdict(report: &Report, screen: &Screen) {
    let counts = report.counts;
    let beyond = match counts.missing_in_csv {
        0 => String::new(),
        windows => format!("; {} in the database only", counted(windows, "window")),
    };
    if report.agrees() {
        let rows = counted(report.rows.csv, "row");
        screen.out(format!("the database has the usage of all {rows} of the export{beyond}"));
        return;
    }
    screen.out(text!(
        "{RED}the database differs from the export{RESET}: {} missing in the database, {} mismatched in {}{beyond}",
        counted(counts.missing_in_db, "window"),
        counted(counts.mismatched, "number"),
        counted(counts.mismatched_windows, "window")
    ));
}
