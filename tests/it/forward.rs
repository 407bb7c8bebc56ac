//! What comes after us: the platform's own migrator goes on with its later versions, on every upgraded release, without us,
//! with us in between, and before we have ever been there; with writes of every kind before, between and after. A write
//! must have its effect, whoever rolls up must come out right, and we must be able to come back.

use std::time::Instant;

use crate::harness::{TestDatabase, all_versions, latest, release};

const RELEASES: [&str; 5] = ["v0.2.13", "v0.2.30", "v0.3.4", "v0.3.8-stuck", "v0.3.5"];

/// Who is at work between the upgrade to 104 and our coming back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The platform alone, to its end; we are never seen again until the end.
    WithoutUs,
    /// We come by after each of its versions.
    WithUsBetween,
    /// It has always been the platform alone.
    NeverUs,
}

/// Everything that is reported, and everything that changed, has been acted on by whoever rolls up.
async fn rolled_up_by_whoever_is_there(database: &TestDatabase) {
    database
        .batch("SELECT rollup_task_usage_hourly_window('0001-01-01', clock_timestamp() + interval '10 years')")
        .await;
    database.assert_parity().await;
}

async fn up(database: &TestDatabase, cell: &str) -> String {
    let up = database.program().args(["up"]).run();
    assert_eq!(up.status.code(), Some(0), "{cell}:\n{}\n{}", up.stdout, up.stderr);
    up.stdout
}

/// After `up`, ours is in force, every bucket is right, and there is nothing left to do.
async fn ours_again(database: &TestDatabase, cell: &str) {
    up(database, cell).await;
    assert_eq!(database.versions().await, all_versions(), "{cell}");
    let verified = database.program().args(["verify"]).run();
    assert_eq!(verified.status.code(), Some(0), "{cell}:\n{}", verified.stdout);
    let again = up(database, cell).await;
    assert!(again.starts_with("nothing to do"), "{cell}: {again}");
    caught_up(database).await;
    database.assert_parity().await;
}

async fn caught_up(database: &TestDatabase) {
    database
        .batch("SELECT rollup_task_usage_hourly_window(watermark_at, now() + interval '10 years') FROM task_usage_hourly_rollup_state")
        .await;
}

async fn play(release_name: &str, lived: bool, way: Way) {
    let cell = format!("{release_name}, {}, {way:?}", if lived { "usage" } else { "empty" });
    let started = Instant::now();
    let database = TestDatabase::empty().await;
    release::build(&database, release_name, lived).await;
    if way != Way::NeverUs {
        database.program().args(["up", "--target", "104"]).run().expect(0);
    }
    release::write_on(&database).await;
    for last in ["213z", "243z", "251z", "272z"] {
        release::go_on(&database, last).await;
        release::write_on(&database).await;
        match way {
            Way::WithUsBetween => {
                up(&database, &cell).await;
                release::write_on(&database).await;
            }
            // What its own triggers miss is not ours to answer for; what ours report is.
            Way::WithoutUs => rolled_up_by_whoever_is_there(&database).await,
            Way::NeverUs => {}
        }
    }
    ours_again(&database, &cell).await;
    release::write_on(&database).await;
    caught_up(&database).await;
    database.assert_parity().await;
    println!("{cell}: {:.2} s", started.elapsed().as_secs_f64());
}

#[tokio::test]
async fn the_platform_goes_on_without_us_and_we_come_back() {
    for release_name in RELEASES {
        for lived in [true, false] {
            play(release_name, lived, Way::WithoutUs).await;
        }
    }
}

#[tokio::test]
async fn we_come_by_after_each_of_its_versions() {
    for release_name in RELEASES {
        for lived in [true, false] {
            play(release_name, lived, Way::WithUsBetween).await;
        }
    }
}

#[tokio::test]
async fn a_database_that_the_platform_alone_has_brought_to_272_is_taken_over() {
    for lived in [true, false] {
        play("v0.3.5", lived, Way::NeverUs).await;
    }
}

#[tokio::test]
async fn a_takeover_says_why_and_is_resumed_where_it_was_killed() {
    let database = TestDatabase::empty().await;
    release::build(&database, "v0.3.5", true).await;
    release::go_on(&database, "272z").await;
    // Installed empty, never called, and a watermark at 1970: nothing is right.
    database
        .batch(
            "UPDATE task_usage_hourly SET input_tokens = input_tokens + 1, cost_usd_ticks = 5;
             INSERT INTO task_usage_hourly (bucket_hour, workspace_id, runtime_id, agent_id, provider, model, input_tokens)
             SELECT '2019-03-01', workspace_id, runtime_id, agent_id, 'ghost', 'ghost', 9 FROM task_usage_hourly LIMIT 1;
             UPDATE task_usage_hourly_rollup_state SET watermark_at = 'epoch'",
        )
        .await;
    let preview = database.program().args(["up", "--dry-run"]).run().expect(0);
    assert!(
        preview.stdout.contains("R     usage_pipeline                                 not applied here yet"),
        "{}",
        preview.stdout
    );
    assert!(preview.stdout.contains("hook  hourly-rebuild"), "{}", preview.stdout);
    let verified = database.program().args(["verify", "rollup"]).run().expect(4);
    assert!(verified.stdout.contains("the rollup in force is not this program's"), "{}", verified.stdout);
    assert!(verified.stdout.contains("next: migrate up"), "{}", verified.stdout);
    let tick = database.program().args(["rollup", "tick"]).run().expect(4);
    assert!(tick.stdout.contains("next: migrate up"), "{}", tick.stdout);
    let repair = database.program().args(["repair", "hourly-rollup"]).run().expect(7);
    assert!(repair.stderr.contains("run migrate up, which puts its own into force"), "{}", repair.stderr);

    // A slow bucket table, so that it can be killed in the middle.
    database
        .batch(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END $$;
             CREATE TRIGGER slow AFTER INSERT ON task_usage_hourly FOR EACH STATEMENT EXECUTE FUNCTION slow()",
        )
        .await;
    let runner = database.program().args(["up"]).start();
    database.wait_until("SELECT to_regclass('migrate.hook_state') IS NOT NULL").await;
    // The first month is the ghost's, which is gone then.
    database.wait_until("SELECT EXISTS (SELECT FROM migrate.hook_state WHERE state ->> 'done' > '2020')").await;
    runner.signal("KILL");
    let _ = runner.wait();
    database.batch("DROP TRIGGER slow ON task_usage_hourly").await;
    let status = database.program().args(["status"]).run().expect(0);
    assert!(status.stdout.contains("not done to its end"), "{}", status.stdout);
    database.program().args(["status", "--check"]).run().expect(3);
    let up = database.program().args(["up", "-v"]).run().expect(0);
    assert!(up.stderr.contains("hourly-rebuild goes on after"), "{}", up.stderr);
    ours_again(&database, "killed").await;

    // The next image brings its own form of something: the reason names it, and nothing is computed again in vain.
    database.batch("ALTER TABLE issue DISABLE TRIGGER trg_report_issue_move").await;
    let verified = database.program().args(["verify", "schema"]).run().expect(4);
    assert!(
        verified.stdout.contains("trigger trg_report_issue_move on issue is disabled (R__usage_pipeline.sql)"),
        "{}",
        verified.stdout
    );
    let preview = database.program().args(["up", "--dry-run"]).run().expect(0);
    assert!(preview.stdout.contains("trigger trg_report_issue_move on issue is disabled"), "{}", preview.stdout);
    ours_again(&database, "disabled").await;
    database.batch(release::LATER[1].1[0]).await;
    let up = database.program().args(["up"]).run().expect(0);
    assert!(up.stdout.starts_with("nothing to do"), "the same triggers in other hands: {}", up.stdout);
}

#[tokio::test]
async fn what_is_newer_than_this_program_is_left_alone() {
    let newer = [
        (
            "ALTER TABLE task_usage_hourly ADD COLUMN reasoning_tokens bigint",
            "table task_usage_hourly has column reasoning_tokens",
        ),
        ("ALTER TABLE task_usage ADD COLUMN reasoning_tokens bigint", "table task_usage has column reasoning_tokens"),
        (
            "CREATE FUNCTION rollup_task_usage_hourly_window(p_from timestamptz, p_to timestamptz, p_shard int)
             RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'",
            "function rollup_task_usage_hourly_window(timestamp with time zone,timestamp with time zone,integer)",
        ),
    ];
    for (change, expected) in newer {
        let database = TestDatabase::empty().await;
        release::build(&database, "v0.3.5", true).await;
        release::go_on(&database, "272z").await;
        database.batch(change).await;
        let window = "SELECT md5(prosrc) FROM pg_proc WHERE oid = 'rollup_task_usage_hourly_window(timestamptz, timestamptz)'::regprocedure";
        let before: String = database.value(window).await;
        for args in [&["up", "--dry-run"][..], &["up"], &["up"]] {
            let up = database.program().args(args.iter().copied()).run().expect(0);
            assert!(up.stderr.contains(expected) && up.stderr.contains("newer build"), "{}", up.stderr);
        }
        assert_eq!(database.value::<String>(window).await, before, "{change}");
        let verified = database.program().args(["verify"]).run().expect(0);
        assert!(verified.stdout.contains(expected) && verified.stdout.contains("newer build"), "{}", verified.stdout);
        database.program().args(["repair", "hourly-rollup", "--execute"]).run().expect(7);
        database.program().args(["rollup", "tick"]).run().expect(0);
    }
    // Ours in force, and a newer program's column beside it: nothing that we run computes a bucket without it.
    let database = TestDatabase::at_version(latest(), 300, 3).await;
    database.batch("SELECT rollup_task_usage_hourly_window('epoch', now() + interval '1 second')").await;
    database.batch("ALTER TABLE task_usage_hourly ADD COLUMN reasoning_tokens bigint NOT NULL DEFAULT 7; UPDATE task_usage_hourly SET input_tokens = 0").await;
    let fixed = database.program().args(["verify", "rollup", "--fix"]).run().expect(7);
    assert!(fixed.stderr.contains("upgrade to a newer build"), "{}", fixed.stderr);
    // What an application keeps beside its usage is its own.
    let database = TestDatabase::at_version(latest(), 0, 0).await;
    database.batch("ALTER TABLE task_usage ADD COLUMN note text").await;
    let verified = database.program().args(["verify"]).run().expect(0);
    assert!(!verified.stdout.contains("newer build"), "{}", verified.stdout);
}

#[tokio::test]
async fn whatever_the_platform_knows_by_name_lets_rows_through_under_any_trigger() {
    let database = TestDatabase::at_version(latest(), 0, 0).await;
    database.write_usage(400, 5).await;
    database.batch("SELECT rollup_task_usage_hourly_window('epoch', now() + interval '1 second')").await;
    let names = [
        ("atq", "agent_task_queue", "trg_atq_dirty_hourly", "runtime_id = NULL"),
        ("issue_delete", "issue", "trg_issue_delete_dirty_hourly", "title = 'x'"),
        ("issue_project", "issue", "trg_issue_project_dirty_hourly", "project_id = NULL"),
        ("tu", "task_usage", "trg_tu_dirty_hourly", "input_tokens = input_tokens + 1"),
    ];
    let guard = "WHEN (current_setting('multica.workspace_teardown', true) IS DISTINCT FROM 'on')";
    for (function, table, trigger, change) in names {
        for when in ["BEFORE", "AFTER"] {
            for guard in ["", guard] {
                database
                    .batch(&format!(
                        "DROP TRIGGER {trigger} ON {table};
                         CREATE TRIGGER {trigger} {when} INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW {guard}
                             EXECUTE FUNCTION enqueue_task_usage_hourly_dirty_for_{function}();
                         DO $$
                         DECLARE v_id uuid; v_rows bigint;
                         BEGIN
                             SELECT id INTO v_id FROM {table} ORDER BY id LIMIT 1;
                             UPDATE {table} SET {change} WHERE id = v_id;
                             GET DIAGNOSTICS v_rows = ROW_COUNT;
                             ASSERT v_rows = 1, 'an update of {table} has no effect';
                             DELETE FROM {table} WHERE id = v_id;
                             GET DIAGNOSTICS v_rows = ROW_COUNT;
                             ASSERT v_rows = 1, 'a delete from {table} has no effect';
                         END
                         $$;
                         INSERT INTO task_usage (task_id, model, input_tokens)
                         SELECT id, gen_random_uuid()::text, 3 FROM agent_task_queue LIMIT 3"
                    ))
                    .await;
                database.batch("SELECT rollup_task_usage_hourly_window(now() - interval '1 minute', now() + interval '1 second')").await;
                database.assert_parity().await;
            }
        }
    }
}

#[tokio::test]
async fn an_empty_database_is_said_to_be_one_and_can_be_left_to_others() {
    let database = TestDatabase::empty().await;
    let left = database.program().args(["up", "--skip-empty"]).run().expect(0);
    assert!(left.stdout.contains("the database is empty"), "{}", left.stdout);
    assert!(!database.value::<bool>("SELECT to_regnamespace('migrate') IS NOT NULL").await);
    let up = database.program().args(["up"]).run().expect(0);
    assert!(up.stderr.contains("the database is empty: building the usage tables alone"), "{}", up.stderr);
    let again = database.program().args(["up", "--skip-empty"]).run().expect(0);
    assert!(again.stdout.starts_with("nothing to do"), "{}", again.stdout);
    let old = TestDatabase::empty().await;
    release::build(&old, "v0.3.4", false).await;
    old.program().args(["up", "--skip-empty"]).run().expect(0);
    assert_eq!(old.versions().await, all_versions());
}
