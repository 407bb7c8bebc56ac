//! What the hourly rollup costs: the walk against its floor, the tick, the guard, and the triggers, by number of rows.
//!
//! `cargo bench --bench rollup` starts a throwaway server with stock settings and takes about a quarter of an hour. It
//! prints a table and leaves `rollup.json` and `rollup.svg` in `target/bench/`.
//!
//! - `BENCH_SIZES=100000,400000` other numbers of usage rows
//! - `BENCH_SHAPES=dense` only one of the shapes
//! - `BENCH_PUBLISH=1` also brings `docs/performance.md`, its chart and its data up to date

mod chart;
mod measure;
mod report;

use std::path::{Path, PathBuf};
use std::process::Command;

use measure::Shape;
use report::Report;

const SIZES: [u64; 4] = [100_000, 400_000, 1_000_000, 4_000_000];

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Outcome<()> {
    let sizes: Vec<u64> = match std::env::var("BENCH_SIZES") {
        Ok(sizes) => sizes.split(',').map(str::parse).collect::<Result<_, _>>()?,
        Err(_) => SIZES.to_vec(),
    };
    let shapes = match std::env::var("BENCH_SHAPES").as_deref() {
        Ok("sparse") => vec![Shape::Sparse],
        Ok("dense") => vec![Shape::Dense],
        Ok(other) => return Err(format!("BENCH_SHAPES is sparse or dense, not {other}").into()),
        Err(_) => vec![Shape::Sparse, Shape::Dense],
    };

    let server = start_server()?;
    let mut report = Report::new(measure::server_version(&server).await?);
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
        println!("docs/performance.md, its chart and its data are up to date");
    }
    Ok(())
}

/// A server with stock settings that goes away with this process: the URL of its first database.
fn start_server() -> Outcome<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("script/server");
    let me = std::process::id().to_string();
    let folder: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{me}"));
    if !Command::new(&script).arg("install").status()?.success() {
        return Err("no PostgreSQL to measure".into());
    }
    let started = Command::new(&script).arg("start").arg(&folder).args(["--while", &me]).output()?;
    if !started.status.success() {
        return Err(String::from_utf8_lossy(&started.stderr).into());
    }
    Ok(String::from_utf8(started.stdout)?.trim().to_owned())
}
