//! Measuring one number of rows.

use std::process::{Command, Stdio};
use std::time::Instant;

use migrate::db::Connection;
use serde::{Deserialize, Serialize};

use crate::common::{Outcome, assert_exact, connect, load_usage, median, migrate, timed, with_database};

/// Fifty rows share a bucket, so that the rollup is not what is measured.
const PER_BUCKET: u32 = 50;

/// Seconds, medians of some rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cell {
    pub rows: u64,
    /// Rows to be repaired.
    pub eligible: u64,
    /// One UPDATE of them.
    pub floor: f64,
    /// One window of the rollup over all of them.
    pub floor_rollup: f64,
    /// The repair with its journal, without the rollup.
    pub repair: f64,
    /// The repair with its journal and the rollup.
    pub repair_with_rollup: f64,
    /// The dry run.
    pub dry_run: f64,
    /// Taking it back, with its journal and the rollup.
    pub undo: f64,
    /// Every round, in the order of time: floor, its rollup, repair, repair with rollup.
    pub rounds: Vec<[f64; 4]>,
}

/// All of the usage is from before this.
fn eligible(cutoff: &str) -> String {
    format!(
        "provider = 'codex' AND cache_read_tokens > 0 AND input_tokens > 0
         AND coalesce(updated_at, created_at) < {cutoff}"
    )
}

pub async fn cell(server: &str, rows: u64) -> Outcome<Cell> {
    let admin = connect(server).await?;
    let name = format!("repair_{rows}");
    let url = with_database(server, &name)?;
    admin.batch(&format!("CREATE DATABASE {name}")).await?;
    migrate(&url, "72")?;
    let connection = connect(&url).await?;
    load_usage(&connection, rows, PER_BUCKET, 0.25).await?;
    connection.close().await;
    migrate(&url, "272")?;
    let connection = connect(&url).await?;
    // The floor gets its best plan. Ours does not ask for statistics, and its journal has none.
    for table in ["task_usage", "agent_task_queue", "task_usage_hourly"] {
        connection.batch(&format!("VACUUM (ANALYZE) {table}")).await?;
    }
    let eligible: i64 = connection
        .query_one(&format!("SELECT count(*) FROM task_usage WHERE {}", eligible("now()")), &[])
        .await?
        .get(0);
    connection.close().await;

    let bench = Bench { admin: &admin, server, base: &name };
    let (mut rounds, mut dry_runs, mut undos) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..3 {
        let mut times = [0.0; 4];
        // None of them is always the first.
        for turn in 0..3 {
            match (round + turn) % 3 {
                0 => [times[0], times[1]] = bench.floor().await?,
                1 => times[2] = bench.repair(false, &mut dry_runs, None).await?,
                _ => times[3] = bench.repair(true, &mut dry_runs, Some(&mut undos)).await?,
            }
        }
        let [floor, rollup, repair, both] = times;
        eprintln!("  floor {floor:.2} s, its rollup {rollup:.2} s, repair {repair:.2} s, with rollup {both:.2} s");
        rounds.push(times);
    }
    admin.batch(&format!("DROP DATABASE {name} WITH (FORCE)")).await?;
    let of = |at: usize| median(&mut rounds.iter().map(|round| round[at]).collect::<Vec<_>>());
    Ok(Cell {
        rows,
        eligible: eligible.unsigned_abs(),
        floor: of(0),
        floor_rollup: of(1),
        repair: of(2),
        repair_with_rollup: of(3),
        dry_run: median(&mut dry_runs),
        undo: median(&mut undos),
        rounds,
    })
}

struct Bench<'a> {
    admin: &'a Connection,
    server: &'a str,
    base: &'a str,
}

impl Bench<'_> {
    /// A copy of the database, and nothing left to be written to disk.
    async fn copy(&self) -> Outcome<String> {
        let Self { admin, server, base } = self;
        admin.batch(&format!("CREATE DATABASE round TEMPLATE {base} STRATEGY file_copy")).await?;
        let url = with_database(server, "round")?;
        let connection = connect(&url).await?;
        // Whether this happens in the middle of a measurement must not be left to chance.
        for table in ["task_usage", "agent_task_queue", "task_usage_hourly"] {
            connection.batch(&format!("ALTER TABLE {table} SET (autovacuum_enabled = off)")).await?;
        }
        connection.batch("CHECKPOINT").await?;
        connection.close().await;
        Ok(url)
    }

    async fn drop(&self) -> Outcome<()> {
        Ok(self.admin.batch("DROP DATABASE round WITH (FORCE)").await?)
    }

    async fn floor(&self) -> Outcome<[f64; 2]> {
        const ROLLUP: &str =
            "SELECT rollup_task_usage_hourly_window(now() - interval '1 hour', now() + interval '1 second')";
        let url = self.copy().await?;
        let connection = connect(&url).await?;
        let update = format!(
            "UPDATE task_usage
             SET input_tokens = greatest(input_tokens - cache_read_tokens, 0), updated_at = now()
             WHERE {}",
            eligible("now()")
        );
        let update = timed(connection.batch(&update)).await?;
        let rollup = timed(connection.batch(ROLLUP)).await?;
        connection.close().await;
        self.drop().await?;
        Ok([update, rollup])
    }

    /// The program, as an operator runs it.
    async fn repair(&self, rollup: bool, dry_runs: &mut Vec<f64>, undos: Option<&mut Vec<f64>>) -> Outcome<f64> {
        let url = self.copy().await?;
        let connection = connect(&url).await?;
        let cutoff = "SELECT to_json(now() - interval '1 second') #>> '{}'";
        let cutoff: String = connection.query_one(cutoff, &[]).await?.get(0);
        dry_runs.push(program(&url, &["codex-cache", "--cutoff", &cutoff])?);
        connection.batch("CHECKPOINT").await?;
        let rebuild = if rollup { "--rebuild-rollup=true" } else { "--rebuild-rollup=false" };
        let time = program(&url, &["codex-cache", "--cutoff", &cutoff, "--execute", rebuild])?;
        let left = format!("SELECT count(*) FROM task_usage WHERE {}", eligible(&format!("'{cutoff}'")));
        let left: i64 = connection.query_one(&left, &[]).await?.get(0);
        if left > 0 {
            return Err(format!("{left} rows are left").into());
        }
        if rollup {
            assert_exact(&url).await?;
        }
        if let Some(undos) = undos {
            connection.batch("CHECKPOINT").await?;
            undos.push(program(&url, &["undo", "1", "--execute"])?);
            assert_exact(&url).await?;
        }
        connection.close().await;
        self.drop().await?;
        Ok(time)
    }
}

fn program(url: &str, args: &[&str]) -> Outcome<f64> {
    let started = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_migrate"))
        .arg("repair")
        .args(args)
        .env("DATABASE_URL", url)
        .stdin(Stdio::null())
        .output()?;
    let time = started.elapsed().as_secs_f64();
    if output.status.success() {
        Ok(time)
    } else {
        Err(format!("{args:?} failed: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}
