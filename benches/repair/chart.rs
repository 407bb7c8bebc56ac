//! Seconds of each way, by number of rows.

use std::fmt::Write as _;

use migrate::db::grouped;

use crate::common::chart::HEAD;
use crate::measure::Cell;

const LEFT: f64 = 250.0;
const RIGHT: f64 = 860.0;

/// Bars from left to right, a group for each number of rows; each group has a scale of its own, so that the ratios can be
/// seen.
pub fn draw(cells: &[Cell]) -> String {
    let mut svg = HEAD.to_owned();
    let height = 340.0 / f64::from(u32::try_from(cells.len().max(1)).unwrap_or(1));
    let mut top = 30.0;
    for cell in cells {
        let both = cell.floor + cell.floor_rollup;
        let bars = [
            ("one UPDATE (floor)", cell.floor, "#8a8f98", 1.0),
            ("repair with journal", cell.repair, "#0072b2", cell.repair / cell.floor),
            ("UPDATE and one window (floor)", both, "#8a8f98", 1.0),
            ("repair with journal and rollup", cell.repair_with_rollup, "#d55e00", cell.repair_with_rollup / both),
        ];
        let most = bars.iter().map(|(_, seconds, ..)| *seconds).fold(f64::MIN_POSITIVE, f64::max);
        let _ = writeln!(
            svg,
            r#"<text x="20" y="{top:.1}" class="title">{} usage rows, {} of them repaired</text>"#,
            grouped(cell.rows),
            grouped(cell.eligible)
        );
        let step = (height - 34.0) / 4.0;
        for (at, (name, seconds, color, ratio)) in (0_u32..).zip(bars) {
            let y = top + 14.0 + step * f64::from(at);
            let width = seconds / most * (RIGHT - LEFT);
            let thick = step * 0.7;
            let middle = y + thick / 2.0 + 4.0;
            let ratio = if color == "#8a8f98" { String::new() } else { format!(", {ratio:.2} ×") };
            let _ = writeln!(svg, r#"<text x="{}" y="{middle:.1}" class="end">{name}</text>"#, LEFT - 10.0);
            let _ =
                writeln!(svg, r#"<rect x="{LEFT}" y="{y:.1}" width="{width:.1}" height="{thick:.1}" fill="{color}"/>"#);
            let (x, anchor, fill) = if width > 480.0 {
                (LEFT + width - 8.0, "end", "white")
            } else {
                (LEFT + width + 8.0, "start", "#222")
            };
            let _ = writeln!(
                svg,
                r#"<text x="{x:.1}" y="{middle:.1}" text-anchor="{anchor}" fill="{fill}">{seconds:.1} s{ratio}</text>"#
            );
        }
        top += height + 20.0;
    }
    svg + "</svg>\n"
}
