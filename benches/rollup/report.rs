//! What was measured, as a table, as JSON, and in the documentation.

use std::fmt::Write as _;
use std::path::Path;

use migrate::db::grouped;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::common::{Outcome, machine, publish_table};
use crate::measure::{Cell, Compared, Writes};

const BENCH: &str = "rollup";

#[derive(Clone, Serialize, Deserialize)]
pub struct Report {
    pub date: String,
    pub machine: String,
    pub server: String,
    pub cells: Vec<Cell>,
    pub writes: Vec<Writes>,
}

impl Report {
    pub fn new(server: String) -> Self {
        let date = OffsetDateTime::now_utc().date().to_string();
        Self { date, machine: machine(), server, cells: Vec::new(), writes: Vec::new() }
    }

    pub fn table(&self) -> String {
        let mut text = format!("{}, PostgreSQL {} with stock settings, {}\n\n", self.machine, self.server, self.date);
        text += "| shape | rows | buckets | walk | floor | walk / floor | tick | idle hook | guard |\n";
        text += "|---|---:|---:|---:|---:|---:|---:|---:|---:|\n";
        for cell in &self.cells {
            let Cell { shape, rows, buckets, walk, floor, tick, idle_hook, guard, .. } = cell;
            let _ = writeln!(
                text,
                "| {} | {} | {} | {walk:.2} s | {floor:.2} s | {:.2} | {:.1} ms | {:.1} ms | {:.2} ms |",
                shape.name(),
                grouped(*rows),
                grouped(*buckets),
                walk / floor,
                tick * 1e3,
                idle_hook * 1e3,
                guard * 1e3,
            );
        }
        for cell in &self.cells {
            let four = |other: &&Cell| other.shape == cell.shape && other.rows == 4 * cell.rows;
            if let Some(larger) = self.cells.iter().find(four) {
                let _ = writeln!(
                    text,
                    "\n{}, from {} to {} rows: the walk takes {:.2} × as long, the floor {:.2} ×.",
                    cell.shape.name(),
                    grouped(cell.rows),
                    grouped(larger.rows),
                    larger.walk / cell.walk,
                    larger.floor / cell.floor,
                );
            }
        }
        if self.writes.is_empty() {
            return text;
        }
        text += "\nRows written per second, with the rollup's triggers and without:\n\n";
        text += "| shape | rows | insert | upsert | bulk insert | bulk upsert |\n|---|---:|---:|---:|---:|---:|\n";
        for writes in &self.writes {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                writes.shape.name(),
                grouped(writes.rows),
                compared(writes.insert),
                compared(writes.upsert),
                compared(writes.bulk_insert),
                compared(writes.bulk_upsert)
            );
        }
        text
    }

    pub fn write(&self, folder: &Path) -> Outcome<()> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("rollup.json"), serde_json::to_string_pretty(self)? + "\n")?;
        Ok(())
    }

    /// Into the documentation. A run of one shape leaves the numbers of the other as they were.
    pub fn publish(mut self, docs: &Path) -> Outcome<()> {
        let folder = docs.join("performance");
        let before: Self = serde_json::from_str(&std::fs::read_to_string(folder.join("rollup.json"))?)?;
        let measured: Vec<_> = self.cells.iter().map(|cell| cell.shape).collect();
        self.cells.extend(before.cells.into_iter().filter(|cell| !measured.contains(&cell.shape)));
        self.writes.extend(before.writes.into_iter().filter(|writes| !measured.contains(&writes.shape)));
        self.cells.sort_by_key(|cell| (cell.shape.name() == "dense", cell.rows));
        self.writes.sort_by_key(|writes| (writes.shape.name() == "dense", writes.rows));
        self.write(&folder)?;
        publish_table(docs, BENCH, &self.table())
    }
}

fn compared(Compared { with_triggers, without, cost }: Compared) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rows per second")]
    let [with_triggers, without] = [with_triggers, without].map(|rows| grouped(rows as u64));
    format!("{with_triggers} / {without}, time {:+.1} %", (cost - 1.0) * 100.0)
}
