//! Concurrent index builds: interrupted, in the way, and beside a second runner.

use std::time::{Duration, Instant};

use crate::harness::{Finished, Running, TestDatabase, with_authority};

const BUILDING: &str = "SELECT EXISTS (SELECT FROM pg_stat_progress_create_index WHERE datname = current_database())";
const VALID: &str = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'idx_task_usage_updated_at'::regclass";

/// A runner inside the build of V74, which waits for `writer`, an open transaction.
async fn stuck_in_a_build(database: &TestDatabase) -> (tokio_postgres::Client, Running) {
    let writer = database.session().await;
    writer.batch_execute("BEGIN; LOCK TABLE task_usage IN ROW EXCLUSIVE MODE").await.unwrap();
    let runner = database.program().args(["up", "--target", "78"]).start();
    database.wait_until(BUILDING).await;
    (writer, runner)
}

async fn at_73() -> TestDatabase {
    let database = TestDatabase::empty().await;
    database.program().args(["up", "--target", "73"]).run().expect(0);
    database
}

#[tokio::test]
async fn a_killed_build_is_dropped_and_built_again() {
    let database = at_73().await;
    let (writer, runner) = stuck_in_a_build(&database).await;
    runner.signal("KILL");
    let _ = runner.wait();
    // The server notices by itself that nobody is there any more, and gives up.
    database
        .wait_until("SELECT NOT EXISTS (SELECT FROM pg_stat_progress_create_index WHERE datname = current_database())")
        .await;
    writer.batch_execute("COMMIT").await.unwrap();
    let valid: bool = database.value(VALID).await;
    assert!(!valid, "the build was interrupted");

    let preview = database.program().args(["up", "--dry-run", "--target", "78"]).run().expect(0);
    assert!(
        preview.stdout.contains("would drop idx_task_usage_updated_at, which an interrupted build left invalid"),
        "{}",
        preview.stdout
    );
    let up = database.program().args(["up", "--target", "78"]).run().expect(0);
    assert!(up.stdout.contains("dropped idx_task_usage_updated_at"), "{}", up.stdout);
    let valid: bool = database.value(VALID).await;
    assert!(valid);
}

#[tokio::test]
async fn a_skipped_cleanup_does_not_pass_an_invalid_index_off_as_built() {
    let database = at_73().await;
    let (writer, runner) = stuck_in_a_build(&database).await;
    runner.signal("INT");
    runner.wait().expect(130);
    writer.batch_execute("COMMIT").await.unwrap();
    let up = database.program().args(["up", "--target", "78", "--skip-hook", "invalid-index-cleanup"]).run().expect(7);
    assert!(up.stderr.contains("index idx_task_usage_updated_at cannot be used"), "{}", up.stderr);
    assert_eq!(database.versions().await.last(), Some(&73));
}

#[tokio::test]
async fn a_second_runner_waits_outside_while_the_first_builds() {
    let database = at_73().await;
    let (writer, first) = stuck_in_a_build(&database).await;
    let second = database.program().args(["up", "--target", "78"]).start();
    // It has asked for the lock, been refused, and is asking again; were it waiting inside the server, the build
    // would wait for it in turn, for ever.
    database
        .wait_until(
            "SELECT count(*) > 1 FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'migrate: lock'",
        )
        .await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    writer.batch_execute("COMMIT").await.unwrap();
    let first = first.wait().expect(0);
    let second = second.wait().expect(0);
    assert!(first.stdout.contains("done: the database is at version 78"), "{}", first.stdout);
    assert!(second.stderr.contains("waiting for the migration lock, held by pid"), "{}", second.stderr);
    assert!(second.stdout.contains("nothing to do"), "{}", second.stdout);
    let valid: bool = database.value(VALID).await;
    assert!(valid);
}

#[tokio::test]
async fn something_else_of_that_name_stops_the_run() {
    let database = at_73().await;
    database.batch("CREATE TABLE idx_task_usage_updated_at ()").await;
    let up = database.program().args(["up"]).run().expect(1);
    assert!(
        up.stderr.contains("the index idx_task_usage_updated_at cannot be built: its name belongs to another table"),
        "{}",
        up.stderr
    );
    assert!(up.stderr.contains("rename or drop that table"), "{}", up.stderr);
    assert_eq!(database.versions().await.last(), Some(&73));
}

#[tokio::test]
async fn the_index_of_another_schema_is_left_alone() {
    let database = at_73().await;
    database
        .batch(
            "CREATE SCHEMA other; CREATE TABLE other.t (updated_at int);
             CREATE INDEX idx_task_usage_updated_at ON other.t (updated_at)",
        )
        .await;
    database.program().args(["up", "--target", "74"]).run().expect(0);
    let both: i64 = database.value("SELECT count(*) FROM pg_class WHERE relname = 'idx_task_usage_updated_at'").await;
    assert_eq!(both, 2);
}

#[tokio::test]
async fn an_index_of_another_table_stops_the_run() {
    let database = at_73().await;
    database.batch("CREATE INDEX idx_task_usage_updated_at ON workspace (updated_at)").await;
    let up = database.program().args(["up", "--target", "74"]).run().expect(1);
    assert!(up.stderr.contains("its name belongs to another index of workspace"), "{}", up.stderr);
    let up = database.program().args(["up", "--target", "74", "--skip-hook", "invalid-index-cleanup"]).run().expect(7);
    assert!(up.stderr.contains("cannot be used"), "{}", up.stderr);
    assert_eq!(database.versions().await.last(), Some(&73));
}

#[tokio::test]
async fn an_older_migrator_that_waits_inside_the_server_does_not_hang_the_build() {
    let database = at_73().await;
    let (writer, runner) = stuck_in_a_build(&database).await;
    let waiter = database.session().await;
    let older = tokio::spawn(async move { waiter.batch_execute("SELECT pg_advisory_lock(7244554146635925501)").await });
    database
        .wait_until(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))",
        )
        .await;
    // Long enough for the runner to have named the transaction that its build waits for.
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    writer.batch_execute("COMMIT").await.unwrap();
    let ended = runner.wait().expect(0);
    assert!(ended.stderr.contains("which waited for the migration lock inside the server"), "{}", ended.stderr);
    assert!(ended.stderr.contains("waiting for an older transaction to end, held by pid"), "{}", ended.stderr);
    // It has had to wait for us, which is what it asked for, or was told to try again.
    let _ = older.await.unwrap();
}

#[tokio::test]
async fn a_build_that_gives_way_to_a_deadlock_starts_from_scratch() {
    let database = at_73().await;
    let (first, second) = (database.session().await, database.session().await);
    second.batch_execute("BEGIN; LOCK TABLE task_usage IN ROW EXCLUSIVE MODE").await.unwrap();
    first.batch_execute("BEGIN; LOCK TABLE task_usage IN SHARE UPDATE EXCLUSIVE MODE").await.unwrap();
    let runner = database.program().args(["up", "--target", "78"]).start();
    let queued = "SELECT count(*) = $ FROM pg_locks WHERE relation = 'task_usage'::regclass AND NOT granted";
    database.wait_until(&queued.replace('$', "1")).await;
    // The build waits for the second session's writes, which waits for the build to let go of the table.
    let waiting = tokio::spawn(async move {
        let _ = second.batch_execute("LOCK TABLE task_usage IN SHARE UPDATE EXCLUSIVE MODE").await;
        let _ = second.batch_execute("COMMIT").await;
    });
    database.wait_until(&queued.replace('$', "2")).await;
    first.batch_execute("COMMIT").await.unwrap();
    runner.wait().expect(0);
    waiting.await.unwrap();
    let invalid: i64 = database.value("SELECT count(*) FROM pg_index WHERE NOT indisvalid").await;
    assert_eq!(invalid, 0);
}

#[tokio::test]
async fn a_wait_that_we_may_not_cancel_ends_the_build_by_name_and_nothing_is_left() {
    for round in 0..6 {
        let database = TestDatabase::empty().await;
        let role = format!("{}_owner", database.name);
        database
            .batch(&format!(
                "CREATE ROLE {role} LOGIN PASSWORD 'role'; GRANT CREATE ON DATABASE {} TO {role};
                 GRANT USAGE, CREATE ON SCHEMA public TO {role}",
                database.name
            ))
            .await;
        let url = with_authority(&database.url, Some(&format!("{role}:role")), None);
        let program = || database.program().env("DATABASE_URL", &url);
        program().args(["up", "--target", "73"]).run().expect(0);

        let writer = database.session().await;
        writer.batch_execute("BEGIN; LOCK TABLE task_usage IN ROW EXCLUSIVE MODE").await.unwrap();
        let runner = program().args(["up", "--target", "78"]).start();
        database.wait_until(BUILDING).await;
        // A superuser's, whom an ordinary owner may not cancel.
        let waiter = database.session().await;
        let pid: i32 = waiter.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        let older = tokio::spawn(async move {
            waiter.batch_execute("SET application_name TO 'the old migrator'").await?;
            waiter.batch_execute("SELECT pg_advisory_lock(7244554146635925501)").await
        });
        database
            .wait_until(&format!(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND pid = {pid})"
            ))
            .await;
        writer.batch_execute("COMMIT").await.unwrap();

        let ended = runner.wait().expect(5);
        let expected = format!("pid {pid} \"the old migrator\"");
        assert!(ended.stderr.contains(&expected), "round {round}: {}", ended.stderr);
        assert!(ended.stderr.contains(&format!("SELECT pg_catalog.pg_terminate_backend({pid})")), "{}", ended.stderr);
        assert!(
            !ended.stderr.contains("--lock-wait") && !ended.stderr.contains("statement_timeout"),
            "{}",
            ended.stderr
        );
        let left: i64 =
            database.value("SELECT count(*) FROM pg_class WHERE relname = 'idx_task_usage_updated_at'").await;
        assert_eq!(left, 0, "round {round}: an index is left behind");
        database.batch(&format!("SELECT pg_terminate_backend({pid})")).await;
        let _ = older.await;
        program().args(["up", "--target", "78"]).run().expect(0);
        database.batch(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}")).await;
    }
}

/// Ends with exit code 5 soon after its limit of three seconds, having said for whom it waits.
#[track_caller]
fn gave_up(ended: Finished, took: Duration, pid: i32) {
    let ended = ended.expect(5);
    let stderr = &ended.stderr;
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(9), "it took {took:?}: {stderr}");
    assert!(stderr.contains(&format!("waiting for an older transaction to end, held by pid {pid}")), "{stderr}");
    assert!(stderr.contains("canceled after waiting 3s for an older transaction to end"), "{stderr}");
    assert!(stderr.contains("longer --lock-wait"), "{stderr}");
}

async fn pid_of(session: &tokio_postgres::Client) -> i32 {
    session.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0)
}

async fn up_for_three_seconds(database: &TestDatabase) -> (Finished, Duration) {
    let started = Instant::now();
    let runner = database.program().args(["up", "--target", "78", "--lock-wait", "3s"]).start();
    let ended = tokio::task::spawn_blocking(|| runner.wait()).await.unwrap();
    (ended, started.elapsed())
}

#[tokio::test]
async fn a_build_waits_for_older_transactions_no_longer_than_lock_wait_and_leaves_nothing() {
    let database = at_73().await;
    // Its snapshot is older than the build, and it does not touch the table.
    let reader = database.session().await;
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM workspace").await.unwrap();
    let pid = pid_of(&reader).await;
    let (ended, took) = up_for_three_seconds(&database).await;
    gave_up(ended, took, pid);
    let left: i64 = database.value("SELECT count(*) FROM pg_class WHERE relname = 'idx_task_usage_updated_at'").await;
    assert_eq!(left, 0);
    reader.batch_execute("COMMIT").await.unwrap();
    database.program().args(["up", "--target", "78"]).run().expect(0);
    assert!(database.value::<bool>(VALID).await);
}

#[tokio::test]
async fn a_build_and_its_cleanup_that_cannot_get_past_a_user_of_the_table_give_up_in_time() {
    let database = at_73().await;
    let writer = database.session().await;
    writer.batch_execute("BEGIN; LOCK TABLE task_usage IN ROW EXCLUSIVE MODE").await.unwrap();
    let pid = pid_of(&writer).await;
    let (ended, took) = up_for_three_seconds(&database).await;
    let said = "the unfinished index idx_task_usage_updated_at stays behind, invalid";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    gave_up(ended, took, pid);
    // The next one has to drop it first, and waits for the same transaction.
    let (ended, took) = up_for_three_seconds(&database).await;
    let ended = ended.expect(5);
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(9), "it took {took:?}");
    let said = format!(
        "hook invalid-index-cleanup failed, so version 74 was not applied: waited 3s for the table of an invalid index, held by pid {pid}"
    );
    assert!(ended.stderr.contains(&said), "{}", ended.stderr);
    assert!(
        ended.stderr.contains(&format!("waiting for the table of an invalid index, held by pid {pid}")),
        "{}",
        ended.stderr
    );
    writer.batch_execute("COMMIT").await.unwrap();
    database.program().args(["up", "--target", "78"]).run().expect(0);
    assert!(database.value::<bool>(VALID).await);
}

/// An administrator builds the index by hand, just when V74 is pending. Their build is neither taken for a leftover, nor
/// made to fail.
#[tokio::test]
async fn a_build_by_somebody_else_is_waited_for_and_kept() {
    let database = at_73().await;
    let role = format!("plain_{}", database.name);
    database
        .batch(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'plain';
             GRANT USAGE ON SCHEMA migrate TO {role};
             GRANT SELECT ON ALL TABLES IN SCHEMA public, migrate TO {role}"
        ))
        .await;
    let writer = database.session().await;
    writer.batch_execute("BEGIN; LOCK TABLE task_usage IN ROW EXCLUSIVE MODE").await.unwrap();
    let administrator = database.session().await;
    administrator.batch_execute("SET application_name TO 'psql of the administrator'").await.unwrap();
    let pid = pid_of(&administrator).await;
    let theirs = tokio::spawn(async move {
        administrator
            .batch_execute("CREATE INDEX CONCURRENTLY idx_task_usage_updated_at ON task_usage (updated_at)")
            .await
    });
    database.wait_until(BUILDING).await;

    // Nobody calls it a leftover, whatever they may see of the progress of others.
    let preview = database.program().args(["up", "--dry-run", "--target", "78"]).run().expect(0);
    assert!(
        preview.stdout.contains("would wait for another session, which is building idx_task_usage_updated_at"),
        "{}",
        preview.stdout
    );
    for url in [database.url.clone(), with_authority(&database.url, Some(&format!("{role}:plain")), None)] {
        let verified = database.program().env("DATABASE_URL", &url).args(["verify", "schema"]).run().expect(0);
        assert!(!verified.stdout.contains("REINDEX"), "{}", verified.stdout);
    }

    let (ended, took) = up_for_three_seconds(&database).await;
    let ended = ended.expect(5);
    assert!(ended.stderr.contains(&format!("pid {pid} \"psql of the administrator\"")), "{}", ended.stderr);
    assert!(took < Duration::from_secs(12), "{took:?}");

    let runner = database.program().args(["up", "--target", "78"]).start();
    tokio::time::sleep(Duration::from_secs(3)).await;
    writer.batch_execute("COMMIT").await.unwrap();
    theirs.await.unwrap().expect("the administrator's build ends well");
    let up = runner.wait().expect(0);
    assert!(!up.stdout.contains("dropped"), "{}", up.stdout);
    assert!(database.value::<bool>(VALID).await);
    database.batch(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

/// A build by somebody else that looks around while the lock's session is at work waits for the end of its transaction, and the
/// run for that build's lock on the table.
#[tokio::test]
async fn a_build_that_waits_for_the_locks_transaction_is_let_go_on() {
    for delay in [10, 20, 30, 40, 50, 60, 70, 80] {
        let database = TestDatabase::empty().await;
        database.program().args(["up", "--target", "32"]).run().expect(0);
        let fill = "INSERT INTO workspace (id, name, slug) VALUES ('00000000-0000-0000-0000-000000000001', 'w', 'w');
                    INSERT INTO agent_runtime (id, workspace_id, name, runtime_mode, provider)
                    VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000001', 'r', 'local', 'codex');
                    INSERT INTO agent (id, workspace_id, name, runtime_mode, runtime_id)
                    VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000001', 'a', 'local',
                            '00000000-0000-0000-0000-000000000001');
                    INSERT INTO agent_task_queue (agent_id, runtime_id)
                    SELECT '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000001'
                    FROM generate_series(1, 20000);
                    INSERT INTO task_usage (task_id, model, input_tokens) SELECT id, 'm', 1 FROM agent_task_queue";
        database.batch(fill).await;
        let administrator = database.session().await;
        let theirs = tokio::spawn(async move {
            administrator.batch_execute("CREATE INDEX CONCURRENTLY theirs ON task_usage (created_at, model)").await
        });
        tokio::time::sleep(Duration::from_millis(delay)).await;
        database.program().args(["up", "--lock-wait", "15s"]).run().expect(0);
        theirs.await.unwrap().unwrap();
    }
}
