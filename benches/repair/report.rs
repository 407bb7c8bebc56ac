//! What was measured, as a table, as JSON, and as a picture.

use std::fmt::Write as _;
use std::path::Path;

use migrate::db::grouped;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::common::{Outcome, machine};
use crate::measure::Cell;

#[derive(Clone, Serialize, Deserialize)]
pub struct Report {
    pub date: String,
    pub machine: String,
    pub server: String,
    pub cells: Vec<Cell>,
}

impl Report {
    pub fn new(server: String) -> Self {
        Self { date: OffsetDateTime::now_utc().date().to_string(), machine: machine(), server, cells: Vec::new() }
    }

    pub fn table(&self) -> String {
        let mut text = format!("{}, PostgreSQL {} with stock settings, {}\n\n", self.machine, self.server, self.date);
        text += "| usage rows | repaired | one UPDATE | repair, journal | ratio | UPDATE and one window | repair, journal, rollup \
                 | ratio | dry run | undo |\n|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n";
        for cell in &self.cells {
            let Cell { rows, eligible, floor, floor_rollup, repair, repair_with_rollup, dry_run, undo, .. } = cell;
            let both = floor + floor_rollup;
            let _ = writeln!(
                text,
                "| {} | {} | {floor:.2} s | {repair:.2} s | {:.2} | {both:.2} s | {repair_with_rollup:.2} s | {:.2} \
                 | {dry_run:.2} s | {undo:.2} s |",
                grouped(*rows),
                grouped(*eligible),
                repair / floor,
                repair_with_rollup / both,
            );
        }
        for cell in &self.cells {
            if let Some(larger) = self.cells.iter().find(|larger| larger.rows == 4 * cell.rows) {
                let _ = writeln!(
                    text,
                    "\nFrom {} to {} rows: the repair takes {:.2} × as long, with the rollup {:.2} ×; one UPDATE {:.2} ×.",
                    grouped(cell.rows),
                    grouped(larger.rows),
                    larger.repair / cell.repair,
                    larger.repair_with_rollup / cell.repair_with_rollup,
                    larger.floor / cell.floor,
                );
            }
        }
        text
    }

    pub fn write(&self, folder: &Path) -> Outcome<()> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("repair.json"), serde_json::to_string_pretty(self)? + "\n")?;
        Ok(())
    }
}
