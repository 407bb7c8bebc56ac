//! A backup that was restored in part, or over a database of another time, with the programs that people do that with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::harness::{TestDatabase, all_versions, latest, release};

/// A program of PostgreSQL's. What `pg_restore --clean` cannot drop it reports, and goes on.
fn call(program: &str, args: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("script/server");
    let bindir = Command::new(script).arg("bindir").output().expect("script/server can be run").stdout;
    let bindir = PathBuf::from(String::from_utf8(bindir).expect("UTF-8").trim());
    let done = Command::new(bindir.join(program)).args(args).output().expect("PostgreSQL's programs are there");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() || said.contains("errors ignored on restore"), "{program} {args:?}: {said}");
}

struct Backup(PathBuf);

impl Backup {
    fn of(database: &TestDatabase) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{number}.backup", database.name));
        call("pg_dump", &["-Fc", "-f", &file.to_string_lossy(), &database.url]);
        Self(file)
    }

    fn restore(&self, into: &TestDatabase, options: &[&str]) {
        let file = self.0.to_string_lossy();
        call("pg_restore", &[&["-d", &into.url], options, &[&*file]].concat());
    }
}

impl Drop for Backup {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// `up` and its dry run refuse and write nothing, and everything that looks says so; returns what `up` says.
async fn refused(database: &TestDatabase, part: &str) -> String {
    let history = "SELECT coalesce((SELECT string_agg(c.oid::regclass || ' ' || c.xmin, ',' ORDER BY c.oid)
                                  FROM pg_class c WHERE c.relnamespace IN ('public'::regnamespace, to_regnamespace('migrate'))), '')";
    let before: String = database.value(history).await;
    database.program().args(["up", "--dry-run"]).run().expect(7);
    let up = database.program().args(["up"]).run().expect(7);
    assert!(up.stderr.contains(part), "{part:?} is missing:\n{}", up.stderr);
    assert!(up.stderr.contains("nothing was written"), "{}", up.stderr);
    assert_eq!(database.value::<String>(history).await, before);
    database.program().args(["verify", "history"]).run().expect(4);
    database.program().args(["verify", "schema"]).run().expect(4);
    let status = database.program().args(["status", "--check"]).run().expect(4);
    assert!(status.stdout.contains(part), "{part:?} is missing:\n{}", status.stdout);
    up.stderr
}

/// What `up` proposes is run, and the next one brings everything right.
async fn put_right(database: &TestDatabase, said: &str) {
    let (_, statement) = said.split_once("with: ").expect("a statement");
    let (statement, _) = statement.split_once(" then run migrate up").expect("the next command");
    database.batch(statement).await;
    let up = database.program().args(["up"]).run().expect(0);
    assert_eq!(database.versions().await, all_versions(), "{}", up.stdout);
    let verified = database.program().args(["verify"]).run().expect(0);
    assert!(verified.stdout.contains("objects, as they should be"), "{}", verified.stdout);
    database.batch("SELECT rollup_task_usage_hourly_window('epoch', now() + interval '1 second')").await;
    database.assert_parity().await;
}

#[tokio::test]
async fn an_older_backup_restored_over_a_newer_database_is_recognised() {
    let database = TestDatabase::at_version(84, 300, 5).await;
    let backup = Backup::of(&database);
    database.program().args(["up"]).run().expect(0);
    backup.restore(&database, &["--clean", "--if-exists"]);
    assert_eq!(database.versions().await.last(), Some(&84));
    let said =
        refused(&database, "the history is behind the database: it ends at version 84, and table task_usage_hourly")
            .await;
    assert!(said.contains("which V101__task_usage_hourly_schema.sql makes"), "{said}");
    assert!(said.contains("pg_restore without --clean"), "{said}");
    assert!(!said.contains("INSERT INTO"), "a mixture must not be recorded: {said}");

    // Whole, into an empty one, it is as good as new.
    let empty = TestDatabase::empty().await;
    backup.restore(&empty, &[]);
    empty.program().args(["up"]).run().expect(0);
    empty.program().args(["verify"]).run().expect(0);
}

#[tokio::test]
async fn a_history_from_an_older_backup_can_be_recorded_where_everything_is_there() {
    for older in [72, 84, 101, 104] {
        let database = TestDatabase::empty().await;
        database.program().args(["up", "--target", &older.to_string()]).run().expect(0);
        let backup = Backup::of(&database);
        if older >= 72 {
            database.write_usage(300, 5).await;
        }
        database.program().args(["up"]).run().expect(0);
        backup.restore(&database, &["--clean", "--if-exists", "-n", "migrate"]);
        assert_eq!(database.versions().await.last(), Some(&older));
        let said =
            refused(&database, &format!("the history is behind the database: it ends at version {older}, and ")).await;
        put_right(&database, &said).await;
    }
    // Where what was made since bears being made again, nothing has to be said.
    let database = TestDatabase::at_version(102, 300, 5).await;
    let backup = Backup::of(&database);
    database.program().args(["up", "--target", "104"]).run().expect(0);
    backup.restore(&database, &["--clean", "--if-exists", "-n", "migrate"]);
    database.program().args(["up"]).run().expect(0);
    database.program().args(["verify"]).run().expect(0);
}

#[tokio::test]
async fn a_history_without_rows_is_no_empty_database() {
    for version in [84, latest()] {
        let database = TestDatabase::at_version(version, 300, 5).await;
        database.batch("DELETE FROM migrate.history_platform").await;
        for args in [&["up", "--dry-run"][..], &["up"], &["status"]] {
            let refused = database.program().args(args.iter().copied()).run().expect(7);
            assert!(
                refused.stderr.contains("the history is behind the database: it is empty, and table"),
                "{}",
                refused.stderr
            );
        }
        database.program().args(["verify"]).run().expect(4);
        let said = database.program().args(["up"]).run().expect(7).stderr;
        put_right(&database, &said).await;
    }
    // What is not as our versions leave it is not ours to record.
    let database = TestDatabase::at_version(latest(), 0, 0).await;
    database.batch("DELETE FROM migrate.history_platform; ALTER TABLE task_usage_hourly DROP COLUMN event_count").await;
    let up = database.program().args(["up"]).run().expect(7);
    assert!(!up.stderr.contains("INSERT INTO"), "{}", up.stderr);
    assert!(up.stderr.contains("restore"), "{}", up.stderr);
}

#[tokio::test]
async fn a_history_without_its_objects_is_recognised() {
    let ahead = format!("the history is ahead of the database: it ends at version {}, and ", latest());
    let newest = TestDatabase::at_version(latest(), 300, 5).await;
    let backup = Backup::of(&newest);
    // The schema migrate alone.
    let empty = TestDatabase::empty().await;
    empty.batch("CREATE SCHEMA migrate").await;
    backup.restore(&empty, &["-n", "migrate"]);
    let said = refused(&empty, &ahead).await;
    assert!(said.contains("restore one backup whole"), "{said}");
    // All but that.
    let empty = TestDatabase::empty().await;
    backup.restore(&empty, &["-n", "public"]);
    let up = empty.program().args(["up"]).run().expect(7);
    assert!(up.stderr.contains("restore the schema migrate as well"), "{}", up.stderr);
    // The schema migrate over objects of an earlier time.
    for older in [84, 102, 104] {
        let database = TestDatabase::at_version(older, 0, 0).await;
        backup.restore(&database, &["--clean", "--if-exists", "-n", "migrate"]);
        refused(&database, &ahead).await;
    }
    // Everything, into an empty one.
    let whole = TestDatabase::empty().await;
    backup.restore(&whole, &[]);
    whole.program().args(["up"]).run().expect(0);
    whole.program().args(["verify"]).run().expect(0);
}

#[tokio::test]
async fn a_mixture_is_recognised_beside_an_older_ledger_too() {
    let database = TestDatabase::empty().await;
    release::build(&database, "v0.3.4", true).await;
    let before_us = Backup::of(&database);
    database.program().args(["up"]).run().expect(0);
    let after_us = Backup::of(&database);
    // Of the time before this program: our history stays, and is ahead of the older ledger.
    before_us.restore(&database, &["--clean", "--if-exists"]);
    let up = database.program().args(["up"]).run().expect(7);
    assert!(up.stderr.contains("lacks what was recorded there"), "{}", up.stderr);
    // The same where the schema migrate has been dropped: the newer tables are still there.
    database.batch("DROP SCHEMA migrate CASCADE").await;
    refused(&database, "the history is behind the database: it ends at version 84, and table task_usage_hourly").await;
    // The older ledger tells all that our history does not.
    let database = TestDatabase::empty().await;
    after_us.restore(&database, &["-n", "public"]);
    database.program().args(["up"]).run().expect(0);
    database.program().args(["verify"]).run().expect(0);
}

#[tokio::test]
async fn versions_only_go_forward() {
    let database = TestDatabase::at_version(104, 0, 0).await;
    for args in [&["up", "--target", "84"][..], &["up", "--target", "103", "--dry-run"]] {
        let up = database.program().args(args.iter().copied()).run().expect(7);
        assert!(up.stderr.contains("versions only go forward: the database is at 104"), "{}", up.stderr);
        assert!(up.stderr.contains("restore a backup of that time"), "{}", up.stderr);
    }
    let at = database.program().args(["up", "--target", "104"]).run().expect(0);
    assert!(at.stdout.starts_with("nothing to do"), "{}", at.stdout);
    assert_eq!(database.versions().await.last(), Some(&104));
}
