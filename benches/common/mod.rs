//! What the benchmarks share: a server, usage to measure with, and where results go.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use migrate::CancellationToken;
use migrate::db::{Connection, Connector, Database, Error, Observer};
use migrate::platform::usage::{self, Scope};

pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// The numbers of usage rows to measure: those of `BENCH_SIZES`, or these.
pub fn sizes(sizes: &[u64]) -> Outcome<Vec<u64>> {
    match std::env::var("BENCH_SIZES") {
        Ok(given) => Ok(given.split(',').map(str::parse).collect::<Result<_, _>>()?),
        Err(_) => Ok(sizes.to_vec()),
    }
}

/// A server with stock settings that goes away with this process: the URL of its first database.
pub fn start_server() -> Outcome<String> {
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

/// The same server, another database.
pub fn with_database(server: &str, name: &str) -> Outcome<String> {
    let (prefix, _) = server.rsplit_once('/').ok_or("a URL with a database")?;
    Ok(format!("{prefix}/{name}"))
}

pub async fn server_version(url: &str) -> Outcome<String> {
    let connection = connect(url).await?;
    Ok(connection.query_one("SELECT split_part(current_setting('server_version'), ' ', 1)", &[]).await?.get(0))
}

pub fn connector(url: &str) -> Outcome<Connector> {
    Ok(Connector::new(Database::from_url(url)?, CancellationToken::new()))
}

pub async fn connect(url: &str) -> Outcome<Connection> {
    Ok(connector(url)?.connect("bench").await?)
}

pub fn migrate(url: &str, target: &str) -> Outcome<()> {
    let status = Command::new(env!("CARGO_BIN_EXE_migrate"))
        .args(["up", "-q", "--target", target])
        .env("DATABASE_URL", url)
        .stdin(Stdio::null())
        .status()?;
    if status.success() { Ok(()) } else { Err(format!("migrate up --target {target} failed").into()) }
}

/// A year of usage, for a database at version 72. `codex` is the part of it that is of Codex.
pub async fn load_usage(connection: &Connection, rows: u64, per_bucket: u32, codex: f64) -> Outcome<()> {
    let load = format!(
        "SET session_replication_role TO replica; SET bench.rows = '{rows}'; SET bench.per_bucket = '{per_bucket}';
         SET bench.codex = '{codex}'; {};
         RESET session_replication_role",
        include_str!("usage.sql")
    );
    Ok(connection.batch(&load).await?)
}

pub async fn timed(work: impl Future<Output = Result<(), Error>>) -> Outcome<f64> {
    let started = Instant::now();
    work.await?;
    Ok(started.elapsed().as_secs_f64())
}

pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { f64::midpoint(values[middle - 1], values[middle]) } else { values[middle] }
}

/// The rollup equals the raw usage, every bucket.
pub async fn assert_exact(url: &str) -> Outcome<()> {
    let found = usage::compare(&connector(url)?, Scope::default(), &Observer::silent()).await?;
    if found.wrong() + found.waiting > 0 || found.buckets == 0 {
        return Err(format!("the rollup is wrong: {found:?}").into());
    }
    Ok(())
}

/// Puts what was measured into `docs/performance.md`, between the marks of this benchmark.
pub fn publish_table(docs: &Path, bench: &str, table: &str) -> Outcome<()> {
    let (begin, end) = (
        format!("<!-- measured by: cargo bench --bench {bench} -->"),
        format!("<!-- end of what {bench} measured -->"),
    );
    let page = docs.join("performance.md");
    let text = std::fs::read_to_string(&page)?;
    let (before, rest) = text.split_once(&begin).ok_or("docs/performance.md lacks the mark where the table begins")?;
    let (_, after) = rest.split_once(&end).ok_or("docs/performance.md lacks the mark where the table ends")?;
    std::fs::write(page, format!("{before}{begin}\n\n{table}\n{end}{after}"))?;
    Ok(())
}

pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let cpu = field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let memory = memory.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0).div_ceil(1024 * 1024);
    let system = read("/etc/os-release");
    let system = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown system");
    format!("{cores} cores of {cpu}, {memory} GiB, {}", system.trim_matches('"'))
}
