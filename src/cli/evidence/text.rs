//! `checks.txt`.

use std::fmt::Write as _;

use super::checks::Checks;
use crate::engine::TableShape;
use crate::text::text;

/// The checks as text.
pub(super) fn checks(checks: &Checks) -> String {
    let mut page = String::from("Checks\n======\n\n");
    for made in &checks.made {
        let mut says = made.says.iter();
        let first = says.next().map(String::as_str).unwrap_or_default();
        line(&mut page, &format!("{:<12} {:<16} {first}", made.result.words(), made.check));
        says.for_each(|more| line(&mut page, &format!("{:29} {more}", "")));
    }
    if !checks.promised.is_empty() {
        page.push_str("\nWhat the versions promise\n=========================\n\n");
        for promised in &checks.promised {
            let is = match (&promised.problem, &promised.expected) {
                (Some(_), _) => "differs",
                (None, Some(_)) => "there",
                (None, None) => "gone",
            };
            line(&mut page, &format!("{is:<9} {} {}", promised.version, promised.object));
            promised.problem.iter().for_each(|problem| line(&mut page, &format!("{:9} {problem}", "")));
        }
    }
    if !checks.tables.is_empty() {
        page.push_str("\nTables that the run has made or changed, as they are now\n========================================================\n");
    }
    for table in &checks.tables {
        page.push('\n');
        page.push_str(&shape(table));
    }
    page
}

/// A table as psql's `\d` shows it.
pub(super) fn shape(table: &TableShape) -> String {
    let mut page = String::new();
    let heads = ["Column", "Type", "Nullable", "Default"].map(str::to_owned);
    let cells = |column: &crate::engine::ColumnShape| {
        [&column.column, &column.sql_type, &column.nullable, &column.default]
            .map(|cell| text!("{cell}").as_str().to_owned())
    };
    let rows: Vec<[String; 4]> = table.columns.iter().map(cells).collect();
    let width = |at: usize| rows.iter().chain([&heads]).map(|row| row[at].chars().count()).max().unwrap_or_default();
    let widths = [0, 1, 2, 3].map(width);
    let title = format!("{} \"{}\"", table.kind, table.table);
    let middle = (widths.iter().sum::<usize>() + 11).saturating_sub(title.chars().count()) / 2;
    line(&mut page, &format!("{:middle$}{title}", ""));
    let row = |cells: &[String; 4]| [0, 1, 2, 3].map(|at| format!(" {:<1$} ", cells[at], widths[at])).join("|");
    line(&mut page, &row(&heads));
    line(&mut page, &widths.map(|width| "-".repeat(width + 2)).join("+"));
    for cells in &rows {
        line(&mut page, &row(cells));
    }
    for (heading, lines) in &table.lists {
        line(&mut page, &format!("{heading}:"));
        for said in lines {
            line(&mut page, &format!("    {said}"));
        }
    }
    page
}

fn line(page: &mut String, said: &str) {
    let _ = writeln!(page, "{}", text!("{said}").as_str().trim_end());
}
