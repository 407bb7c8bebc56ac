//! A history that contradicts the files is refused before anything is written.

use migrate::CancellationToken;
use migrate::db::Database;
use migrate::engine::{Event, Migrator, Set, UpOptions};
use migrate::refinery;

use crate::harness::{TestDatabase, latest};

/// Damages the history of a database at version 84, and expects a refusal that changes nothing.
async fn refused(damage: &str, exit: i32, parts: &[&str]) {
    let database = TestDatabase::at_version(84, 0, 0).await;
    database.batch(damage).await;
    let before = database.versions().await;
    for args in [&["up"][..], &["up", "--dry-run"]] {
        let up = database.program().args(args.iter().copied()).run().expect(exit);
        for part in parts {
            assert!(up.stderr.contains(part), "{part:?} is missing:\n{}", up.stderr);
        }
    }
    assert_eq!(database.versions().await, before);
    let applied: bool = database.value("SELECT to_regclass('task_usage_hourly') IS NOT NULL").await;
    assert!(!applied);
}

#[tokio::test]
async fn up_refuses_a_divergent_history() {
    refused(
        "UPDATE migrate.history_platform SET checksum = '1' WHERE version = 73",
        4,
        &["V73__task_usage_daily_rollup.sql is not what was applied", "its text has changed since"],
    )
    .await;
}

#[tokio::test]
async fn up_refuses_a_renamed_migration() {
    refused(
        "UPDATE migrate.history_platform SET name = 'other' WHERE version = 32",
        4,
        &["V32__task_usage.sql is not what was applied", "it was called other"],
    )
    .await;
}

#[tokio::test]
async fn up_refuses_a_damaged_checksum_without_a_panic() {
    refused(
        "UPDATE migrate.history_platform SET checksum = 'x', applied_on = 'y' WHERE version = 1",
        4,
        &["V1__platform_baseline.sql", "the checksum recorded for it is not a number"],
    )
    .await;
}

#[tokio::test]
async fn an_infinite_time_in_the_books_is_no_reason_to_panic() {
    let database = TestDatabase::at_version(84, 0, 0).await;
    database
        .batch(
            "UPDATE migrate.history_platform SET recorded_at = 'infinity' WHERE version = 1;
             UPDATE migrate.hook_run SET started_at = '-infinity', finished_at = 'infinity'",
        )
        .await;
    database.program().args(["status"]).run().expect(0);
    database.program().args(["up"]).run().expect(0);
}

#[tokio::test]
async fn up_refuses_a_version_that_has_no_file() {
    refused(
        "INSERT INTO migrate.history_platform (version, name, applied_on, checksum) VALUES (80, 'gone', now(), '1')",
        4,
        &["version 80 (gone) is recorded as applied, but this program has no such migration"],
    )
    .await;
}

#[tokio::test]
async fn up_refuses_a_file_that_was_left_out() {
    refused(
        "DELETE FROM migrate.history_platform WHERE version = 81",
        4,
        &["V81__runtime_timezone.sql was never applied, and the database is already at version 84"],
    )
    .await;
}

#[tokio::test]
async fn up_refuses_a_database_that_is_newer_than_the_program() {
    refused(
        "INSERT INTO migrate.history_platform (version, name, applied_on, checksum) VALUES (900, 'new', now(), '1')",
        7,
        &["the database is newer than this program: it has V900__new", "the latest version known here is"],
    )
    .await;
}

#[tokio::test]
async fn up_refuses_a_database_that_another_migrator_built() {
    let database = TestDatabase::empty().await;
    database.batch("CREATE TABLE public.schema_migrations (version text PRIMARY KEY)").await;
    let up = database.program().args(["up"]).run().expect(7);
    assert!(up.stderr.contains("was built by another migrator: it has public.schema_migrations"), "{}", up.stderr);
    let written: bool = database.value("SELECT to_regnamespace('migrate') IS NOT NULL").await;
    assert!(!written);
}

#[tokio::test]
async fn status_shows_what_is_wrong_and_check_tells_it_from_pending() {
    let database = TestDatabase::at_version(84, 0, 0).await;
    database.program().args(["status", "--check"]).run().expect(3);
    database.batch("UPDATE migrate.history_platform SET checksum = '1' WHERE version = 73").await;
    let status = database.program().args(["status", "--check"]).run().expect(4);
    assert!(status.stdout.contains("divergent"), "{}", status.stdout);
    assert!(status.stdout.ends_with("1 version differs from this program's files; migrate up shows how\n"));
    database.batch("DELETE FROM migrate.history_platform WHERE version = 73").await;
    let status = database.program().args(["status", "--check"]).run().expect(4);
    assert!(status.stdout.contains("left out"), "{}", status.stdout);
    database.program().args(["status"]).run().expect(0);
    let whole = TestDatabase::at_version(latest(), 0, 0).await;
    whole.program().args(["status", "--check"]).run().expect(0);
}

#[tokio::test]
async fn status_of_an_untouched_database_writes_nothing() {
    let database = TestDatabase::empty().await;
    let status = database.program().args(["status"]).run().expect(0);
    assert!(status.stdout.contains(" versions pending; run migrate up"), "{}", status.stdout);
    let written: bool = database.value("SELECT to_regnamespace('migrate') IS NOT NULL").await;
    assert!(!written);
}

#[tokio::test]
async fn a_migration_that_fails_is_rolled_back_together_with_its_record() {
    let database = TestDatabase::at_version(84, 0, 0).await;
    // V101 makes three tables and ends with an index, whose name is taken.
    database.batch("CREATE INDEX idx_task_usage_hourly_dirty_enqueued_at ON issue (id)").await;
    let failed = database.program().args(["up"]).run().expect(1);
    assert!(
        failed.stderr.contains("V101__task_usage_hourly_schema.sql failed and was rolled back"),
        "{}",
        failed.stderr
    );
    let taken = "\"idx_task_usage_hourly_dirty_enqueued_at\" already exists (SQLSTATE 42P07)";
    assert!(failed.stderr.contains(taken), "{}", failed.stderr);
    assert!(failed.stderr.contains("next: an object of that name exists"), "{}", failed.stderr);
    let half: bool = database.value("SELECT to_regclass('task_usage_hourly') IS NOT NULL").await;
    assert!(!half);
    assert_eq!(database.versions().await.last(), Some(&84));
    database.batch("DROP INDEX idx_task_usage_hourly_dirty_enqueued_at").await;
    database.program().args(["up"]).run().expect(0);
}

/// refinery's files, checksums and form of the history are kept, so that it can go on where this program stopped.
#[tokio::test]
async fn refinery_itself_reads_our_history_and_goes_on_from_it() {
    const FILES: [(&str, &str); 3] = [
        ("V1__a", "CREATE TABLE a (n int)"),
        ("V2__i", "-- migrate: no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS i ON a (n)"),
        ("V3__b", "CREATE TABLE b (n int)"),
    ];
    let database = TestDatabase::empty().await;
    let ours = || {
        let set =
            FILES.iter().fold(Set::builder("shared"), |set, (name, sql)| set.migration(name, sql)).build().unwrap();
        Migrator::new(set, Database::from_url(&database.url).unwrap(), CancellationToken::new(), |_: Event| {})
    };
    let files = FILES.map(|(name, sql)| refinery::Migration::unapplied(name, sql).unwrap());
    let mut theirs = refinery::Runner::new(&files);
    theirs.set_migration_table_name("migrate.history_shared");

    ours().up(&UpOptions { target: Some(2.into()), ..UpOptions::default() }).await.unwrap();
    let mut session = database.session().await;
    let report = theirs.run_async(&mut session).await.unwrap();
    assert_eq!(report.applied_migrations().iter().map(refinery::Migration::version).collect::<Vec<_>>(), [3]);
    let applied = theirs.get_applied_migrations_async(&mut session).await.unwrap();
    assert_eq!(applied, files);
    assert!(applied.iter().all(|row| row.applied_on().is_some()));
    assert!(ours().preview(&UpOptions::default()).await.unwrap().is_empty());

    const FORM: &str = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?Z [0-9]+$";
    for row in database.rows("SELECT applied_on || ' ' || checksum ~ $1 FROM migrate.history_shared", &[&FORM]).await {
        assert!(row.get::<_, bool>(0));
    }
}
