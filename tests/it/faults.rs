//! What an operator's night brings: servers that restart, sessions that are ended, time limits, a full disk. Each ends in a
//! clear error or a retry, and the next run completes exactly.

use std::path::Path;
use std::time::Duration;

use crate::harness::{
    TestDatabase, Volume, all_versions, release, special_server, start_special_server_again, stop_special_server,
};

/// Makes every bucket that is written take its time, for a database at version 101 or later.
const SLOW: &str = "
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END $$;
    CREATE TRIGGER slow BEFORE INSERT ON task_usage_hourly FOR EACH ROW EXECUTE FUNCTION slow()";

/// Whatever has happened, the next run brings it to its end.
async fn completes(database: &TestDatabase) {
    database.batch("DROP FUNCTION IF EXISTS slow() CASCADE").await;
    database.program().args(["up"]).run().expect(0);
    assert_eq!(database.versions().await, all_versions());
    database.assert_parity().await;
    let verified = database.program().args(["verify"]).run();
    assert_eq!(verified.status.code(), Some(0), "{}", verified.stdout);
}

/// A server of its own with a database whose 103 was refused.
async fn stuck_on_its_own_server(name: &str) -> (String, std::path::PathBuf, TestDatabase) {
    let (url, folder) = special_server(name, &[]);
    let database = TestDatabase::on_server(&url, "fault").await;
    release::build(&database, "v0.3.8-stuck", true).await;
    database.batch(SLOW).await;
    (url, folder, database)
}

#[tokio::test]
async fn a_server_that_is_restarted_in_the_middle() {
    let (url, folder, database) = stuck_on_its_own_server("restarted").await;
    for signal in ["INT", "QUIT"] {
        let runner = database.in_the_walk().await;
        stop_special_server(&url, signal).await;
        let ended = runner.wait().expect(6);
        assert!(ended.stderr.contains("the connection to the server was lost"), "{signal}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("run it again, once the server is back if it was stopped"),
            "{signal}: {}",
            ended.stderr
        );
        let down = database.program().args(["up"]).run().expect(6);
        assert!(down.stderr.contains("check that the server is running"), "{}", down.stderr);
        start_special_server_again(&folder);
        let status = database.program().args(["status"]).run().expect(0);
        assert!(status.stdout.contains("hook hourly-backfill: interrupted"), "{}", status.stdout);
    }
    completes(&database).await;
    stop_special_server(&url, "QUIT").await;
    std::mem::forget(database);
}

#[tokio::test]
async fn sessions_that_an_administrator_ends() {
    for session in ["migrate: up", "migrate: lock", "migrate: hourly-backfill"] {
        let database = TestDatabase::empty().await;
        release::build(&database, "v0.3.8-stuck", true).await;
        database.batch(SLOW).await;
        let runner = database.in_the_walk().await;
        let ended: i64 = database
            .value(&format!(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = '{session}'"
            ))
            .await;
        assert!(ended >= 1, "there is no session {session:?}");
        // The walk may well come to its end without the others, if it does not need them.
        database.batch("DROP TRIGGER slow ON task_usage_hourly").await;
        let up = runner.wait().expect(6);
        assert!(up.stderr.contains("the connection to the server was lost"), "{session}: {}", up.stderr);
        completes(&database).await;
    }
}

#[tokio::test]
async fn a_time_limit_that_is_meant_for_the_application_does_not_concern_us() {
    let database = TestDatabase::empty().await;
    release::build(&database, "v0.3.4", true).await;
    database.write_usage(10_000, 200).await;
    database
        .batch(&format!(
            "ALTER DATABASE {0} SET statement_timeout TO '20ms'; ALTER DATABASE {0} SET lock_timeout TO '1ms';
             ALTER DATABASE {0} SET idle_in_transaction_session_timeout TO '50ms'",
            database.name
        ))
        .await;
    database.program().args(["up"]).run().expect(0);
    database.batch(&format!("SET statement_timeout TO 0; ALTER DATABASE {} RESET ALL", database.name)).await;
    completes(&database).await;
}

#[tokio::test]
async fn a_time_limit_that_is_meant_for_us_ends_the_run_and_is_named() {
    let database = TestDatabase::empty().await;
    release::build(&database, "v0.3.8-stuck", true).await;
    database.batch(SLOW).await;
    let url = format!("{}?options=-cstatement_timeout%3D300ms", database.url);
    let up = database.program().env("DATABASE_URL", &url).args(["up"]).run().expect(1);
    assert!(up.stderr.contains("canceling statement due to statement timeout (SQLSTATE 57014)"), "{}", up.stderr);
    assert!(up.stderr.contains("next: if that was a statement_timeout of the database URL"), "{}", up.stderr);
    completes(&database).await;
}

#[tokio::test]
async fn a_session_that_sleeps_in_its_transaction_is_named_and_given_way_to() {
    let database = TestDatabase::empty().await;
    release::build(&database, "v0.3.4", true).await;
    let sleeper = database.session().await;
    sleeper.batch_execute("SET application_name TO 'psql of somebody'; BEGIN; SELECT * FROM issue").await.unwrap();
    let pid: i32 = sleeper.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let up = database.program().args(["up", "--lock-wait", "2s"]).run().expect(5);
    let who = format!("pid {pid} \"psql of somebody\"");
    assert!(up.stderr.contains(&format!("in the way: {who}")), "{}", up.stderr);
    assert!(up.stderr.contains("canceling statement due to lock timeout (SQLSTATE 55P03)"), "{}", up.stderr);
    assert!(up.stderr.contains(&format!("SELECT pg_catalog.pg_terminate_backend({pid})")), "{}", up.stderr);

    // With more patience it gets through as soon as that one has gone.
    let runner = database.program().args(["up"]).start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    sleeper.batch_execute("COMMIT").await.unwrap();
    runner.wait().expect(0);
    completes(&database).await;
}

#[tokio::test]
async fn a_disk_that_is_full() {
    let (url, _folder) = special_server("full", &[]);
    // Where the server's own user may go.
    let admin = crate::harness::session(&url).await;
    let data: String = admin.query_one("SELECT current_setting('data_directory')", &[]).await.unwrap().get(0);
    admin.batch_execute("COPY (SELECT) TO PROGRAM 'cat >/dev/null; mkdir -p \"$PWD/../small\"'").await.unwrap();
    let folder = Path::new(&data).join("../small").canonicalize().unwrap();
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&folder).unwrap());
    let Some(volume) = Volume::new(&folder, "56m", owner) else {
        eprintln!("not tried: only root can mount a small volume");
        return;
    };
    admin.batch_execute(&format!("CREATE TABLESPACE small LOCATION '{}'", folder.display())).await.unwrap();
    admin.batch_execute("CREATE DATABASE full_one TABLESPACE small").await.unwrap();
    let database = TestDatabase { name: "full_one".to_owned(), url: crate::harness::with_database(&url, "full_one") };
    release::build(&database, "v0.3.4", true).await;
    database.write_usage(20_000, 200).await;
    // Somebody else's data takes what is left, but for a megabyte.
    database
        .batch(
            "CREATE TABLE reserve (x text); ALTER TABLE reserve ALTER x SET STORAGE PLAIN;
             INSERT INTO reserve SELECT repeat('x', 2000) FROM generate_series(1, 500);
             CREATE TABLE ballast (LIKE reserve INCLUDING STORAGE)",
        )
        .await;
    let session = database.session().await;
    while session
        .batch_execute("INSERT INTO ballast SELECT repeat('x', 2000) FROM generate_series(1, 250)")
        .await
        .is_ok()
    {}
    drop(session);
    database.batch("DROP TABLE reserve").await;
    let up = database.program().args(["up"]).run().expect(1);
    assert!(up.stderr.contains("No space left on device (SQLSTATE 53100)"), "{}", up.stderr);
    assert!(up.stderr.contains("free space on the server's volume, then run migrate up again"), "{}", up.stderr);
    database.batch("DROP TABLE ballast").await;
    completes(&database).await;
    stop_special_server(&url, "QUIT").await;
    std::mem::forget(database);
    drop(volume);
}
