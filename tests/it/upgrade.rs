//! Old databases with usage: the guard before V103, and the hook that satisfies it.

use std::time::Duration;

use migrate::CancellationToken;
use migrate::db::Database;
use migrate::engine::{Event, Migrator, Set, UpOptions};
use migrate::platform::hooks::HourlyBackfill;
use migrate::platform::usage::WalkOptions;

use crate::harness::{TestDatabase, all_versions, with_authority};

const WATERMARK: &str = "SELECT extract(epoch FROM now() - watermark_at)::float8 FROM task_usage_hourly_rollup_state";

#[tokio::test]
async fn the_guard_refuses_without_the_hook_and_the_hook_satisfies_it() {
    let database = TestDatabase::at_version(102, 3000, 200).await;
    let refused = database.program().args(["up", "--skip-hook", "hourly-backfill"]).run().expect(7);
    for part in [
        "refusing to drop legacy daily rollups",
        "SQLSTATE 55000",
        "The watermark is at 1970-01-01",
        "the latest usage at",
        "it lags by",
        "next: run migrate up without --skip-hook hourly-backfill",
    ] {
        assert!(refused.stderr.contains(part), "{part:?} is missing:\n{}", refused.stderr);
    }
    assert_eq!(database.versions().await.last(), Some(&102), "a refusal records nothing");
    let daily: bool = database.value("SELECT to_regclass('task_usage_daily') IS NOT NULL").await;
    assert!(daily, "a refusal changes nothing");

    let up = database.program().args(["up", "--format", "json"]).run().expect(0);
    let finished = &up.events("hook_finished")[0];
    assert_eq!(finished["hook"], "hourly-backfill");
    assert_eq!(finished["details"]["rows"], 3000);
    assert_eq!(database.versions().await, all_versions());
    database.assert_parity().await;
    let behind: f64 = database.value(WATERMARK).await;
    assert!((300.0..360.0).contains(&behind), "the watermark is {behind} s behind the clock");
}

#[tokio::test]
async fn an_operator_jumps_from_v0_3_4_in_one_run() {
    let database = TestDatabase::at_version(84, 3000, 365).await;
    database.program().args(["up"]).run().expect(0);
    assert_eq!(database.versions().await, all_versions());
    database.assert_parity().await;
}

#[tokio::test]
async fn empty_usage_only_gets_its_watermark_stamped() {
    let database = TestDatabase::at_version(102, 0, 0).await;
    let up = database.program().args(["up", "--format", "json"]).run().expect(0);
    assert_eq!(up.events("hook_finished")[0]["summary"], "task_usage is empty: stamped the watermark");
    let behind: f64 = database.value(WATERMARK).await;
    assert!((300.0..360.0).contains(&behind), "the watermark is {behind} s behind the clock");
}

#[tokio::test]
async fn a_lag_under_an_hour_is_rolled_up_before_the_watermark_moves() {
    let database = TestDatabase::at_version(102, 400, 30).await;
    database
        .batch(
            // Usage of the last 50 minutes; everything older has been rolled up before.
            "SELECT rollup_task_usage_hourly_window('epoch', now() - interval '55 minutes');
             UPDATE task_usage_hourly_rollup_state SET watermark_at = now() - interval '55 minutes';
             TRUNCATE task_usage_hourly_invalidation;
             UPDATE task_usage SET input_tokens = 42, updated_at = now() - interval '40 minutes'
             WHERE created_at > now() - interval '1 day';
             TRUNCATE task_usage_hourly_invalidation;",
        )
        .await;
    let up = database.program().args(["up", "--format", "json"]).run().expect(0);
    let finished = &up.events("hook_finished")[0];
    assert_eq!(finished["details"]["slices"], 0, "no walk: {finished}");
    assert_ne!(finished["details"]["buckets"], 0, "the rest was rolled up: {finished}");
    database.assert_parity().await;
    let behind: f64 = database.value(WATERMARK).await;
    assert!((300.0..360.0).contains(&behind), "the watermark is {behind} s behind the clock");
}

#[tokio::test]
async fn a_walk_that_fails_stops_before_v103_and_the_next_run_goes_on() {
    let database = TestDatabase::at_version(102, 3000, 365).await;
    database
        .batch(
            "ALTER TABLE task_usage_hourly ADD CONSTRAINT broken
             CHECK (bucket_hour < date_trunc('month', now()) - interval '3 months')",
        )
        .await;
    let failed = database.program().args(["up"]).run().expect(1);
    assert!(failed.stderr.contains("hook hourly-backfill failed, so version 103 was not applied"), "{}", failed.stderr);
    assert!(failed.stderr.contains("SQLSTATE 23514"), "{}", failed.stderr);
    assert_eq!(database.versions().await.last(), Some(&102));
    let status = database.program().args(["status"]).run().expect(0);
    assert!(status.stdout.contains("hook hourly-backfill: failed"), "{}", status.stdout);

    let preview = database.program().args(["up", "--dry-run"]).run().expect(0);
    assert!(preview.stdout.contains("would continue after "), "{}", preview.stdout);

    database.batch("ALTER TABLE task_usage_hourly DROP CONSTRAINT broken").await;
    let up = database.program().args(["up", "--format", "json"]).run().expect(0);
    let first = &up.events("hook_progress")[0];
    assert!(first["done"].as_u64() >= Some(8), "it goes on where it stopped: {first}");
    database.assert_parity().await;
    let left: i64 = database.value("SELECT count(*) FROM migrate.hook_state").await;
    assert_eq!(left, 0, "nothing is remembered of a walk that got to its end");
}

#[tokio::test]
async fn a_walk_starts_over_when_somebody_emptied_the_table_meanwhile() {
    let database = TestDatabase::at_version(102, 1000, 365).await;
    database
        .batch("ALTER TABLE task_usage_hourly ADD CONSTRAINT broken CHECK (bucket_hour < now() - interval '60 days')")
        .await;
    database.program().args(["up"]).run().expect(1);
    database.batch("ALTER TABLE task_usage_hourly DROP CONSTRAINT broken; TRUNCATE task_usage_hourly").await;
    database.program().args(["up"]).run().expect(0);
    database.assert_parity().await;
}

#[tokio::test]
async fn a_missing_watermark_row_is_named_by_hook_and_guard() {
    let database = TestDatabase::at_version(102, 100, 30).await;
    database.batch("DELETE FROM task_usage_hourly_rollup_state").await;
    let failed = database.program().args(["up"]).run().expect(1);
    assert!(failed.stderr.contains("task_usage_hourly_rollup_state has no row"), "{}", failed.stderr);
    assert!(failed.stderr.contains("INSERT INTO task_usage_hourly_rollup_state"), "{}", failed.stderr);
    let refused = database.program().args(["up", "--skip-hook", "hourly-backfill"]).run().expect(7);
    assert!(refused.stderr.contains("refusing to drop legacy daily rollups"), "{}", refused.stderr);
}

#[tokio::test]
async fn rows_of_1970_and_of_the_future_are_rolled_up_and_cost_no_empty_months() {
    let database = TestDatabase::at_version(102, 200, 60).await;
    database
        .batch(
            "UPDATE task_usage SET created_at = '1970-01-01 00:00:01+00', updated_at = NULL
             WHERE id = (SELECT id FROM task_usage ORDER BY id LIMIT 1);
             UPDATE task_usage SET created_at = '2199-07-01 12:00:00+00', updated_at = '2199-07-01 12:00:00+00'
             WHERE id = (SELECT id FROM task_usage ORDER BY id DESC LIMIT 1);
             TRUNCATE task_usage_hourly_invalidation",
        )
        .await;
    let up = database.program().args(["up", "--format", "json"]).run().expect(0);
    let slices = up.events("hook_finished")[0]["details"]["slices"].as_u64();
    assert!(slices <= Some(5), "{slices:?} slices");
    database.assert_parity().await;
}

#[tokio::test]
async fn an_infinite_time_is_named() {
    let database = TestDatabase::at_version(102, 100, 30).await;
    for (column, value) in [("created_at", "infinity"), ("updated_at", "-infinity")] {
        database
            .batch(&format!(
                "UPDATE task_usage SET {column} = '{value}' WHERE id = (SELECT min(id::text)::uuid FROM task_usage)"
            ))
            .await;
        let failed = database.program().args(["up"]).run().expect(1);
        assert!(
            failed.stderr.contains(&format!("has {column} = {value}, which is not between the years 1 and 9998")),
            "{}",
            failed.stderr
        );
        assert!(failed.stderr.contains("correct or delete such rows"), "{}", failed.stderr);
        database.batch(&format!("UPDATE task_usage SET {column} = now()")).await;
    }
}

#[tokio::test]
async fn usage_that_a_transaction_commits_after_the_upgrade_is_not_passed_by_the_watermark() {
    let database = TestDatabase::at_version(102, 500, 60).await;
    let application = database.session().await;
    application
        .batch_execute("BEGIN; UPDATE task_usage SET input_tokens = input_tokens + 7, updated_at = now() WHERE true")
        .await
        .unwrap();
    // It holds locks that V103 needs, so the upgrade can go only as far as the hook; the walk must not wait for it.
    let up = database.program().args(["up", "--lock-wait", "3s"]).run().expect(5);
    assert!(up.stderr.contains("V103 drop_legacy_daily_rollups gave way after try 1"), "{}", up.stderr);
    let state: String = database.value("SELECT state FROM migrate.hook_run ORDER BY id DESC LIMIT 1").await;
    assert_eq!(state, "done", "{}", up.stderr);
    application.batch_execute("COMMIT").await.unwrap();
    let behind: bool = database
        .value("SELECT watermark_at <= (SELECT min(updated_at) FROM task_usage) FROM task_usage_hourly_rollup_state")
        .await;
    assert!(behind, "the watermark has passed a row that was not rolled up");
    database.program().args(["up"]).run().expect(0);
    database
        .batch("SELECT rollup_task_usage_hourly_window(watermark_at, now()) FROM task_usage_hourly_rollup_state")
        .await;
    database.assert_parity().await;
}

#[tokio::test]
async fn a_writer_whose_start_is_hidden_stops_the_walk_and_the_missing_right_is_named() {
    let database = TestDatabase::at_version(102, 500, 60).await;
    // A role that may not see when the transactions of others began.
    let role = format!("{}_narrow", database.name);
    database
        .batch(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'narrow';
             GRANT CREATE ON DATABASE {} TO {role}; GRANT ALL ON SCHEMA public, migrate TO {role};
             GRANT ALL ON ALL TABLES IN SCHEMA migrate TO {role}",
            database.name
        ))
        .await;
    database.give_to(&role).await;
    let application = database.session().await;
    application.batch_execute("BEGIN; UPDATE task_usage SET output_tokens = 1, updated_at = now()").await.unwrap();
    let narrow = with_authority(&database.url, Some(&format!("{role}:narrow")), None);
    let failed = database.program().env("DATABASE_URL", &narrow).args(["up"]).run().expect(1);
    assert!(failed.stderr.contains("the watermark cannot move"), "{}", failed.stderr);
    assert!(failed.stderr.contains("GRANT pg_read_all_stats"), "{}", failed.stderr);

    // A short transaction of that kind only delays it.
    let up = database.program().env("DATABASE_URL", &narrow).args(["up"]).start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    application.batch_execute("ROLLBACK").await.unwrap();
    let up = up.wait().expect(0);
    assert!(up.stdout.contains("rolled up 3 months") || up.stdout.contains("rolled up 2 months"), "{}", up.stdout);
    drop(application);
    database.batch(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_walk_that_is_held_back_keeps_its_progress_and_names_who_holds_it() {
    let database = TestDatabase::at_version(102, 500, 60).await;
    // Then only the open transaction can hold the watermark back, not the distance from the clock.
    database.shorten("5 minutes", "0 seconds").await;
    let options = WalkOptions { tolerated_lag: Duration::ZERO, ..WalkOptions::default() };
    let set =
        Set::builder("walk").migration("V1__a", "SELECT 1").before(1, HourlyBackfill::new(options)).build().unwrap();
    let migrator = || {
        Migrator::new(set.clone(), Database::from_url(&database.url).unwrap(), CancellationToken::new(), |_: Event| {})
    };
    let application = database.session().await;
    application.batch_execute("BEGIN; LOCK TABLE task_usage IN ROW EXCLUSIVE MODE").await.unwrap();
    let pid: i32 = application.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    database.batch("UPDATE task_usage SET input_tokens = input_tokens + 1, updated_at = now()").await;
    let error = migrator().up(&UpOptions::default()).await.unwrap_err().to_string();
    assert!(error.contains(&format!("(pid {pid}) is writing usage")), "{error}");
    let kept: i64 = database.value("SELECT count(*) FROM migrate.hook_state").await;
    assert_eq!(kept, 1);
    database.assert_parity().await;
    application.batch_execute("COMMIT").await.unwrap();
    migrator().up(&UpOptions::default()).await.unwrap();
    let kept: i64 = database.value("SELECT count(*) FROM migrate.hook_state").await;
    assert_eq!(kept, 0);
}

#[tokio::test]
async fn a_window_of_somebody_else_is_waited_for_outside_and_no_longer_than_lock_wait() {
    let database = TestDatabase::at_version(102, 200, 60).await;
    let somebody = database.session().await;
    somebody.batch_execute("BEGIN; SELECT rollup_task_usage_hourly_window('epoch', '1970-01-02')").await.unwrap();
    let up = database.program().args(["up", "--lock-wait", "1s"]).run().expect(5);
    assert!(up.stderr.contains("waiting for the end of another rollup window, held by pid"), "{}", up.stderr);
    somebody.batch_execute("ROLLBACK; BEGIN; SELECT * FROM task_usage_hourly_rollup_state FOR UPDATE").await.unwrap();
    let up = database.program().args(["up", "--lock-wait", "1s"]).run().expect(5);
    assert!(up.stderr.contains("SQLSTATE 55P03"), "{}", up.stderr);
    somebody.batch_execute("ROLLBACK").await.unwrap();
    database.program().args(["up"]).run().expect(0);
    database.assert_parity().await;
}
