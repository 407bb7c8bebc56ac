//! What `migrate repair codex-cache` costs, against one UPDATE of the same rows.
//!
//! `cargo bench --bench repair` starts a throwaway server with stock settings and takes about half an hour. It prints a
//! table and leaves `repair.json` in `target/bench/`.
//!
//! - `BENCH_SIZES=100000,400000` other numbers of usage rows, of which a quarter is to be repaired
//! - `BENCH_PUBLISH=1` also brings `docs/performance.md` and its data up to date

#[path = "../common/mod.rs"]
mod common;
mod measure;
mod report;

use std::path::Path;

use common::Outcome;
use report::Report;

const SIZES: [u64; 2] = [1_000_000, 4_000_000];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Outcome<()> {
    let sizes = common::sizes(&SIZES)?;
    let server = common::start_server()?;
    let mut report = Report::new(common::server_version(&server).await?);
    for rows in sizes {
        eprintln!("{rows} rows");
        report.cells.push(measure::cell(&server, rows).await?);
    }
    print!("{}", report.table());

    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../bench");
    report.write(&out)?;
    println!("\nwritten: {}", out.canonicalize()?.display());
    if std::env::var_os("BENCH_PUBLISH").is_some() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        report.write(&docs.join("performance"))?;
        common::publish_table(&docs, "repair", &report.table())?;
        println!("docs/performance.md and its data are up to date");
    }
    Ok(())
}
