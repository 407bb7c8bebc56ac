//! The hourly rollup against the raw usage, after every kind of write.

use std::time::Duration;

use crate::harness::TestDatabase;

/// Rolls up what a tick would find if it ran some minutes later.
const CATCH_UP: &str = "
    SELECT rollup_task_usage_hourly_window(watermark_at, now() + interval '1 second')
    FROM task_usage_hourly_rollup_state;
    UPDATE task_usage_hourly_rollup_state SET watermark_at = now()";

/// A database whose usage is rolled up to this moment.
async fn rolled_up() -> TestDatabase {
    let database = TestDatabase::at_version(104, 0, 0).await;
    database.write_usage(1200, 40).await;
    database.batch(CATCH_UP).await;
    database.assert_parity().await;
    database
}

#[tokio::test]
async fn no_write_goes_unseen() {
    let database = rolled_up().await;
    for part in include_str!("fixtures/writes.sql").split("-- write: ").skip(1) {
        let (what, write) = part.split_once('\n').expect("a name, then statements");
        let before = fingerprint(&database).await;
        database.batch(write).await;
        assert_ne!(before, fingerprint(&database).await, "{what} changed nothing, so it proves nothing");
        database.batch(CATCH_UP).await;
        println!("{what}");
        database.assert_parity().await;
    }
    let left: i64 = database.value("SELECT count(*) FROM task_usage_hourly").await;
    assert_eq!(left, 0);
}

/// Changes with every write that matters to the rollup.
async fn fingerprint(database: &TestDatabase) -> String {
    database
        .value(
            "SELECT md5(coalesce(string_agg(r::text, ',' ORDER BY r::text), ''))
             FROM (SELECT u.*, t.agent_id, t.runtime_id, t.issue_id, i.project_id, a.workspace_id
                   FROM task_usage u JOIN agent_task_queue t ON t.id = u.task_id JOIN agent a ON a.id = t.agent_id
                   LEFT JOIN issue i ON i.id = t.issue_id) r",
        )
        .await
}

#[tokio::test]
async fn usage_moves_between_runtime_buckets_when_tasks_are_reassigned() {
    let database = rolled_up().await;
    let task: String = database
        .value(
            "SELECT t.id::text FROM agent_task_queue t JOIN task_usage u ON u.task_id = t.id
             WHERE t.runtime_id IS NOT NULL LIMIT 1",
        )
        .await;
    let tokens = "SELECT string_agg(runtime_id || '=' || total, ' ' ORDER BY runtime_id) FROM
                  (SELECT runtime_id, sum(input_tokens) AS total FROM task_usage_hourly GROUP BY 1) s";
    let before: String = database.value(tokens).await;
    database
        .batch(&format!(
            "UPDATE agent_task_queue SET runtime_id = (SELECT id FROM agent_runtime r WHERE r.id <> runtime_id LIMIT 1)
             WHERE id = '{task}'"
        ))
        .await;
    database.batch(CATCH_UP).await;
    let after: String = database.value(tokens).await;
    assert_ne!(before, after);
    database.assert_parity().await;
}

#[tokio::test]
async fn a_bucket_is_cleared_when_its_issue_is_deleted() {
    let database = rolled_up().await;
    database
        .batch(
            "CREATE TEMP TABLE doomed AS SELECT issue_id FROM agent_task_queue WHERE issue_id IS NOT NULL LIMIT 1;
             DELETE FROM issue WHERE id IN (SELECT issue_id FROM doomed)",
        )
        .await;
    let before: i64 = database.value("SELECT count(*) FROM task_usage_hourly").await;
    database.batch(CATCH_UP).await;
    let after: i64 = database.value("SELECT count(*) FROM task_usage_hourly").await;
    assert!(after < before, "{after} of {before} buckets");
    database.assert_parity().await;
}

#[tokio::test]
async fn a_report_that_arrives_during_a_window_is_still_there_afterwards() {
    let database = rolled_up().await;
    let window = database.session().await;
    window
        .batch_execute("BEGIN; SELECT rollup_task_usage_hourly_window('epoch', now() + interval '1 minute')")
        .await
        .unwrap();
    // Neither the write nor its report waits for the window, nor does another program's key.
    database.batch("SET lock_timeout TO '1s'; UPDATE task_usage SET input_tokens = input_tokens + 1").await;
    database
        .batch(
            "SET lock_timeout TO '1s';
             INSERT INTO task_usage_hourly_dirty
                 (bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model)
             SELECT bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model FROM task_usage_hourly",
        )
        .await;
    window.batch_execute("COMMIT").await.unwrap();
    let reports: i64 = database.value("SELECT count(*) FROM task_usage_hourly_invalidation").await;
    assert!(reports > 0);
    let keys: i64 = database.value("SELECT count(*) FROM task_usage_hourly_dirty").await;
    assert!(keys > 0);
    database.batch(CATCH_UP).await;
    database.assert_parity().await;
}

#[tokio::test]
async fn a_key_that_another_program_enqueues_is_rebuilt() {
    let database = rolled_up().await;
    database
        .batch(
            "UPDATE task_usage_hourly SET input_tokens = 1;
             INSERT INTO task_usage_hourly_dirty
                 (bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model)
             SELECT bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model FROM task_usage_hourly
             ON CONFLICT ON CONSTRAINT uq_task_usage_hourly_dirty_key DO UPDATE SET enqueued_at = now()",
        )
        .await;
    database.batch(CATCH_UP).await;
    database.assert_parity().await;
    let left: i64 = database.value("SELECT count(*) FROM task_usage_hourly_dirty").await;
    assert_eq!(left, 0);
}

#[tokio::test]
async fn overlapping_windows_do_not_deadlock_and_the_last_one_is_right() {
    let database = rolled_up().await;
    let sessions = [database.session().await, database.session().await, database.session().await];
    for _ in 0..8 {
        database.batch("UPDATE task_usage SET input_tokens = input_tokens + 1, updated_at = now()").await;
        let window = "SELECT rollup_task_usage_hourly_window('epoch', now() + interval '1 minute')";
        let (a, b, c) = tokio::join!(
            sessions[0].batch_execute(window),
            sessions[1].batch_execute(window),
            sessions[2].batch_execute(window)
        );
        a.and(b).and(c).unwrap();
    }
    database.assert_parity().await;
}

#[tokio::test]
async fn a_window_refuses_a_snapshot_that_could_be_old() {
    let database = rolled_up().await;
    let session = database.session().await;
    session.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    let error = session.batch_execute("SELECT rollup_task_usage_hourly_window('epoch', now())").await.unwrap_err();
    assert!(error.as_db_error().unwrap().message().contains("READ COMMITTED"));
}

#[tokio::test]
async fn ticks_skip_what_is_empty_and_reach_the_present() {
    let database = TestDatabase::at_version(102, 600, 20).await;
    let session = database.session().await;
    let mut ticks = 0;
    loop {
        session.batch_execute("SELECT rollup_task_usage_hourly()").await.unwrap();
        ticks += 1;
        let caught_up = "SELECT task_usage_hourly_rollup_lag_seconds() < 330";
        if session.query_one(caught_up, &[]).await.unwrap().get(0) {
            break;
        }
        assert!(ticks < 30, "a day a tick");
    }
    assert!(ticks >= 20, "at most a day a tick, {ticks} ticks");
    database.assert_parity().await;
}

#[tokio::test]
async fn a_row_of_a_transaction_that_outlives_the_tick_s_distance_is_not_lost() {
    let database = rolled_up().await;
    database.shorten("5 minutes", "0 seconds").await;
    let application = database.session().await;
    application.batch_execute("BEGIN; UPDATE task_usage SET input_tokens = 9, updated_at = now()").await.unwrap();
    let begun: String = application.query_one("SELECT now()::text", &[]).await.unwrap().get(0);
    tokio::time::sleep(Duration::from_millis(50)).await;
    database.batch("SELECT rollup_task_usage_hourly()").await;
    let behind: bool =
        database.value(&format!("SELECT watermark_at <= '{begun}' FROM task_usage_hourly_rollup_state")).await;
    assert!(behind, "the watermark has passed a transaction that is still writing");
    application.batch_execute("COMMIT").await.unwrap();
    database.batch("SELECT rollup_task_usage_hourly()").await;
    database.assert_parity().await;
}

#[tokio::test]
async fn a_truncate_with_an_old_snapshot_clears_every_bucket() {
    let database = rolled_up().await;
    let old = database.session().await;
    old.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
    database.batch("UPDATE task_usage SET created_at = created_at - interval '1 year', updated_at = now()").await;
    database.batch(CATCH_UP).await;
    old.batch_execute("TRUNCATE task_usage CASCADE; COMMIT").await.unwrap();
    database.batch(CATCH_UP).await;
    let left: i64 = database.value("SELECT count(*) FROM task_usage_hourly").await;
    assert_eq!(left, 0);
}

#[tokio::test]
async fn an_application_that_owns_nothing_can_write_and_its_search_path_does_not_matter() {
    let database = rolled_up().await;
    let role = format!("{}_app", database.name);
    database
        .batch(&format!(
            "CREATE ROLE {role};
             GRANT SELECT, INSERT, UPDATE, DELETE ON workspace, project, agent_runtime, agent, issue, agent_task_queue,
                 task_usage TO {role};
             CREATE SCHEMA {role}; CREATE TABLE {role}.task_usage_hourly_invalidation (n int)"
        ))
        .await;
    database
        .batch(&format!(
            "SET ROLE {role};
             UPDATE task_usage SET input_tokens = 5;
             UPDATE agent_task_queue SET issue_id = NULL WHERE id IN (SELECT task_id FROM public.task_usage LIMIT 5);
             DELETE FROM issue WHERE number = 3;
             DELETE FROM agent WHERE id = (SELECT agent_id FROM agent_task_queue LIMIT 1)"
        ))
        .await;
    database.batch(CATCH_UP).await;
    database.assert_parity().await;
    database.batch(&format!("DROP OWNED BY {role} CASCADE; DROP SCHEMA {role} CASCADE; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_write_late_in_its_transaction_reports_itself() {
    let database = rolled_up().await;
    let application = database.session().await;
    database.shorten("1 minute", "200 milliseconds").await;
    let reports = "SELECT count(*) FROM task_usage_hourly_invalidation";
    // A tick leaves its lock on the row that it writes, which is not that of a tick at work.
    database.batch("SELECT rollup_task_usage_hourly()").await;
    application
        .batch_execute("BEGIN; UPDATE task_usage SET input_tokens = 1, updated_at = now(); COMMIT")
        .await
        .unwrap();
    assert_eq!(database.value::<i64>(reports).await, 0, "an ordinary write costs no report");
    application.batch_execute("BEGIN").await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    application.batch_execute("UPDATE task_usage SET input_tokens = 2, updated_at = now(); COMMIT").await.unwrap();
    assert!(database.value::<i64>(reports).await > 0);
}

#[tokio::test]
async fn a_tick_beside_another_one_does_nothing_and_a_cancelled_one_keeps_no_lock() {
    let database = rolled_up().await;
    let holder = database.session().await;
    holder.batch_execute("SELECT pg_advisory_lock(4246)").await.unwrap();
    let started: Option<String> =
        database.value("SELECT last_run_started_at::text FROM task_usage_hourly_rollup_state").await;
    assert_eq!(database.value::<i64>("SELECT rollup_task_usage_hourly()").await, 0);
    let after: Option<String> =
        database.value("SELECT last_run_started_at::text FROM task_usage_hourly_rollup_state").await;
    assert_eq!(started, after);
    holder.batch_execute("SELECT pg_advisory_unlock(4246)").await.unwrap();

    let tick = database.session().await;
    database
        .batch(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
             AS $$ BEGIN PERFORM pg_sleep(5); RETURN NEW; END $$;
             CREATE TRIGGER slow BEFORE UPDATE ON task_usage_hourly_rollup_state FOR EACH ROW EXECUTE FUNCTION slow()",
        )
        .await;
    let cancelled = tick.batch_execute("SET statement_timeout TO '300ms'; SELECT rollup_task_usage_hourly()").await;
    assert!(cancelled.is_err());
    let held: i64 = database
        .value(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4246
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        .await;
    assert_eq!(held, 0);
}

#[tokio::test]
async fn pruning_loses_nothing() {
    let database = rolled_up().await;
    database
        .batch(
            "UPDATE task_usage SET input_tokens = input_tokens + 3;
             UPDATE task_usage_hourly_invalidation SET enqueued_at = now() - interval '8 days'",
        )
        .await;
    let pruned: i64 = database.value("SELECT prune_task_usage_hourly_dirty()").await;
    assert!(pruned > 0);
    let left: i64 = database.value("SELECT count(*) FROM task_usage_hourly_invalidation").await;
    assert_eq!(left, 0);
    database.assert_parity().await;
}

#[tokio::test]
async fn both_daily_pipelines_equal_the_raw_usage_while_they_live() {
    let database = TestDatabase::at_version(84, 800, 30).await;
    let windows = "SELECT rollup_task_usage_daily_window('epoch', now() + interval '1 second');
                   SELECT rollup_task_usage_dashboard_daily_window('epoch', now() + interval '1 second')";
    database.batch(windows).await;
    database
        .batch(
            "DELETE FROM issue WHERE number = 1;
             UPDATE agent_task_queue SET runtime_id = (SELECT id FROM agent_runtime LIMIT 1)
             WHERE id IN (SELECT id FROM agent_task_queue LIMIT 20);
             UPDATE task_usage SET input_tokens = 5 WHERE id IN (SELECT id FROM task_usage LIMIT 20)",
        )
        .await;
    database.batch(windows).await;
    let differing: i64 = database
        .value(
            "WITH raw AS (
                 SELECT (u.created_at AT TIME ZONE 'UTC')::date, a.workspace_id, t.runtime_id, u.provider, u.model,
                        sum(u.input_tokens)::bigint, sum(u.output_tokens)::bigint, count(*)
                 FROM task_usage u JOIN agent_task_queue t ON t.id = u.task_id JOIN agent a ON a.id = t.agent_id
                 WHERE t.runtime_id IS NOT NULL GROUP BY 1, 2, 3, 4, 5),
             daily AS (
                 SELECT bucket_date, workspace_id, runtime_id, provider, model, input_tokens, output_tokens, event_count
                 FROM task_usage_daily),
             raw_dashboard AS (
                 SELECT (u.created_at AT TIME ZONE 'UTC')::date, a.workspace_id, t.agent_id, i.project_id, u.model,
                        sum(u.input_tokens)::bigint, count(DISTINCT u.task_id), count(*)
                 FROM task_usage u JOIN agent_task_queue t ON t.id = u.task_id JOIN agent a ON a.id = t.agent_id
                 LEFT JOIN issue i ON i.id = t.issue_id
                 WHERE t.runtime_id IS NOT NULL GROUP BY 1, 2, 3, 4, 5),
             dashboard AS (
                 SELECT bucket_date, workspace_id, agent_id, project_id, model, input_tokens, task_count, event_count
                 FROM task_usage_dashboard_daily)
             SELECT (SELECT count(*) FROM (TABLE raw EXCEPT TABLE daily) x)
                  + (SELECT count(*) FROM (TABLE daily EXCEPT TABLE raw) x)
                  + (SELECT count(*) FROM (TABLE raw_dashboard EXCEPT TABLE dashboard) x)
                  + (SELECT count(*) FROM (TABLE dashboard EXCEPT TABLE raw_dashboard) x)",
        )
        .await;
    assert_eq!(differing, 0);
}

/// Pages that one window reads which finds a single changed row, in a year or a month of usage of the same density.
async fn pages_of_a_small_window(days: u32, statistics: &str) -> u64 {
    let database = TestDatabase::at_version(104, 0, 0).await;
    let tables = ["task_usage", "agent_task_queue", "agent", "issue", "task_usage_hourly"];
    for table in tables {
        database.batch(&format!("ALTER TABLE {table} SET (autovacuum_enabled = off)")).await;
    }
    if statistics == "stale" {
        database.batch("ANALYZE").await;
    }
    database.write_usage(days * 100, days).await;
    database.batch(CATCH_UP).await;
    if statistics == "fresh" {
        database.batch("ANALYZE").await;
    }
    // What the load reported is drained; autovacuum would have cleared it away within a minute.
    // A transaction of this database that is older, the server's own maintenance for example, would keep it.
    for _ in 0..100 {
        database.batch("VACUUM (INDEX_CLEANUP ON) task_usage_hourly_invalidation").await;
        if database.value::<i64>("SELECT pg_relation_size('task_usage_hourly_invalidation')").await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let session = database.session().await;
    // The window is the change's own moment: a machine that is busy in between does not move it.
    let change = "UPDATE task_usage SET input_tokens = input_tokens + 1, updated_at = now()
                  WHERE id = (SELECT id FROM task_usage ORDER BY created_at DESC LIMIT 1) RETURNING updated_at::text";
    let mut pages = 0;
    // The first round also reads the catalog.
    for _ in 0..2 {
        let changed: String = session.query_one(change, &[]).await.unwrap().get(0);
        let window = format!(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)
             SELECT rollup_task_usage_hourly_window('{changed}', timestamptz '{changed}' + interval '1 microsecond')"
        );
        let plan: serde_json::Value = session.query_one(&window, &[]).await.unwrap().get(0);
        let plan = &plan[0]["Plan"];
        pages = ["Shared Hit Blocks", "Shared Read Blocks"].map(|kind| plan[kind].as_u64().unwrap()).iter().sum();
    }
    database.assert_parity().await;
    pages
}

#[tokio::test]
async fn a_small_window_reads_as_little_of_a_large_table_whatever_the_statistics_say() {
    for statistics in ["missing", "stale", "fresh"] {
        let (month, year) =
            tokio::join!(pages_of_a_small_window(30, statistics), pages_of_a_small_window(365, statistics));
        println!("{statistics} statistics: {month} pages with a month of usage, {year} with a year");
        assert!(year < month + 30, "{statistics} statistics: {month} pages with a month of usage, {year} with a year");
    }
}
