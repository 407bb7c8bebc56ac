//! The server of the run: `MIGRATE_TEST_DATABASE_URL`, else one made of this machine's PostgreSQL programs, else a
//! container. It goes away with this process, however that ends.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::build_script::build::undescribed;

/// The URL of a superuser on the server of this run.
pub fn server_url() -> String {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| {
        refuse_an_old_description();
        if let Ok(url) = std::env::var("MIGRATE_TEST_DATABASE_URL") {
            return url;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("script/server");
        let programs = Command::new(&script).arg("bindir").stderr(Stdio::null()).status();
        if programs.is_ok_and(|status| status.success()) { from_programs(&script) } else { from_docker() }
    })
    .clone()
}

/// Without its entry in the description, a new version makes tests fail that are not about it.
fn refuse_an_old_description() {
    let missing = undescribed(&Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations"));
    if !missing.is_empty() && std::env::var_os("WRITE_OBJECTS").is_none() {
        // Said once, whatever the tests' own output is kept for.
        let _ = writeln!(std::io::stderr(), "\n{}", missing.join("\n"));
        std::process::exit(1);
    }
}

fn from_programs(script: &Path) -> String {
    start(script, "server", &[]).0
}

/// A server of its own, for a test that needs one to be special, from this machine's PostgreSQL programs: its URL and
/// its folder.
pub fn special_server(name: &str, options: &[&str]) -> (String, PathBuf) {
    start(&Path::new(env!("CARGO_MANIFEST_DIR")).join("script/server"), name, options)
}

fn start(script: &Path, name: &str, options: &[&str]) -> (String, PathBuf) {
    let me = std::process::id().to_string();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{me}"));
    let started = Command::new(script)
        .arg("start")
        .arg(&folder)
        .args(["--throwaway", "--while", &me])
        .args(options)
        .stdin(Stdio::null())
        .output()
        .expect("script/server can be run");
    let said = String::from_utf8_lossy(&started.stderr);
    assert!(started.status.success(), "script/server could not start a server:\n{said}");
    (String::from_utf8(started.stdout).expect("a URL").trim().to_owned(), folder)
}

/// A server whose clock can be moved: its URL and its clock.
pub fn server_with_a_clock(name: &str) -> (String, Clock) {
    let (url, folder) = special_server(name, &["--clock"]);
    let home = std::fs::read_to_string(folder.join("home")).map_or(folder, |home| PathBuf::from(home.trim()));
    (url, Clock(home))
}

/// The clock of a special server.
#[derive(Clone)]
pub struct Clock(PathBuf);

impl Clock {
    /// From now on, for sessions that are there already too, it is off by this many seconds.
    pub fn set(&self, seconds: f64) {
        #[allow(clippy::cast_possible_truncation, reason = "microseconds of some years")]
        let microseconds = (seconds * 1e6) as i64;
        let file = std::fs::OpenOptions::new().write(true).open(self.0.join("clock")).expect("the server's clock");
        file.write_all_at(&microseconds.to_ne_bytes(), 0).expect("the server's clock");
    }
}

/// Stops a special server as a signal to its first process does: `INT` ends all sessions at once (fast), `QUIT` is a crash
/// (immediate).
pub async fn stop_special_server(url: &str, signal: &str) {
    let admin = super::session(url).await;
    let row = admin.query_one("SELECT pg_read_file('postmaster.pid')", &[]).await.expect("a superuser");
    let text: String = row.get(0);
    drop(admin);
    let pid = text.lines().next().expect("a process id").to_owned();
    let sent = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", signal, &pid]).status();
    assert!(sent.expect("a shell").success());
    // Its entry among the processes may stay for a while after its end; its port does not.
    let (_, rest) = url.split_once('@').expect("a URL with a user");
    let (address, _) = rest.split_once('/').expect("a URL with a database");
    while std::net::TcpStream::connect(address).is_ok() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Starts it again, on the same port. Whoever watches over it still does.
pub fn start_special_server_again(folder: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("script/server");
    let started = Command::new(script).arg("start").arg(folder).arg("--throwaway").stdin(Stdio::null()).output();
    let started = started.expect("script/server can be run");
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
}

/// Makes a standby of a special server and starts it: its URL. The server has been stopped for that.
pub fn standby_of(primary: &Path, name: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("script/server");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let copied = Command::new(&script).arg("standby").arg(&folder).arg(primary).stdin(Stdio::null()).output();
    let copied = copied.expect("script/server can be run");
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    start(&script, name, &[]).0
}

/// The container is removed by a shell that outlives this process: a static is never dropped, and a test run can be
/// killed.
fn from_docker() -> String {
    use testcontainers::core::{IntoContainerPort, WaitFor};
    use testcontainers::runners::AsyncRunner;
    use testcontainers::{GenericImage, ImageExt};

    let start = async {
        let container = GenericImage::new("postgres", "15")
            .with_exposed_port(5432.tcp())
            .with_wait_for(WaitFor::message_on_stderr("database system is ready to accept connections"))
            .with_wait_for(WaitFor::message_on_stderr("database system is ready to accept connections"))
            .with_env_var("POSTGRES_PASSWORD", "postgres")
            .with_cmd(["postgres", "-c", "fsync=off", "-c", "max_connections=200"])
            .start()
            .await
            .expect(
                "a server to test on: none in MIGRATE_TEST_DATABASE_URL, no PostgreSQL programs (script/server install \
                 gets them), and no Docker",
            );
        let host = container.get_host().await.expect("the container has a host");
        let port = container.get_host_port_ipv4(5432).await.expect("the container has a port");
        let id = container.id().to_owned();
        std::mem::forget(container);
        (format!("postgres://postgres:postgres@{host}:{port}/postgres"), id)
    };
    let runtime = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(start)
    });
    let (url, id) = runtime.join().expect("the container starts");
    let watch = format!(
        "while kill -0 {} 2>/dev/null; do sleep 1; done; docker rm --force --volumes {id} >/dev/null 2>&1",
        std::process::id()
    );
    let _ = Command::new("setsid").args(["sh", "-c", &watch]).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    url
}
