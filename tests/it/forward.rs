//! What comes after us: the platform's own migrator goes on with its later versions, on every upgraded release, without us,
//! with us in between, and before we have ever been there; with writes of every kind before, between and after. A write
//! must have its effect, whoever rolls up must come out right, and we must be able to come back.

use std::time::Instant;

use crate::harness::{TestDatabase, all_versions, latest, release, with_authority};

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
    assert!(repair.stderr.contains("run migrate up, which replaces it"), "{}", repair.stderr);

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
    assert!(status.stdout.contains("not finished"), "{}", status.stdout);
    database.program().args(["status", "--check"]).run().expect(3);
    let up = database.program().args(["up", "-v"]).run().expect(0);
    assert!(up.stderr.contains("hourly-rebuild continues after"), "{}", up.stderr);
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

/// A database that the platform alone has brought to 272, with usage.
async fn of_the_platform() -> TestDatabase {
    let database = TestDatabase::empty().await;
    release::build(&database, "v0.3.5", true).await;
    release::go_on(&database, "272z").await;
    database
}

/// Usage that a window would not find by itself, and that nobody has reported: as while a trigger was missing.
const UNREPORTED: &str = "
    SET session_replication_role TO replica;
    UPDATE task_usage SET input_tokens = input_tokens + 1 WHERE id IN (SELECT id FROM task_usage ORDER BY id LIMIT 300);
    RESET session_replication_role";

#[tokio::test]
async fn whatever_has_been_replaced_that_computes_or_reports_everything_is_computed_again() {
    let template = of_the_platform().await;
    template.program().args(["up"]).run().expect(0);
    let body = "SELECT date_trunc('day', ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'";
    let damages = [
        format!(
            "CREATE OR REPLACE FUNCTION task_usage_hour_bucket(ts timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$ {body} $$"
        ),
        "CREATE OR REPLACE FUNCTION task_usage_hourly_take_reports(p_before timestamptz) RETURNS timestamptz[]
         LANGUAGE sql AS $$ SELECT ARRAY[]::timestamptz[] $$"
            .to_owned(),
        "DROP TRIGGER trg_report_usage_update ON task_usage".to_owned(),
        "DROP TABLE task_usage_hourly_invalidation".to_owned(),
        "TRUNCATE migrate.repeatable".to_owned(),
        "DROP SCHEMA migrate CASCADE".to_owned(),
    ];
    for damage in damages {
        let database = TestDatabase::from_template(&template.name).await;
        database.batch(&format!("{damage}; {UNREPORTED}")).await;
        let up = database.program().args(["up"]).run().expect(0);
        assert!(up.stdout.contains("hook  hourly-rebuild"), "{damage}: {}", up.stdout);
        caught_up(&database).await;
        database.assert_parity().await;
        database.program().args(["verify"]).run().expect(0);
    }
    // What the platform knows by name is of no account: it is put back, and nothing has to be computed again.
    let database = TestDatabase::from_template(&template.name).await;
    database
        .batch(
            "CREATE OR REPLACE FUNCTION enqueue_task_usage_hourly_dirty_for_tu() RETURNS trigger
             LANGUAGE plpgsql AS $$ BEGIN RETURN coalesce(NEW, OLD); END $$",
        )
        .await;
    let up = database.program().args(["up"]).run().expect(0);
    assert!(up.stdout.contains("R     usage_pipeline") && !up.stdout.contains("hourly-rebuild"), "{}", up.stdout);
}

#[tokio::test]
async fn a_walk_that_has_become_necessary_anew_begins_anew_and_nobody_says_all_is_well_before_it_has_ended() {
    let database = of_the_platform().await;
    database.program().args(["up"]).run().expect(0);
    database
        .batch(
            "UPDATE migrate.repeatable SET owed = '{hourly-rebuild}';
             INSERT INTO migrate.hook_state (set_name, hook, before_version, state)
             VALUES ('platform', 'hourly-rebuild', 102,
                     jsonb_build_object('done', '2100-01-01T00:00:00Z', 'buckets', 1, 'began_at', now()::text))",
        )
        .await;
    let tick = database.program().args(["rollup", "tick"]).run().expect(4);
    assert!(tick.stdout.contains("has not finished; next: migrate up"), "{}", tick.stdout);
    database.program().args(["verify", "rollup"]).run().expect(4);
    let standing = database.program().args(["rollup", "status"]).run().expect(0);
    assert!(standing.stdout.contains("has not finished"), "{}", standing.stdout);
    // Meanwhile reports are lost once more.
    database.batch(&format!("DROP TRIGGER trg_report_usage_update ON task_usage; {UNREPORTED}")).await;
    database.program().args(["up"]).run().expect(0);
    caught_up(&database).await;
    database.assert_parity().await;
    database.program().args(["rollup", "tick"]).run().expect(0);
}

#[tokio::test]
async fn a_table_of_ours_that_somebody_has_changed_is_not_taken_for_right() {
    let database = of_the_platform().await;
    database.program().args(["up"]).run().expect(0);
    database
        .batch("ALTER TABLE task_usage_hourly_invalidation ALTER enqueued_at DROP DEFAULT, ALTER enqueued_at DROP NOT NULL")
        .await;
    for _ in 0..2 {
        let up = database.program().args(["up"]).run().expect(7);
        assert!(
            up.stderr.contains("column task_usage_hourly_invalidation.enqueued_at has been replaced"),
            "{}",
            up.stderr
        );
        database.program().args(["verify", "schema"]).run().expect(4);
    }
    database.batch("DROP TABLE task_usage_hourly_invalidation").await;
    database.program().args(["up"]).run().expect(0);
    database.program().args(["verify"]).run().expect(0);
}

#[tokio::test]
async fn rows_that_nobody_may_see_are_an_error_before_a_bucket_is_lost() {
    for table in ["agent", "task_usage", "agent_task_queue", "issue"] {
        let database = of_the_platform().await;
        let role = format!("{}_owner", database.name);
        database
            .batch(&format!("CREATE ROLE {role} LOGIN PASSWORD 'role'; GRANT USAGE, CREATE ON SCHEMA public TO {role}; GRANT CREATE ON DATABASE {} TO {role}", database.name))
            .await;
        database.give_to(&role).await;
        database.batch(&format!("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")).await;
        let buckets: i64 = database.value("SELECT count(*) FROM task_usage_hourly").await;
        let as_owner = with_authority(&database.url, Some(&format!("{role}:role")), None);
        let hidden = format!("row-level security on {table} may hide rows");
        for (url, said) in [(&database.url, "role postgres is a superuser"), (&as_owner, &hidden)] {
            for args in [&["up", "--dry-run"][..], &["up"]] {
                let up = database.program().env("DATABASE_URL", url).args(args.iter().copied()).run().expect(7);
                assert!(up.stderr.contains(said), "{}", up.stderr);
            }
            assert_eq!(database.value::<i64>("SELECT count(*) FROM task_usage_hourly").await, buckets, "{table}");
        }
        let verified = database.program().env("DATABASE_URL", &as_owner).args(["verify", "rollup"]).run();
        assert!(matches!(verified.status.code(), Some(1 | 4 | 7)), "{table}: {}", verified.stdout);
        database.batch(&format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")).await;
        database.program().env("DATABASE_URL", &as_owner).args(["up"]).run().expect(0);
        caught_up(&database).await;
        database.assert_parity().await;
        database.batch(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}")).await;
    }
}

#[tokio::test]
async fn nobody_believes_a_watermark_that_is_ahead_of_the_clock() {
    for watermark in ["now() + interval '1 hour'", "'2999-01-01'", "'infinity'"] {
        let set = format!("UPDATE task_usage_hourly_rollup_state SET watermark_at = {watermark}");
        let database = of_the_platform().await;
        database.batch(&set).await;
        database.program().args(["up"]).run().expect(0);
        let behind = "SELECT watermark_at <= now() - interval '4 minutes' FROM task_usage_hourly_rollup_state";
        assert!(database.value::<bool>(behind).await, "{watermark}: after the takeover");
        caught_up(&database).await;

        // A clock that was set back, with ours in force.
        database.batch(&set).await;
        database
            .batch(
                "INSERT INTO task_usage (task_id, model, input_tokens, created_at, updated_at)
                 SELECT id, 'while ahead', 5, now() - interval '10 minutes', now() - interval '10 minutes'
                 FROM agent_task_queue WHERE runtime_id IS NOT NULL LIMIT 5;
                 DELETE FROM task_usage_hourly_invalidation",
            )
            .await;
        let verified = database.program().args(["verify", "rollup"]).run().expect(4);
        assert!(verified.stdout.contains("ahead of the clock"), "{}", verified.stdout);
        let standing = database.program().args(["rollup", "status"]).run().expect(0);
        assert!(standing.stdout.contains("ahead of the clock"), "{}", standing.stdout);
        for _ in 0..400 {
            let tick = database.program().args(["rollup", "tick", "--format", "json"]).run().expect(0);
            if tick.events("tick")[0]["lag"].as_f64().unwrap() < 600.0 {
                break;
            }
        }
        caught_up(&database).await;
        database.assert_parity().await;
    }
}

#[tokio::test]
async fn a_server_that_publishes_all_tables_stops_nothing() {
    const PUBLISH: &str = "CREATE PUBLICATION everything FOR ALL TABLES";
    let database = of_the_platform().await;
    database.batch(PUBLISH).await;
    database.program().args(["up"]).run().expect(0);
    database.batch("DELETE FROM task_usage WHERE id IN (SELECT id FROM task_usage LIMIT 3)").await;
    database.program().args(["rollup", "tick"]).run().expect(0);
    caught_up(&database).await;
    database.assert_parity().await;
    let repair = ["repair", "codex-cache", "--cutoff", "2026-01-01T00:00:00Z", "--execute"];
    database.program().args(repair).run().expect(0);
    database.program().args(["repair", "hourly-rollup", "--execute"]).run().expect(0);

    // From nothing, at each version of the chain: everything that anybody deletes from or updates has an identity.
    let database = TestDatabase::empty().await;
    database.batch(PUBLISH).await;
    for target in ["73", "77", "84", "102", "104", "272"] {
        database.program().args(["up", "--target", target]).run().expect(0);
        let lacking: Option<String> = database
            .value(
                "SELECT string_agg(c.oid::regclass::text, ', ')
                 FROM pg_class c
                 WHERE c.relkind IN ('r', 'p')
                   AND c.relnamespace IN ('public'::regnamespace, 'migrate'::regnamespace)
                   AND (c.relreplident = 'n'
                        OR c.relreplident = 'd'
                           AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary))",
            )
            .await;
        assert_eq!(lacking, None, "at {target}");
    }
}

#[tokio::test]
async fn buckets_that_outlive_all_usage_go_with_a_takeover() {
    let database = of_the_platform().await;
    database.batch("SET session_replication_role TO replica; DELETE FROM task_usage").await;
    assert!(database.value::<i64>("SELECT count(*) FROM task_usage_hourly").await > 0);
    database.program().args(["up"]).run().expect(0);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM task_usage_hourly").await, 0);
    database.program().args(["verify"]).run().expect(0);
}
