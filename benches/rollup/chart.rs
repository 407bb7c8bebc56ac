//! The growth of walk and tick as a picture.

use std::fmt::Write as _;

use crate::common::chart::HEAD;
use crate::measure::{Cell, Shape};

/// Distinguishable for everybody, and in print.
const COLORS: [(Shape, &str); 2] = [(Shape::Sparse, "#0072b2"), (Shape::Dense, "#d55e00")];

/// A rectangle of the picture with two axes, both logarithmic or the upright one from zero.
struct Panel {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x: (f64, f64),
    y: (f64, f64),
    logarithmic: bool,
}

impl Panel {
    fn x(&self, rows: f64) -> f64 {
        let (low, high) = (self.x.0.ln(), self.x.1.ln());
        self.left + (rows.ln() - low) / (high - low) * (self.right - self.left)
    }

    fn y(&self, value: f64) -> f64 {
        let part = if self.logarithmic {
            (value.ln() - self.y.0.ln()) / (self.y.1.ln() - self.y.0.ln())
        } else {
            (value - self.y.0) / (self.y.1 - self.y.0)
        };
        self.bottom - part * (self.bottom - self.top)
    }

    fn axes(&self, svg: &mut String, title: &str, rows: &[f64], ticks: &[f64], unit: &str) {
        let Self { left, right, top, bottom, .. } = self;
        let _ = writeln!(svg, r##"<text x="{left}" y="{}" class="title">{title}</text>"##, top - 22.0);
        for value in ticks {
            let y = self.y(*value);
            let _ = writeln!(svg, r##"<line x1="{left}" x2="{right}" y1="{y:.1}" y2="{y:.1}" class="grid"/>"##);
            let _ = writeln!(svg, r##"<text x="{}" y="{:.1}" class="end">{value} {unit}</text>"##, left - 8.0, y + 4.0);
        }
        for value in rows {
            let x = self.x(*value);
            let label = if *value >= 1e6 { format!("{} M", value / 1e6) } else { format!("{} k", value / 1e3) };
            let _ =
                writeln!(svg, r##"<line x1="{x:.1}" x2="{x:.1}" y1="{bottom}" y2="{}" class="axis"/>"##, bottom + 5.0);
            let _ = writeln!(svg, r##"<text x="{x:.1}" y="{}" class="middle">{label}</text>"##, bottom + 20.0);
        }
        let _ = writeln!(svg, r##"<line x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}" class="axis"/>"##);
        let middle = f64::midpoint(*left, *right);
        let _ = writeln!(svg, r##"<text x="{middle}" y="{}" class="middle">usage rows</text>"##, bottom + 40.0);
    }

    fn line(&self, svg: &mut String, points: &[(f64, f64)], color: &str, dashed: bool, label: &str, shift: f64) {
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{:.1},{:.1}", self.x(*x), self.y(*y))).collect();
        let dash = if dashed { r#" stroke-dasharray="5 4""# } else { "" };
        let _ = writeln!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{color}" stroke-width="2"{dash}/>"#,
            path.join(" ")
        );
        for (x, y) in points {
            let _ = writeln!(svg, r#"<circle cx="{:.1}" cy="{:.1}" r="3" fill="{color}"/>"#, self.x(*x), self.y(*y));
        }
        if let Some((x, y)) = points.last() {
            let (x, y) = (self.x(*x) + 8.0, self.y(*y) + 4.0 + shift);
            let _ = writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" fill="{color}">{label}</text>"#);
        }
    }
}

pub fn draw(cells: &[Cell]) -> String {
    #[allow(clippy::cast_precision_loss, reason = "a picture")]
    let points = |shape: Shape, value: fn(&Cell) -> f64| -> Vec<(f64, f64)> {
        cells.iter().filter(|cell| cell.shape == shape).map(|cell| (cell.rows as f64, value(cell))).collect()
    };
    let mut rows: Vec<f64> =
        COLORS.iter().flat_map(|(shape, _)| points(*shape, |cell| cell.walk)).map(|(rows, _)| rows).collect();
    rows.sort_by(f64::total_cmp);
    rows.dedup();
    let (Some(first), Some(last)) = (rows.first().copied(), rows.last().copied()) else { return String::new() };
    let x = (first / 1.15, last * 1.15);
    let seconds = cells.iter().flat_map(|cell| [cell.walk, cell.floor]);
    let (least, most) = seconds.fold((f64::MAX, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
    let decades = [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0];
    let low = decades.iter().rev().find(|decade| **decade <= least).copied().unwrap_or(0.01);
    let walk = Panel { left: 70.0, right: 430.0, top: 60.0, bottom: 350.0, x, y: (low, most * 1.3), logarithmic: true };
    let slowest = cells.iter().map(|cell| cell.tick * 1e3).fold(0.0, f64::max);
    let step = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0].into_iter().find(|step| slowest / step <= 5.0).unwrap_or(200.0);
    let tick = Panel {
        left: 630.0,
        right: 870.0,
        top: 60.0,
        bottom: 350.0,
        x,
        y: (0.0, (slowest / step).ceil().max(1.0) * step),
        logarithmic: false,
    };

    let mut svg = HEAD.to_owned();
    let above: Vec<f64> = decades.into_iter().filter(|decade| (low..=most * 1.3).contains(decade)).collect();
    walk.axes(&mut svg, "Walk over a year, and its floor", &rows, &above, "s");
    let steps: Vec<f64> = (0..=20).map(|n| f64::from(n) * step).filter(|value| *value <= tick.y.1).collect();
    tick.axes(&mut svg, "Tick with 200 changed rows", &rows, &steps, "ms");
    let last_of = |points: &[(f64, f64)]| points.last().map_or(0.0, |(_, value)| *value);
    for (shape, color) in COLORS {
        let (ours, floor, ticks) =
            (points(shape, |cell| cell.walk), points(shape, |cell| cell.floor), points(shape, |cell| cell.tick * 1e3));
        // Two labels at nearly the same height step aside.
        let apart = walk.y(last_of(&floor)) - walk.y(last_of(&ours));
        let aside =
            if apart.abs() < 16.0 { (16.0 - apart.abs()) / 2.0 * if apart < 0.0 { -1.0 } else { 1.0 } } else { 0.0 };
        walk.line(&mut svg, &floor, color, true, &format!("floor, {}", shape.name()), aside);
        walk.line(&mut svg, &ours, color, false, &format!("walk, {}", shape.name()), -aside);
        let other = COLORS
            .iter()
            .find(|(other, _)| *other != shape)
            .map_or(0.0, |(other, _)| last_of(&points(*other, |cell| cell.tick * 1e3)));
        let apart = tick.y(other) - tick.y(last_of(&ticks));
        let above = apart > 0.0 || (apart == 0.0 && shape == Shape::Sparse);
        let aside = if apart.abs() < 16.0 { (16.0 - apart.abs()) / 2.0 * if above { -1.0 } else { 1.0 } } else { 0.0 };
        tick.line(&mut svg, &ticks, color, false, shape.name(), aside);
    }
    svg + "</svg>\n"
}
