//! The clock of a server goes back, or was ahead when it booted, and no usage is lost or held back by it.

use crate::harness::{Clock, TestDatabase, server_with_a_clock};

const HOUR: f64 = 3600.0;

/// A database at the newest version with rolled up usage, on a server of its own whose clock is right.
async fn settled(name: &str) -> (TestDatabase, Clock) {
    let (url, clock) = server_with_a_clock(name);
    let database = TestDatabase::on_server(&url, "clock").await;
    database.program().args(["up", "--target", "84"]).run().expect(0);
    database.write_usage(200, 3).await;
    database.program().args(["up"]).run().expect(0);
    (database, clock)
}

/// Usage as the application writes it.
async fn write(database: &TestDatabase, model: &str) {
    let insert = format!(
        "INSERT INTO task_usage (task_id, model, input_tokens, updated_at)
         SELECT id, '{model}', 5, now() FROM agent_task_queue WHERE runtime_id IS NOT NULL LIMIT 5"
    );
    database.batch(&insert).await;
}

async fn missing(database: &TestDatabase, model: &str) -> bool {
    database.value(&format!("SELECT NOT EXISTS (SELECT FROM task_usage_hourly WHERE model = '{model}')")).await
}

async fn tick(database: &TestDatabase) {
    database.program().args(["rollup", "tick"]).run().expect(0);
}

#[tokio::test]
async fn usage_written_behind_the_watermark_is_rolled_up_although_no_tick_has_seen_the_clock_go_back() {
    let (database, clock) = settled("clock-unseen").await;
    // Eight minutes ahead, and a tick in the middle of it.
    clock.set(8.0 * 60.0);
    tick(&database).await;
    clock.set(0.0);
    write(&database, "unseen").await;
    let behind = "SELECT count(*) FROM task_usage, task_usage_hourly_rollup_state
                  WHERE model = 'unseen' AND updated_at < watermark_at";
    assert_eq!(database.value::<i64>(behind).await, 5, "the test does not test what it is for");
    // When the next tick comes, everything looks as it should.
    clock.set(20.0 * 60.0);
    tick(&database).await;
    assert!(!missing(&database, "unseen").await);
    database.assert_parity().await;
}

#[tokio::test]
async fn usage_and_reports_dated_by_a_clock_that_was_ahead_are_not_held_back_until_then() {
    let (database, clock) = settled("clock-ahead").await;
    clock.set(365.0 * 24.0 * HOUR);
    write(&database, "ahead").await;
    database
        .batch("UPDATE task_usage SET input_tokens = 7 WHERE id = (SELECT min(id::text)::uuid FROM task_usage)")
        .await;
    clock.set(0.0);
    tick(&database).await;
    assert!(!missing(&database, "ahead").await);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM task_usage_hourly_invalidation").await, 0);
    database.assert_parity().await;
}

#[tokio::test]
async fn a_wrong_clock_at_boot_loses_nothing_whoever_looks_at_the_watermark_first() {
    let (database, clock) = settled("clock-boot").await;
    for (first, ends_with) in [("tick", 0), ("verify --fix", 0), ("repair", 0), ("up", 0)] {
        clock.set(100.0 * 24.0 * HOUR);
        tick(&database).await;
        clock.set(0.0);
        write(&database, first).await;
        let looked = match first {
            "tick" => vec!["rollup", "tick"],
            "verify --fix" => vec!["verify", "rollup", "--fix"],
            "repair" => vec!["repair", "hourly-rollup", "--execute"],
            _ => vec!["up"],
        };
        database.program().args(looked).run().expect(ends_with);
        // The rollup stays five minutes behind the clock.
        clock.set(600.0);
        for _ in 0..20 {
            tick(&database).await;
        }
        assert!(!missing(&database, first).await, "{first}");
        database.assert_parity().await;
        database.program().args(["verify", "rollup"]).run().expect(0);
        database.batch(&format!("DELETE FROM task_usage WHERE model = '{first}'")).await;
    }
}

#[tokio::test]
async fn the_guard_refuses_a_watermark_ahead_of_the_clock_when_its_hook_is_skipped() {
    let (database, clock) = settled_before_the_guard("clock-guard").await;
    clock.set(24.0 * HOUR);
    for _ in 0..10 {
        tick(&database).await;
    }
    clock.set(0.0);
    let refused = database.program().args(["up", "--skip-hook", "hourly-backfill"]).run().expect(7);
    assert!(refused.stderr.contains("the watermark of the hourly rollup is ahead of the clock"), "{}", refused.stderr);
    assert!(database.value::<bool>("SELECT to_regclass('task_usage_daily') IS NOT NULL").await);
    for watermark in ["infinity", "2999-01-01", "-infinity"] {
        database.batch(&format!("UPDATE task_usage_hourly_rollup_state SET watermark_at = '{watermark}'")).await;
        let refused = database.program().args(["up", "--skip-hook", "hourly-backfill"]).run().expect(7);
        assert!(refused.stderr.contains("refusing to drop legacy daily rollups"), "{}", refused.stderr);
    }
    database.program().args(["up"]).run().expect(0);
    database.assert_parity().await;
}

async fn settled_before_the_guard(name: &str) -> (TestDatabase, Clock) {
    let (url, clock) = server_with_a_clock(name);
    let database = TestDatabase::on_server(&url, "clock").await;
    database.program().args(["up", "--target", "84"]).run().expect(0);
    database.write_usage(200, 3).await;
    database.program().args(["up", "--target", "102"]).run().expect(0);
    (database, clock)
}

/// The guard's text was changed after it had been applied; a history that records the earlier one is as good.
#[tokio::test]
async fn a_history_with_an_earlier_form_that_the_file_vouches_for_is_accepted() {
    let database = TestDatabase::at_version(103, 20, 2).await;
    let earlier = "UPDATE migrate.history_platform SET checksum = '8659763149399722616' WHERE version = 103";
    database.batch(earlier).await;
    database.program().args(["verify", "history"]).run().expect(0);
    let status = database.program().args(["status"]).run().expect(0);
    assert!(!status.stdout.contains("divergent"), "{}", status.stdout);
    database.program().args(["up"]).run().expect(0);
    database.batch("UPDATE migrate.history_platform SET checksum = '8659763149399722617' WHERE version = 103").await;
    database.program().args(["up"]).run().expect(4);
}

#[tokio::test]
async fn a_watermark_ahead_of_the_clock_is_no_less_wrong_without_usage() {
    let database = TestDatabase::at_version(104, 0, 0).await;
    for watermark in ["2999-01-01", "infinity"] {
        database.batch(&format!("UPDATE task_usage_hourly_rollup_state SET watermark_at = '{watermark}'")).await;
        let verified = database.program().args(["verify", "rollup"]).run().expect(4);
        assert!(verified.stdout.contains("ahead of the clock"), "{}", verified.stdout);
        database.program().args(["verify", "rollup", "--fix"]).run().expect(0);
        database.program().args(["verify", "rollup"]).run().expect(0);
    }
}

#[tokio::test]
async fn a_time_at_the_very_end_stops_no_tick() {
    let database = TestDatabase::at_version(104, 20, 2).await;
    database
        .batch(
            "UPDATE task_usage SET updated_at = '294276-12-31 23:59:59.999999' WHERE id = (SELECT min(id::text)::uuid FROM task_usage);
             UPDATE task_usage SET created_at = '294276-12-31 23:59:59' WHERE id = (SELECT max(id::text)::uuid FROM task_usage)",
        )
        .await;
    tick(&database).await;
    database.batch("UPDATE task_usage_hourly_invalidation SET enqueued_at = '-infinity'").await;
    tick(&database).await;
}

/// A walk reads how far the watermark may go, rolls up, and moves it there. Who begins to write in between was not seen,
/// and can be older than the watermark then is.
#[tokio::test]
async fn what_an_old_transaction_writes_while_a_walk_ends_is_rolled_up_after_all() {
    let (database, clock) = settled_before_the_guard("clock-late").await;
    for _ in 0..6 {
        tick(&database).await;
    }
    database.batch("UPDATE task_usage SET input_tokens = input_tokens + 1, updated_at = now()").await;
    let (writer, holder) = (database.session().await, database.session().await);
    writer.batch_execute("BEGIN; SELECT 1").await.unwrap();
    clock.set(10.0 * 60.0);
    holder.batch_execute("BEGIN; SELECT FROM task_usage_hourly FOR UPDATE").await.unwrap();
    let running = database.program().args(["up"]).start();
    database
        .wait_until(
            "SELECT EXISTS (SELECT FROM pg_stat_activity
                            WHERE wait_event_type = 'Lock' AND query LIKE '%rollup_task_usage_hourly_window%')",
        )
        .await;
    writer
        .batch_execute(
            "INSERT INTO task_usage (task_id, model, input_tokens, updated_at)
             SELECT id, 'late', 5, now() FROM agent_task_queue WHERE runtime_id IS NOT NULL LIMIT 5;
             COMMIT",
        )
        .await
        .unwrap();
    holder.batch_execute("COMMIT").await.unwrap();
    running.wait().expect(0);
    let behind = "SELECT count(*) FROM task_usage, task_usage_hourly_rollup_state
                  WHERE model = 'late' AND updated_at < watermark_at";
    assert_eq!(database.value::<i64>(behind).await, 5, "the test does not test what it is for");
    tick(&database).await;
    assert!(!missing(&database, "late").await);
    database.assert_parity().await;
}
