//! `migrate rollup tick`, `watch` and `status`, and what `up` says about who calls the tick.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::{Program, TestDatabase, session, special_server, with_authority, with_database};

/// Usage of some days that nobody has rolled up.
async fn behind() -> TestDatabase {
    let database = TestDatabase::at_version(102, 600, 4).await;
    database.program().args(["up", "--target", "104"]).run().expect(0);
    database
        .batch("TRUNCATE task_usage_hourly; UPDATE task_usage_hourly_rollup_state SET watermark_at = 'epoch'")
        .await;
    database
}

const CAUGHT_UP: &str = "SELECT task_usage_hourly_rollup_lag_seconds() < 400";

#[tokio::test]
async fn a_tick_says_what_it_did() {
    let database = behind().await;
    let tick = database.program().args(["rollup", "tick"]).run().expect(0);
    assert!(tick.stdout.starts_with("rolled up "), "{}", tick.stdout);
    let tick = database.program().args(["rollup", "tick", "--format", "json"]).run().expect(0);
    let event = &tick.events("tick")[0];
    assert_eq!(event["outcome"], "done");
    assert_eq!(event["advanced"], true);
    assert!(event["buckets"].as_u64() > Some(0), "{event}");

    let holder = database.session().await;
    holder.batch_execute("SET application_name TO 'cron of yore'; SELECT pg_advisory_lock(4246)").await.unwrap();
    let tick = database.program().args(["rollup", "tick"]).run().expect(0);
    assert!(tick.stdout.starts_with("another rollup is running, nothing done: pid "), "{}", tick.stdout);
    assert!(tick.stdout.contains("\"cron of yore\""), "{}", tick.stdout);
}

#[tokio::test]
async fn without_a_rollup_its_commands_say_what_to_do() {
    let database = TestDatabase::empty().await;
    for command in ["tick", "status"] {
        let refused = database.program().args(["rollup", command]).run().expect(7);
        assert_eq!(refused.stderr, "error: there is no hourly rollup in this database; run migrate up first\n");
    }
    let database = TestDatabase::at_version(104, 0, 0).await;
    database.batch("DELETE FROM task_usage_hourly_rollup_state").await;
    for command in ["tick", "status"] {
        let refused = database.program().args(["rollup", command]).run().expect(7);
        assert!(refused.stderr.contains("INSERT INTO task_usage_hourly_rollup_state"), "{}", refused.stderr);
    }
}

#[tokio::test]
async fn a_failed_tick_leaves_its_error_behind_until_the_next_one_succeeds() {
    let database = behind().await;
    database.batch("ALTER TABLE task_usage_hourly ADD CONSTRAINT no_more CHECK (input_tokens < 0) NOT VALID").await;
    let failed = database.program().args(["rollup", "tick"]).run().expect(1);
    assert!(failed.stderr.contains("no_more"), "{}", failed.stderr);
    let status = database.program().args(["rollup", "status"]).run().expect(0);
    let error = status.stdout.lines().find(|line| line.starts_with("last error")).unwrap_or_default();
    assert!(error.contains("no_more") && error.contains("23514"), "{}", status.stdout);

    database.batch("ALTER TABLE task_usage_hourly DROP CONSTRAINT no_more").await;
    database.program().args(["rollup", "tick"]).run().expect(0);
    let status = database.program().args(["rollup", "status", "--format", "json"]).run().expect(0);
    assert!(status.events("rollup")[0]["last_error"].is_null());
}

#[tokio::test]
async fn a_watch_catches_up_and_survives_what_happens_to_it() {
    let database = behind().await;
    // As if a job had ticked before, which then stopped.
    database.program().args(["rollup", "tick"]).run().expect(0);
    let watch = database.program().args(["rollup", "watch", "--every", "1s"]).start();
    // Four days, a day a tick: no pauses while there is more to do.
    database.wait_until(CAUGHT_UP).await;
    database.assert_parity_before_the_watermark().await;

    let status = database.program().args(["rollup", "status"]).run().expect(0);
    assert!(status.stdout.contains("scheduled by  migrate rollup watch, pid "), "{}", status.stdout);
    let up = database.program().args(["up"]).run().expect(0);
    assert!(!up.stderr.contains("seems to call"), "{}", up.stderr);

    // Its session is ended, then its tick fails for a while, then it goes on.
    database
        .batch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'migrate: rollup watch'",
        )
        .await;
    database.batch("ALTER FUNCTION rollup_task_usage_hourly_window RENAME TO hidden").await;
    database
        .wait_until("SELECT coalesce(last_error LIKE '%does not exist%', false) FROM task_usage_hourly_rollup_state")
        .await;
    database.batch("ALTER FUNCTION hidden RENAME TO rollup_task_usage_hourly_window").await;
    database.wait_until("SELECT last_error IS NULL FROM task_usage_hourly_rollup_state").await;

    watch.signal("TERM");
    let ended = watch.wait().expect(0);
    assert!(ended.stdout.lines().all(|line| line.contains("  rolled up ")), "{}", ended.stdout);
    assert!(
        (3..=6).contains(&ended.stdout.lines().count()),
        "one line for each tick that did something:\n{}",
        ended.stdout
    );
    assert!(ended.stderr.contains("retrying in 1s"), "{}", ended.stderr);
    assert!(ended.stderr.ends_with("stopped\n"), "{}", ended.stderr);
    database
        .wait_until(
            "SELECT NOT EXISTS (SELECT FROM pg_stat_activity
                                WHERE datname = current_database() AND application_name LIKE 'migrate%')",
        )
        .await;
}

#[tokio::test]
async fn a_watch_that_writes_json_says_on_standard_error_when_it_retries() {
    let database = behind().await;
    database.batch("ALTER FUNCTION rollup_task_usage_hourly_window RENAME TO hidden").await;
    let watch = database.program().args(["rollup", "watch", "--every", "1s", "--format", "json"]).start();
    database
        .wait_until("SELECT coalesce(last_error LIKE '%does not exist%', false) FROM task_usage_hourly_rollup_state")
        .await;
    // The server has the error before the program.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    watch.signal("TERM");
    let ended = watch.wait().expect(0);
    assert!(!ended.events("tick_failed").is_empty(), "{}", ended.stdout);
    assert!(ended.stderr.contains("retrying in 1s"), "{}", ended.stderr);
}

/// The name that a URL gives does not hide who is there, not even from a role that may see next to nothing.
#[tokio::test]
async fn a_watch_is_found_whatever_name_its_url_gives() {
    let database = TestDatabase::at_version(104, 0, 0).await;
    let role = format!("{}_reader", database.name);
    database
        .batch(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'reader';
             GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role};
             GRANT USAGE ON SCHEMA migrate TO {role};
             GRANT SELECT ON ALL TABLES IN SCHEMA migrate TO {role}"
        ))
        .await;
    let reader = with_authority(&database.url, Some(&format!("{role}:reader")), None);
    for name in ["billing", "migrate%3A up", &"long%20name%20".repeat(9), "%C3%BC%C3%BC%C3%BC".repeat(6).as_str()] {
        let url = format!("{}?application_name={name}", database.url);
        let watch = Program::new().env("DATABASE_URL", &url).args(["rollup", "watch", "--every", "1h"]).start();
        database.wait_until("SELECT last_run_finished_at IS NOT NULL FROM task_usage_hourly_rollup_state").await;
        // Nobody else has ticked lately, so that the session is all there is to be seen.
        database.batch("UPDATE task_usage_hourly_rollup_state SET last_run_finished_at = NULL").await;
        for url in [&url, &database.url, &reader] {
            let status = Program::new().env("DATABASE_URL", url).args(["rollup", "status"]).run().expect(0);
            assert!(status.stdout.contains("scheduled by  migrate rollup watch, pid "), "{name}: {}", status.stdout);
        }
        let up = Program::new().env("DATABASE_URL", &url).args(["up"]).run().expect(0);
        assert!(!up.stderr.contains("seems to call"), "{name}: {}", up.stderr);
        let session: String = database
            .value(
                "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'migrate: rollup watch (%'",
            )
            .await;
        assert!(name != "billing" || session == "migrate: rollup watch (billing)", "{session}");
        watch.signal("TERM");
        watch.wait().expect(0);
    }
    let status = Program::new().env("DATABASE_URL", &reader).args(["rollup", "status"]).run().expect(0);
    assert!(!status.stdout.contains("migrate rollup watch, pid "), "{}", status.stdout);
    database.batch(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_watch_may_be_there_before_the_database_is_upgraded() {
    let database = TestDatabase::empty().await;
    let watch = database.program().args(["rollup", "watch", "--every", "1s", "--format", "json"]).start();
    tokio::time::sleep(Duration::from_millis(300)).await;
    database.program().args(["up"]).run().expect(0);
    database.wait_until("SELECT last_run_finished_at IS NOT NULL FROM task_usage_hourly_rollup_state").await;
    watch.signal("INT");
    let ended = watch.wait().expect(0);
    assert!(!ended.events("tick_failed").is_empty(), "{}", ended.stdout);
    assert!(ended.events("tick").is_empty(), "ticks that did nothing are not told:\n{}", ended.stdout);
    assert_eq!(ended.json().last().map(|event| event["event"].clone()), Some("watch_ended".into()));
}

#[tokio::test]
async fn a_tick_in_the_middle_of_its_work_ends_with_the_watch() {
    let database = behind().await;
    database
        .batch(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
             AS $$ BEGIN PERFORM pg_sleep(10); RETURN NEW; END $$;
             CREATE TRIGGER slow BEFORE INSERT ON task_usage_hourly FOR EACH ROW EXECUTE FUNCTION slow()",
        )
        .await;
    let watch = database.program().args(["rollup", "watch"]).start();
    database
        .wait_until(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4246
                            AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))",
        )
        .await;
    watch.signal("TERM");
    watch.wait().expect(0);
    database
        .wait_until(
            "SELECT NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory'
                                AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))",
        )
        .await;
    let error: Option<String> = database.value("SELECT last_error FROM task_usage_hourly_rollup_state").await;
    assert_eq!(error, None, "being told to stop is no failure");
}

#[tokio::test]
async fn a_watch_wants_a_sensible_interval() {
    let database = TestDatabase::empty().await;
    for every in ["0s", "10ms", "2d", "soon", "-5m"] {
        database.program().args(["rollup", "watch", "--every", every]).run().expect(2);
    }
}

#[tokio::test]
async fn status_names_the_transaction_that_holds_the_rollup_back() {
    let database = TestDatabase::at_version(104, 0, 0).await;
    let writer = database.session().await;
    writer
        .batch_execute("SET application_name TO 'forgotten'; BEGIN; LOCK TABLE task_usage IN ROW EXCLUSIVE MODE")
        .await
        .unwrap();
    let sql =
        include_str!("../../src/platform/usage/standing.sql").replace("interval '5 minutes'", "interval '0 seconds'");
    let sql = sql.replace("{queue}", "task_usage_hourly_invalidation");
    let row = database.session().await.query_one(&sql, &[]).await.unwrap();
    assert_eq!(row.get::<_, Option<String>>(9).as_deref(), Some("forgotten"));
}

#[tokio::test]
async fn up_says_so_when_nobody_calls_the_tick() {
    let database = TestDatabase::empty().await;
    let up = database.program().args(["up", "--target", "84"]).run().expect(0);
    assert!(!up.stderr.contains("seems to call"), "there is no hourly rollup yet: {}", up.stderr);
    for _ in 0..2 {
        let up = database.program().args(["up"]).run().expect(0);
        assert!(up.stderr.contains("nothing seems to call the hourly rollup"), "{}", up.stderr);
        assert!(up.stderr.ends_with("as a process of its own: migrate rollup watch\n"), "{}", up.stderr);
    }
    assert_eq!(database.program().args(["up", "-q"]).run().expect(0).stderr, "");
    let up = database.program().args(["up", "--format", "json"]).run().expect(0);
    assert_eq!(up.events("nobody_schedules_rollup").len(), 1, "{}", up.stdout);

    database.program().args(["rollup", "tick"]).run().expect(0);
    let up = database.program().args(["up"]).run().expect(0);
    assert_eq!(up.told(), "", "somebody ticked a moment ago");
}

#[tokio::test]
async fn a_job_of_pg_cron_is_found_and_proposed() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("script/server");
    if !Command::new(script).args(["has", "pg_cron"]).status().is_ok_and(|status| status.success()) {
        eprintln!("not tested: the server programs used here have no pg_cron");
        return;
    }
    let options = ["--set", "shared_preload_libraries=pg_cron", "--set", "cron.use_background_workers=on"];
    let (home, _) = special_server("cron", &options);
    let program = |url: &str| crate::harness::Program::new().env("DATABASE_URL", url);

    // In the database that pg_cron lives in.
    let up = program(&home).args(["up"]).run().expect(0);
    let statement =
        "SELECT cron.schedule('rollup_task_usage_hourly', '*/5 * * * *', 'SELECT rollup_task_usage_hourly()');";
    assert!(up.stderr.contains(statement), "{}", up.stderr);
    let admin = session(&home).await;
    admin.batch_execute(statement).await.unwrap();
    assert_eq!(program(&home).args(["up"]).run().expect(0).told(), "");
    let status = program(&home).args(["rollup", "status"]).run().expect(0);
    assert!(
        status.stdout.contains("scheduled by  pg_cron job 1 rollup_task_usage_hourly (*/5 * * * *), "),
        "{}",
        status.stdout
    );
    admin.batch_execute("SELECT cron.alter_job(1, active => false)").await.unwrap();
    let status = program(&home).args(["rollup", "status"]).run().expect(0);
    assert!(status.stdout.contains("switched off") && status.stdout.contains(statement), "{}", status.stdout);

    // In another one, whose jobs are kept there.
    admin.batch_execute("CREATE DATABASE elsewhere").await.unwrap();
    let elsewhere = with_database(&home, "elsewhere");
    let up = program(&elsewhere).args(["up"]).run().expect(0);
    let statement = "SELECT cron.schedule_in_database('rollup_task_usage_hourly', '*/5 * * * *', \
                     'SELECT rollup_task_usage_hourly()', 'elsewhere');";
    assert!(up.stderr.contains(&format!("in database postgres: {statement}")), "{}", up.stderr);
    admin.batch_execute(statement).await.unwrap();
}
