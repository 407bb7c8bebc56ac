//! One run at a time, and none of them in the application's way for long.

use std::time::{Duration, Instant};

use crate::harness::{TestDatabase, all_versions};

#[tokio::test]
async fn two_runners_at_once_share_the_work() {
    let database = TestDatabase::empty().await;
    let runners: Vec<_> = (0..4).map(|_| database.program().args(["up"]).start()).collect();
    let ended: Vec<_> = runners.into_iter().map(|runner| runner.wait().expect(0)).collect();
    let worked = ended.iter().filter(|ended| ended.stdout.contains("done: the database is at version")).count();
    assert_eq!(worked, 1, "one of them does the work");
    assert_eq!(database.versions().await, all_versions());
}

#[tokio::test]
async fn a_lock_held_by_another_program_is_waited_for_and_its_holder_named() {
    let database = TestDatabase::empty().await;
    let holder = database.session().await;
    holder
        .batch_execute("SET application_name TO 'the old migrator'; SELECT pg_advisory_lock(7244554146635925501)")
        .await
        .unwrap();
    let started = Instant::now();
    let up = database.program().args(["up", "--lock-wait", "1s"]).run().expect(5);
    assert!(started.elapsed() >= Duration::from_secs(1));
    let error = up.stderr.lines().last().unwrap_or_default();
    assert!(error.starts_with("error: waited 1s for the migration lock, held by pid "), "{error}");
    assert!(error.contains("\"the old migrator\""), "{error}");
    assert!(error.ends_with("wait for it to end, or give a longer --lock-wait"), "{error}");
    let written: bool = database.value("SELECT to_regnamespace('migrate') IS NOT NULL").await;
    assert!(!written, "nothing is written before the lock is had");

    let waiting = database.program().args(["up"]).start();
    tokio::time::sleep(Duration::from_millis(300)).await;
    holder.batch_execute("SELECT pg_advisory_unlock(7244554146635925501)").await.unwrap();
    waiting.wait().expect(0);
}

#[tokio::test]
async fn a_run_excludes_a_program_that_takes_the_same_lock_for_its_session() {
    let database = TestDatabase::empty().await;
    database.program().args(["up", "--target", "73"]).run().expect(0);
    let writer = database.session().await;
    writer.batch_execute("BEGIN; LOCK TABLE task_usage IN ROW EXCLUSIVE MODE").await.unwrap();
    let runner = database.program().args(["up", "--target", "74"]).start();
    database
        .wait_until("SELECT EXISTS (SELECT FROM pg_stat_progress_create_index WHERE datname = current_database())")
        .await;
    let got: bool = database.value("SELECT pg_try_advisory_lock(7244554146635925501)").await;
    assert!(!got);
    writer.batch_execute("COMMIT").await.unwrap();
    runner.wait().expect(0);
}

#[tokio::test]
async fn a_migration_that_meets_a_long_transaction_gives_way_and_tries_again() {
    let database = TestDatabase::empty().await;
    database.program().args(["up", "--target", "32"]).run().expect(0);
    let reader = database.session().await;
    reader.batch_execute("BEGIN; SELECT count(*) FROM task_usage").await.unwrap();
    let runner = database.program().args(["up", "--target", "72"]).start();
    // While V72 stands in the queue, others stand behind it, but never for longer than its lock_timeout.
    let application = database.session().await;
    let mut longest = Duration::ZERO;
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(4) {
        let asked = Instant::now();
        application.query("SELECT count(*) FROM task_usage", &[]).await.unwrap();
        longest = longest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(longest < Duration::from_secs(2), "an application waited {longest:?}");
    reader.batch_execute("COMMIT").await.unwrap();
    let ended = runner.wait().expect(0);
    // Who is in the way is named from the first try on.
    let first = "V72 task_usage_updated_at gave way after try 1 (canceling statement due to lock timeout (SQLSTATE 55P03), in the way: pid ";
    assert!(ended.stderr.contains(first), "{}", ended.stderr);
}

#[tokio::test]
async fn a_run_whose_lock_is_gone_stops() {
    let database = TestDatabase::empty().await;
    database.program().args(["up", "--target", "73"]).run().expect(0);
    let writer = database.session().await;
    writer.batch_execute("BEGIN; LOCK TABLE task_usage IN ROW EXCLUSIVE MODE").await.unwrap();
    let runner = database.program().args(["up", "--target", "78"]).start();
    database
        .wait_until("SELECT EXISTS (SELECT FROM pg_stat_progress_create_index WHERE datname = current_database())")
        .await;
    database
        .batch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'migrate: lock'",
        )
        .await;
    writer.batch_execute("COMMIT").await.unwrap();
    let ended = runner.wait().expect(6);
    assert!(ended.stderr.contains("the connection to the server was lost"), "{}", ended.stderr);
    assert_eq!(database.versions().await.last(), Some(&74), "what was under way is finished, nothing new begun");
    database.program().args(["up"]).run().expect(0);
}

#[tokio::test]
async fn limits_on_idle_sessions_do_not_end_a_run_that_waits_for_the_lock() {
    let database = TestDatabase::empty().await;
    let holder = database.session().await;
    holder.batch_execute("SELECT pg_advisory_lock(7244554146635925501)").await.unwrap();
    let set = format!("ALTER DATABASE {} SET", database.name);
    database.batch(&format!("{set} idle_session_timeout TO '1500ms'")).await;
    database.batch(&format!("{set} idle_in_transaction_session_timeout TO '1ms'")).await;
    if database.value::<bool>("SELECT EXISTS (SELECT FROM pg_settings WHERE name = 'transaction_timeout')").await {
        database.batch(&format!("{set} transaction_timeout TO '500ms'")).await;
    }
    let waiting = database.program().args(["up"]).start();
    tokio::time::sleep(Duration::from_secs(5)).await;
    holder.batch_execute("SELECT pg_advisory_unlock(7244554146635925501)").await.unwrap();
    tokio::task::spawn_blocking(|| waiting.wait()).await.unwrap().expect(0);
}

#[tokio::test]
async fn whatever_waits_in_a_statement_says_for_whom_and_ends_in_time() {
    let database = TestDatabase::at_version(102, 0, 0).await;
    for (table, commands) in [
        (
            "migrate.history_platform",
            &[&["up"][..], &["up", "--dry-run"], &["status"], &["verify", "history"], &["verify", "schema"]][..],
        ),
        ("task_usage_hourly_rollup_state", &[&["rollup", "tick"], &["rollup", "status"], &["up"]]),
        ("task_usage", &[&["up"], &["verify", "rollup"]]),
        ("migrate.hook_run", &[&["up"]]),
    ] {
        let holder = database.session().await;
        let pid: i32 = holder.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        let lock = format!("BEGIN; SET application_name TO 'somebody'; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
        holder.batch_execute(&lock).await.unwrap();
        for command in commands {
            let started = Instant::now();
            let program = database.program().args(command.iter().copied()).args(["--lock-wait", "3s"]);
            let ended = tokio::task::spawn_blocking(|| program.run()).await.unwrap();
            let (took, stderr) = (started.elapsed(), &ended.stderr);
            println!("{table}: {command:?} took {took:?}: {stderr}");
            assert_eq!(ended.status.code(), Some(5), "{table}: {command:?}: {stderr}");
            assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(7), "{command:?}: {took:?}: {stderr}");
            let named = format!("pid {pid} \"somebody\"");
            assert!(stderr.contains(&format!("waiting for a table, held by {named}")), "{command:?}: {stderr}");
            let (_, error) = stderr.split_once("error: ").unwrap();
            assert!(error.contains(&named) && error.contains("--lock-wait"), "{command:?}: {stderr}");
        }
    }
}
