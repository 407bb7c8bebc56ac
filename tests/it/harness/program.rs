//! The program as a process: started, fed with signals, and looked at.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::Machine;

/// A call of the program that has not been made yet. It inherits no database from the surroundings.
pub struct Program {
    command: Command,
}

impl Program {
    pub fn new() -> Self {
        Self::called(Command::new(env!("CARGO_BIN_EXE_migrate")))
    }

    /// On another machine.
    pub fn on(machine: &Machine) -> Self {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &machine.name, env!("CARGO_BIN_EXE_migrate")]);
        Self::called(command)
    }

    fn called(mut command: Command) -> Self {
        command
            .env_remove("DATABASE_URL")
            .env_remove("MIGRATE_DATABASE_URL")
            .env_remove("MIGRATE_LOG")
            .env_remove("MIGRATE_DIR")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self { command }
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// A variable whose value need not be text.
    pub fn env_bytes(mut self, name: &str, value: &OsStr) -> Self {
        self.command.env(name, value);
        self
    }

    /// An argument that need not be text.
    pub fn arg_bytes(mut self, value: &OsStr) -> Self {
        self.command.arg(value);
        self
    }

    /// In another folder than this one.
    pub fn current_dir(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.command.args(args);
        self
    }

    /// Runs it to its end.
    pub fn run(self) -> Finished {
        self.start().wait()
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        Running { child: self.command.spawn().expect("the program starts") }
    }
}

/// A running program.
pub struct Running {
    child: Child,
}

impl Running {
    /// Sends a signal: `TERM`, `INT`, `KILL`.
    pub fn signal(&self, name: &str) {
        // The shell's own kill: a small system has no other.
        let sent =
            Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &self.child.id().to_string()]).status();
        assert!(sent.expect("a shell").success());
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it can be asked").is_none()
    }

    /// Waits until it ends, and says how much memory it has had at most, in kilobytes.
    pub fn wait_with_peak(self) -> (Finished, u64) {
        let status = format!("/proc/{}/status", self.child.id());
        let waiting = std::thread::spawn(move || self.wait());
        let mut peak = 0;
        while !waiting.is_finished() {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let now =
                line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|kilobytes| kilobytes.parse().ok());
            peak = peak.max(now.unwrap_or(0));
            std::thread::sleep(Duration::from_millis(2));
        }
        (waiting.join().expect("it ends"), peak)
    }

    /// Waits until it ends, for two minutes at most.
    pub fn wait(self) -> Finished {
        let started = Instant::now();
        let output = std::thread::spawn(move || self.child.wait_with_output());
        while !output.is_finished() {
            assert!(started.elapsed() < Duration::from_secs(120), "the program does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = output.join().expect("no panic").expect("its output can be read");
        Finished {
            status: output.status,
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

/// What came of a call.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Fails unless it ended with this exit code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "\n{}\n{}", self.stdout, self.stderr);
        self
    }

    /// What it says on standard error, without the line that names server and database.
    pub fn told(&self) -> &str {
        match self.stderr.split_once('\n') {
            Some((first, rest)) if first.contains(", PostgreSQL ") && !first.starts_with("error: ") => rest,
            _ => &self.stderr,
        }
    }

    /// The lines of standard output as JSON objects.
    #[track_caller]
    pub fn json(&self) -> Vec<serde_json::Value> {
        let parse = |line: &str| {
            // Strict parsers refuse a key that an object has twice.
            assert_eq!(line.matches("\"set\":").count(), 1, "{line}");
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        };
        self.stdout.lines().map(parse).collect()
    }

    /// The JSON objects of one event.
    pub fn events(&self, name: &str) -> Vec<serde_json::Value> {
        self.json().into_iter().filter(|event| event["event"] == name).collect()
    }
}
