//! `migrate verify rollup`: what it finds, what it leaves alone, and what it repairs.

use crate::harness::{TestDatabase, latest};

/// Usage of a few days, rolled up to this moment, with a watermark that says so.
async fn rolled_up() -> TestDatabase {
    let database = TestDatabase::at_version(104, 0, 0).await;
    database.write_usage(1500, 3).await;
    database.batch("SELECT rollup_task_usage_hourly_window('epoch', now() + interval '1 second')").await;
    database.batch("UPDATE task_usage_hourly_rollup_state SET watermark_at = now()").await;
    database.assert_parity().await;
    database
}

/// Two buckets too high, one gone, one invented.
const TAMPER: &str = "
    UPDATE task_usage_hourly SET input_tokens = input_tokens + 7, task_count = task_count - 1
    WHERE ctid IN (SELECT ctid FROM task_usage_hourly ORDER BY bucket_hour LIMIT 2);
    DELETE FROM task_usage_hourly
    WHERE ctid IN (SELECT ctid FROM task_usage_hourly ORDER BY bucket_hour DESC, agent_id LIMIT 1);
    INSERT INTO task_usage_hourly (bucket_hour, workspace_id, runtime_id, agent_id, provider, model, output_tokens)
    SELECT '2020-02-03 04:00Z', workspace_id, runtime_id, agent_id, provider, 'ghost', 5
    FROM task_usage_hourly LIMIT 1";

#[tokio::test]
async fn what_is_wrong_is_named_with_the_difference_and_rebuilt_on_demand() {
    let database = rolled_up().await;
    let verify =
        |more: &'static [&'static str]| database.program().args(["verify", "rollup"]).args(more.iter().copied());
    let sound = verify(&[]).run().expect(0);
    assert!(sound.stdout.ends_with("the hourly rollup equals the raw usage\n"), "{}", sound.stdout);

    database.batch(TAMPER).await;
    let wrong = verify(&[]).run().expect(4);
    assert!(wrong.stdout.contains("extra      2020-02-03 04:00 UTC"), "{}", wrong.stdout);
    assert!(wrong.stdout.contains(" ghost: output +5\n"), "{}", wrong.stdout);
    assert_eq!(wrong.stdout.matches(": input +7, tasks -1\n").count(), 2, "{}", wrong.stdout);
    assert!(wrong.stdout.contains("1 missing, 1 extra, 2 different; migrate verify rollup --fix"), "{}", wrong.stdout);
    assert_eq!(wrong.stderr, "");

    let json = verify(&["--format", "json"]).run().expect(4);
    assert_eq!(json.events("bucket").len(), 4);
    let found = &json.events("rollup_compared")[0];
    assert_eq!((&found["missing"], &found["extra"], &found["different"]), (&1.into(), &1.into(), &2.into()));
    let ghost = json.events("bucket").into_iter().find(|bucket| bucket["kind"] == "extra").unwrap();
    assert_eq!((&ghost["stored"]["output"], &ghost["raw"]["output"]), (&5.into(), &0.into()));

    let before: String = database.value("SELECT clock_timestamp()::text").await;
    let fixed = verify(&["--fix"]).run().expect(0);
    assert!(fixed.stdout.contains("rebuilt 4 buckets"), "{}", fixed.stdout);
    database.assert_parity().await;
    let written: i64 =
        database.value(&format!("SELECT count(*) FROM task_usage_hourly WHERE updated_at > '{before}'")).await;
    assert_eq!(written, 3, "exactly those were written: two corrected, one restored");
    verify(&[]).run().expect(0);
    let reports: i64 = database.value("SELECT count(*) FROM task_usage_hourly_dirty").await;
    assert_eq!(reports, 0);
}

#[tokio::test]
async fn a_scope_limits_what_is_compared() {
    let database = rolled_up().await;
    let verify = |scope: Vec<String>| {
        let scope: Vec<&str> = scope.iter().map(String::as_str).collect();
        database.program().args(["verify", "rollup", "--format", "json"]).args(scope).run()
    };
    database.batch(TAMPER).await;
    let wrong = |scope: &[&str]| {
        let run = verify(scope.iter().map(|word| (*word).to_owned()).collect());
        let found = run.events("rollup_compared").remove(0);
        ["missing", "extra", "different"].map(|kind| found[kind].as_u64().unwrap())
    };
    assert_eq!(wrong(&["--from", "2020-02-03", "--to", "2020-02-04"]), [0, 1, 0]);
    // A part of an hour is the whole hour.
    assert_eq!(wrong(&["--from", "2020-02-03T04:59:59Z", "--to", "2020-02-03T05:00:00Z"]), [0, 1, 0]);
    assert_eq!(wrong(&["--from", "2020-02-03T05:00:00+01:00", "--to", "2020-02-03T05:00:01+01:00"]), [0, 1, 0]);
    assert_eq!(wrong(&["--from", "2020-02-03T05:00:00Z"]), [1, 0, 2]);
    assert_eq!(wrong(&["--to", "2020-02-03T04:00:00Z"]), [0, 0, 0]);
    let mut sum = [0, 0, 0];
    for row in database.rows("SELECT id::text FROM workspace", &[]).await {
        let found = wrong(&["--workspace-id", row.get(0)]);
        sum = [0, 1, 2].map(|at| sum[at] + found[at]);
    }
    assert_eq!(sum, [1, 1, 2], "every bucket belongs to one workspace");
    assert_eq!(wrong(&["--workspace-id", "00000000-0000-0000-0000-000000000001"]), [0, 0, 0]);

    for scope in [
        &["--from", "yesterday"][..],
        &["--from", "2020-02-03T04:00:00"],
        &["--workspace-id", "7"],
        &["--from", "2020-02-04", "--to", "2020-02-03"],
        &["--from", "9999-12-31"],
    ] {
        verify(scope.iter().map(|word| (*word).to_owned()).collect()).expect(2);
    }
}

#[tokio::test]
async fn what_the_next_tick_will_see_to_is_no_fault_while_there_are_ticks() {
    let database = rolled_up().await;
    // Some tasks have no runtime, and their usage makes no buckets.
    database
        .batch(
            "CREATE VIEW counting AS
             SELECT u.id, u.task_id, t.agent_id, t.issue_id
             FROM task_usage u JOIN agent_task_queue t ON t.id = u.task_id
             WHERE t.runtime_id IS NOT NULL",
        )
        .await;
    let writes = [
        "INSERT INTO task_usage (task_id, model, input_tokens) SELECT task_id, 'new', 5 FROM counting LIMIT 1",
        "UPDATE task_usage SET input_tokens = 0 WHERE id IN (SELECT id FROM counting LIMIT 3)",
        "UPDATE task_usage SET model = 'renamed', updated_at = now() WHERE id = (SELECT id FROM counting LIMIT 1)",
        "DELETE FROM task_usage WHERE id IN (SELECT id FROM counting LIMIT 2)",
        "DELETE FROM issue WHERE id = (SELECT issue_id FROM counting WHERE issue_id IS NOT NULL LIMIT 1)",
        "UPDATE agent SET name = 'moved', workspace_id = (SELECT id FROM workspace w WHERE w.id <> workspace_id LIMIT 1)
         WHERE id = (SELECT agent_id FROM counting LIMIT 1)",
        "UPDATE agent_task_queue SET runtime_id = NULL WHERE id IN (SELECT task_id FROM counting LIMIT 2)",
        "TRUNCATE task_usage CASCADE",
    ];
    for write in writes {
        database.batch(write).await;
        let run = database.program().args(["verify", "rollup"]).run().expect(0);
        assert!(run.stdout.contains(" for the next tick\n"), "{write}: {}", run.stdout);
        database
            .batch(
                "SELECT rollup_task_usage_hourly_window(watermark_at, now() + interval '1 second')
                        FROM task_usage_hourly_rollup_state",
            )
            .await;
        database.batch("UPDATE task_usage_hourly_rollup_state SET watermark_at = now()").await;
        let run = database.program().args(["verify", "rollup"]).run().expect(0);
        assert!(run.stdout.ends_with("equals the raw usage\n"), "{write}: {}", run.stdout);
    }
}

#[tokio::test]
async fn a_rollup_that_nobody_keeps_going_is_a_fault() {
    let database = rolled_up().await;
    let write = "INSERT INTO task_usage (task_id, model, input_tokens)
                 SELECT id, 'new', 5 FROM agent_task_queue WHERE runtime_id IS NOT NULL LIMIT 1";
    database.batch(write).await;
    database.program().args(["verify", "rollup"]).run().expect(0);
    database.batch("UPDATE task_usage_hourly_rollup_state SET watermark_at = now() - interval '2 hours'").await;
    let run = database.program().args(["verify", "rollup"]).run().expect(4);
    assert!(run.stdout.contains("1 bucket waits, and the watermark is 2h behind; see migrate"), "{}", run.stdout);
}

#[tokio::test]
async fn a_row_dated_in_the_future_does_not_hide_its_bucket() {
    let database = rolled_up().await;
    let future = "UPDATE task_usage SET updated_at = now() + interval '1 year'
                  WHERE id = (SELECT u.id FROM task_usage u JOIN agent_task_queue t ON t.id = u.task_id
                              WHERE t.runtime_id IS NOT NULL LIMIT 1)";
    database.batch(future).await;
    database.program().args(["verify", "rollup"]).run().expect(0);
    database
        .batch("SELECT rollup_task_usage_hourly_window(now() - interval '1 second', now() + interval '1 second')")
        .await;
    database
        .batch(
            "UPDATE task_usage_hourly SET input_tokens = input_tokens + 1
             WHERE bucket_hour = (SELECT task_usage_hour_bucket(created_at) FROM task_usage WHERE updated_at > now())",
        )
        .await;
    database.program().args(["verify", "rollup"]).run().expect(4);
    database.program().args(["verify", "rollup", "--fix"]).run().expect(0);
    database.assert_parity().await;
}

#[tokio::test]
async fn a_bucket_between_two_hours_is_removed() {
    let database = rolled_up().await;
    database
        .batch("UPDATE task_usage_hourly SET bucket_hour = bucket_hour + interval '30 minutes' WHERE ctid = '(0,1)'")
        .await;
    database.program().args(["verify", "rollup"]).run().expect(4);
    let fixed = database.program().args(["verify", "rollup", "--fix"]).run().expect(0);
    assert!(fixed.stdout.contains("rebuilt 2 buckets"), "one missing, one extra: {}", fixed.stdout);
    database.assert_parity().await;
}

/// A window that knows the queue that other programs fill, and nothing of ours.
const OLDER_FUNCTIONS: &str = "
    DROP TRIGGER trg_report_usage_insert ON task_usage;
    DROP TABLE task_usage_hourly_invalidation CASCADE;
    DROP FUNCTION task_usage_hourly_rebuild, task_usage_hourly_horizon;
    DROP TRIGGER trg_hand_over_reports ON task_usage_hourly_dirty;
    CREATE OR REPLACE FUNCTION rollup_task_usage_hourly_window(p_from timestamptz, p_to timestamptz)
    RETURNS bigint LANGUAGE plpgsql AS $$
    DECLARE v_hours timestamptz[];
    BEGIN
        WITH drained AS (DELETE FROM task_usage_hourly_dirty WHERE enqueued_at < p_to RETURNING bucket_hour)
        SELECT array_agg(DISTINCT bucket_hour) INTO v_hours FROM drained;
        DELETE FROM task_usage_hourly WHERE bucket_hour = ANY (v_hours);
        INSERT INTO task_usage_hourly (bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model,
            input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, task_count, event_count)
        SELECT bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model, input_tokens,
               output_tokens, cache_read_tokens, cache_write_tokens, task_count, event_count
        FROM task_usage_hourly_computed(v_hours);
        RETURN 1;
    END $$";

#[tokio::test]
async fn the_functions_of_an_older_program_can_be_verified_and_put_to_work() {
    let database = rolled_up().await;
    database.batch(OLDER_FUNCTIONS).await;
    database.batch(TAMPER).await;
    database.program().args(["verify", "rollup"]).run().expect(4);
    // The buckets are right then, and the rollup is still one that loses changes.
    let fixed = database.program().args(["verify", "rollup", "--fix"]).run().expect(4);
    assert!(fixed.stdout.contains("rebuilt 4 buckets"), "{}", fixed.stdout);
    assert!(fixed.stdout.contains("the rollup in force is not this program's"), "{}", fixed.stdout);
    database.assert_parity().await;
}

#[tokio::test]
async fn a_repair_is_only_about_its_scope_and_leaves_the_queue_alone() {
    let database = rolled_up().await;
    database.batch(TAMPER).await;
    database.batch("UPDATE task_usage SET output_tokens = output_tokens + 1 WHERE model = 'large'").await;
    let queued: i64 = database.value("SELECT count(*) FROM task_usage_hourly_invalidation").await;
    let scope = ["verify", "rollup", "--fix", "--from", "2020-02-03", "--to", "2020-02-04"];
    let fixed = database.program().args(scope).run().expect(0);
    assert!(fixed.stdout.contains("rebuilt 1 bucket\n"), "{}", fixed.stdout);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM task_usage_hourly_invalidation").await, queued);
}

#[tokio::test]
async fn without_a_rollup_there_is_nothing_to_verify() {
    let database = TestDatabase::empty().await;
    let run = database.program().args(["verify", "rollup"]).run().expect(7);
    assert!(run.stderr.contains("run migrate up first"), "{}", run.stderr);
    let database = TestDatabase::at_version(104, 0, 0).await;
    database.program().args(["verify", "rollup"]).run().expect(0);
}

#[tokio::test]
async fn thousands_of_differences_are_found_and_rebuilt_in_batches() {
    let database = rolled_up().await;
    database.batch("TRUNCATE workspace CASCADE").await;
    database.write_usage(6000, 2).await;
    database.batch("SELECT rollup_task_usage_hourly_window('epoch', now() + interval '1 second')").await;
    database
        .batch("UPDATE task_usage_hourly_rollup_state SET watermark_at = now(); DELETE FROM task_usage_hourly")
        .await;
    let wrong = database.program().args(["verify", "rollup"]).run().expect(4);
    assert!(wrong.stdout.contains(" more; -v or --format json list them all\n"), "{}", wrong.stdout);
    assert!(wrong.stdout.lines().count() < 70);
    let fixed = database.program().args(["verify", "rollup", "--fix"]).run().expect(0);
    assert!(fixed.stdout.contains("equals the raw usage"), "{}", fixed.stdout);
    database.assert_parity().await;
}

#[tokio::test]
async fn a_cost_is_compared_and_rebuilt_like_tokens() {
    let database = TestDatabase::at_version(latest(), 0, 0).await;
    database.write_usage(600, 3).await;
    database.batch("UPDATE task_usage SET cost_usd_ticks = 2500000000 WHERE md5(id::text) < '8'").await;
    database.batch("SELECT rollup_task_usage_hourly_window('epoch', now() + interval '1 second')").await;
    database.batch("UPDATE task_usage_hourly_rollup_state SET watermark_at = now()").await;
    database.assert_parity().await;
    let sum = "SELECT sum(cost_usd_ticks)::text FROM task_usage_hourly";
    let ticks: String = database.value(sum).await;
    // A bucket that nobody has computed since there is a column for it says nothing of uncosted tokens, which is right
    // where no row carries a cost; elsewhere it is not.
    database.batch("UPDATE task_usage_hourly SET uncosted_output_tokens = NULL").await;
    let wrong = database.program().args(["verify", "rollup"]).run().expect(4);
    assert!(wrong.stdout.contains(": uncosted output +"), "{}", wrong.stdout);
    let costed: i64 = database.value("SELECT count(*) FROM task_usage_hourly WHERE cost_usd_ticks > 0").await;
    assert!(wrong.stdout.contains(&format!("0 missing, 0 extra, {costed} different")), "{}", wrong.stdout);
    let rebuilt = database.program().args(["repair", "hourly-rollup", "--execute"]).run().expect(0);
    assert!(rebuilt.stdout.contains(&format!("corrected {costed} buckets")), "{}", rebuilt.stdout);
    database.program().args(["verify", "rollup"]).run().expect(0);

    database.batch("UPDATE task_usage_hourly SET cost_usd_ticks = 0").await;
    let json = database.program().args(["verify", "rollup", "--format", "json"]).run().expect(4);
    let bucket = &json.events("bucket")[0];
    assert_eq!(
        (bucket["stored"]["cost"]["usd_ticks"].as_i64(), bucket["raw"]["cost"]["usd_ticks"].as_i64().map(|t| t > 0)),
        (Some(0), Some(true))
    );
    database.program().args(["verify", "rollup", "--fix"]).run().expect(0);
    assert_eq!(database.value::<String>(sum).await, ticks);
    database.assert_parity().await;
}

#[tokio::test]
async fn a_watermark_of_the_first_day_beside_usage_is_a_fault() {
    let database = rolled_up().await;
    database.batch("UPDATE task_usage_hourly_rollup_state SET watermark_at = 'epoch'").await;
    let verified = database.program().args(["verify", "rollup"]).run().expect(4);
    assert!(verified.stdout.contains("migrate rollup watch"), "{}", verified.stdout);
    // The first tick begins where usage does.
    let tick = database.program().args(["rollup", "tick", "--format", "json"]).run().expect(0);
    let first: String = database.value("SELECT min(coalesce(updated_at, created_at))::text FROM task_usage").await;
    assert!(tick.events("tick")[0]["watermark"].as_str().unwrap() > first.as_str(), "{}", tick.stdout);
}
