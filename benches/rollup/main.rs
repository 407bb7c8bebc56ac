//! What the hourly rollup costs: the walk against its floor, the tick, the guard, and the triggers, by number of rows.
//!
//! `cargo bench --bench rollup` starts a throwaway server with stock settings and takes about a quarter of an hour. It
//! prints a table and leaves `rollup.json` in `target/bench/`.
//!
//! - `BENCH_SIZES=100000,400000` other numbers of usage rows
//! - `BENCH_SHAPES=dense` only one of the shapes
//! - `BENCH_PUBLISH=1` also brings `docs/performance.md` and its data up to date

#[path = "../common/mod.rs"]
mod common;
mod measure;
mod report;

use std::path::Path;

use common::Outcome;
use measure::Shape;
use report::Report;

const SIZES: [u64; 4] = [100_000, 400_000, 1_000_000, 4_000_000];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Outcome<()> {
    let sizes = common::sizes(&SIZES)?;
    let shapes = match std::env::var("BENCH_SHAPES").as_deref() {
        Ok("sparse") => vec![Shape::Sparse],
        Ok("dense") => vec![Shape::Dense],
        Ok(other) => return Err(format!("BENCH_SHAPES is sparse or dense, not {other}").into()),
        Err(_) => vec![Shape::Sparse, Shape::Dense],
    };

    let server = common::start_server()?;
    let mut report = Report::new(common::server_version(&server).await?);
    for shape in shapes {
        for &rows in &sizes {
            eprintln!("{} {rows} rows", shape.name());
            let (cell, writes) = measure::cell(&server, shape, rows).await?;
            eprintln!("  walk {:.2} s, floor {:.2} s, tick {:.1} ms", cell.walk, cell.floor, cell.tick * 1e3);
            report.cells.push(cell);
            report.writes.extend(writes);
        }
    }
    print!("{}", report.table());

    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../bench");
    report.write(&out)?;
    println!("\nwritten: {}", out.canonicalize()?.display());
    if std::env::var_os("BENCH_PUBLISH").is_some() {
        report.publish(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs"))?;
        println!("docs/performance.md and its data are up to date");
    }
    Ok(())
}
