//! Standard output and standard error that take nothing: a run that holds locks does not die of it, and a result that
//! nobody has got is no success.

use std::fs::OpenOptions;
use std::process::{Child, Command, Output, Stdio};

use crate::harness::{TestDatabase, latest};

/// What is wrong with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    Closed,
    Full,
    BrokenPipe,
}

const ALL: [Lost; 3] = [Lost::Closed, Lost::Full, Lost::BrokenPipe];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

/// The program with one of its streams lost, and the other one read.
fn start(database: &TestDatabase, stream: Stream, lost: Lost, args: &[&str]) -> Child {
    let closed = match (lost, stream) {
        (Lost::Closed, Stream::Out) => "exec \"$0\" \"$@\" >&-",
        (Lost::Closed, Stream::Err) => "exec \"$0\" \"$@\" 2>&-",
        _ => "exec \"$0\" \"$@\"",
    };
    let mut command = Command::new("sh");
    command.args(["-c", closed, env!("CARGO_BIN_EXE_migrate")]).args(args).stdin(Stdio::null());
    command.env_remove("MIGRATE_DATABASE_URL").env_remove("MIGRATE_LOG").env("DATABASE_URL", &database.url);
    let taken = match lost {
        Lost::Closed => Stdio::null(),
        Lost::Full => OpenOptions::new().write(true).open("/dev/full").expect("a full device").into(),
        Lost::BrokenPipe => std::io::pipe().expect("a pipe").1.into(),
    };
    match stream {
        Stream::Out => command.stdout(taken).stderr(Stdio::piped()),
        Stream::Err => command.stderr(taken).stdout(Stdio::piped()),
    };
    command.spawn().expect("the program starts")
}

fn run(database: &TestDatabase, stream: Stream, lost: Lost, args: &[&str]) -> Output {
    start(database, stream, lost, args).wait_with_output().expect("it ends")
}

/// What only shows something.
const SHOWS: [&[&str]; 6] = [
    &["status", "-vv"],
    &["status", "--format", "json"],
    &["verify", "schema", "-vv"],
    &["rollup", "status", "-vv"],
    &["up", "--dry-run", "-vv"],
    &["repair", "codex-cache", "--cutoff", "2026-02-01T12:00:00Z", "-vv"],
];

#[tokio::test]
async fn nothing_ends_for_want_of_standard_error() {
    let database = TestDatabase::at_version(latest(), 100, 3).await;
    for lost in ALL {
        for args in SHOWS {
            let ended = run(&database, Stream::Err, lost, args);
            assert_eq!(ended.status.code(), Some(0), "{lost:?} {args:?}");
            assert!(!ended.stdout.is_empty(), "{lost:?} {args:?}");
        }
        let fresh = TestDatabase::empty().await;
        let ended = run(&fresh, Stream::Err, lost, &["up", "-vv"]);
        assert_eq!(ended.status.code(), Some(0), "{lost:?}");
        assert_eq!(fresh.versions().await.last(), Some(&latest()), "{lost:?}");
        // An error keeps its exit code.
        let ended = run(&fresh, Stream::Err, lost, &["up", "--target", "7777", "-vv"]);
        assert_eq!(ended.status.code(), Some(2), "{lost:?}");
        let ended = run(&fresh, Stream::Err, lost, &["sideways"]);
        assert_eq!(ended.status.code(), Some(2), "{lost:?}");
    }
}

#[tokio::test]
async fn a_result_that_cannot_be_written_is_a_failure() {
    let database = TestDatabase::at_version(latest(), 100, 3).await;
    for args in SHOWS {
        let ended = run(&database, Stream::Out, Lost::Full, args);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{args:?}: {said}");
        assert!(
            said.contains("error: the result could not be written to standard output: No space left on device"),
            "{args:?}: {said}"
        );
        // A reader that has gone wanted no more. What was closed from the start is taken for /dev/null.
        for lost in [Lost::Closed, Lost::BrokenPipe] {
            let ended = run(&database, Stream::Out, lost, args);
            assert_eq!(ended.status.code(), Some(0), "{lost:?} {args:?}: {}", String::from_utf8_lossy(&ended.stderr));
        }
    }
    for args in [&["--help"][..], &["--version"], &["repair", "list"]] {
        let ended = run(&database, Stream::Out, Lost::Full, args);
        assert_eq!(ended.status.code(), Some(1), "{args:?}");
    }
    // What is wrong is worth more than that nobody was told.
    database.batch("DROP INDEX idx_task_usage_hourly_workspace_time").await;
    let ended = run(&database, Stream::Out, Lost::Full, &["verify", "schema"]);
    assert_eq!(ended.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("could not write to standard output"));
}

#[tokio::test]
async fn work_is_done_before_anybody_hears_that_its_output_was_lost() {
    for lost in ALL {
        for (format, code) in [("human", 0), ("json", i32::from(lost == Lost::Full))] {
            let database = TestDatabase::empty().await;
            let ended = run(&database, Stream::Out, lost, &["up", "-vv", "--format", format]);
            let said = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(ended.status.code(), Some(code), "{lost:?} {format}: {said}");
            assert_eq!(database.versions().await.last(), Some(&latest()), "{lost:?} {format}");
            assert_eq!(said.contains("No space left on device"), lost == Lost::Full, "{lost:?} {format}: {said}");
        }
    }
}

#[tokio::test]
async fn a_watch_outlives_its_output() {
    for stream in [Stream::Out, Stream::Err] {
        for lost in ALL {
            let database = TestDatabase::at_version(102, 100, 3).await;
            // Its first tick fails, which is told to both streams, and cannot even be recorded, which is a warning.
            database
                .batch(
                    "ALTER FUNCTION rollup_task_usage_hourly_window RENAME TO hidden;
                        ALTER TABLE task_usage_hourly_rollup_state ADD CONSTRAINT mute CHECK (last_error IS NULL)",
                )
                .await;
            let mut watch = start(&database, stream, lost, &["rollup", "watch", "--every", "1s", "-vv"]);
            tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
            assert!(watch.try_wait().expect("it can be asked").is_none(), "{stream:?} {lost:?}: it has died");
            database.batch("ALTER FUNCTION hidden RENAME TO rollup_task_usage_hourly_window").await;
            database.wait_until("SELECT last_run_finished_at IS NOT NULL FROM task_usage_hourly_rollup_state").await;
            let stopped = Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &watch.id().to_string()]).status();
            assert!(stopped.expect("a shell").success());
            let ended = watch.wait_with_output().expect("it ends");
            assert_eq!(ended.status.code(), Some(0), "{stream:?} {lost:?}: {}", String::from_utf8_lossy(&ended.stderr));
        }
    }
}
