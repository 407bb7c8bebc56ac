//! What people and programs read.

use std::process::Command;

use crate::harness::{Program, TestDatabase, all_versions, latest};

#[tokio::test]
async fn a_dry_run_shows_the_steps_and_writes_nothing() {
    let database = TestDatabase::at_version(84, 2000, 365).await;
    let preview = database.program().args(["up", "--dry-run", "--target", "104"]).run().expect(0);
    let months = preview.stdout.split("would roll up ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or("?");
    assert_eq!(
        preview.stdout,
        format!(
            "would go from version 84 to 104:
  V101  task_usage_hourly_schema
  V102  task_usage_hourly_pipeline
  R     usage_pipeline                                 not applied here yet
  hook  hourly-backfill                                would roll up {months} months, about 2,000 rows
  V103  drop_legacy_daily_rollups
  V104  drop_runtime_timezone
nothing was written; run migrate up to do it
"
        )
    );
    assert!(months == "12" || months == "13", "{months}");
    assert_eq!(database.versions().await.last(), Some(&84));

    let with_sql = database.program().args(["up", "--dry-run", "-v"]).run().expect(0);
    assert!(with_sql.stdout.contains("ALTER TABLE agent_runtime DROP COLUMN IF EXISTS timezone;"));

    let target = database.program().args(["up", "--dry-run", "--target", "102"]).run().expect(0);
    assert!(target.stdout.starts_with("would go from version 84 to 102:\n") && !target.stdout.contains("hook"));
}

#[tokio::test]
async fn a_dry_run_on_an_empty_database_creates_nothing() {
    let database = TestDatabase::empty().await;
    let preview = database.program().args(["up", "--dry-run"]).run().expect(0);
    assert!(preview.stdout.contains("nothing to do: there is no task_usage yet"), "{}", preview.stdout);
    let objects: i64 =
        database.value("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace").await;
    let schema: bool = database.value("SELECT to_regnamespace('migrate') IS NOT NULL").await;
    assert!(objects == 0 && !schema);
}

#[tokio::test]
async fn json_is_all_that_standard_output_holds() {
    let database = TestDatabase::at_version(84, 500, 60).await;
    let preview = database.program().args(["up", "--dry-run", "--format", "json"]).run().expect(0);
    let hook = &preview.events("would_run_hook")[0];
    assert_eq!((hook["hook"].as_str(), hook["work"].as_bool()), (Some("hourly-backfill"), Some(true)));

    let refused = database.program().args(["up", "--format", "json", "--skip-hook", "hourly-backfill"]).run().expect(7);
    let error = &refused.events("error")[0];
    assert_eq!(error["exit_code"], 7);
    assert_eq!(error["server"]["sqlstate"], "55000");
    assert!(
        error["server"]["message"].as_str().unwrap_or_default().starts_with("refusing to drop legacy daily rollups")
    );
    assert!(error["server"]["detail"].is_string() && error["server"]["hint"].is_string() && error["next"].is_string());

    let up = database.program().args(["up", "--format", "json"]).run().expect(0);
    let names: Vec<_> = up.json().iter().map(|event| event["event"].as_str().unwrap_or("?").to_owned()).collect();
    for name in
        ["connected", "planned", "hook_started", "hook_progress", "hook_finished", "migration_applied", "finished"]
    {
        assert!(names.iter().any(|found| found == name), "{name} is missing: {names:?}");
    }
    assert_eq!(up.stderr, "", "everything is in the events");

    let status = database.program().args(["status", "--format", "json"]).run().expect(0);
    let versions = status.events("version");
    assert_eq!(versions.len(), all_versions().len());
    assert_eq!(versions[14]["hooks"][0]["last_run"]["state"], "done");
    assert_eq!(status.events("status")[0]["pending"], 0);
}

#[tokio::test]
async fn status_shows_hooks_with_their_last_run() {
    let database = TestDatabase::at_version(84, 500, 60).await;
    database.program().args(["up"]).run().expect(0);
    let status = database.program().args(["status"]).run().expect(0);
    assert!(status.stdout.contains("hook hourly-backfill: done 20"), "{}", status.stdout);
    assert!(status.stdout.ends_with("nothing is pending\n"), "{}", status.stdout);
}

#[tokio::test]
async fn quiet_says_nothing_but_errors() {
    let database = TestDatabase::empty().await;
    let up = database.program().args(["up", "-q"]).run().expect(0);
    assert_eq!((up.stdout.as_str(), up.stderr.as_str()), ("", ""));
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error() {
    let database = TestDatabase::empty().await;
    let piped = Command::new("bash")
        .args(["-c", "set -o pipefail; \"$0\" up --dry-run -v | head -n 1", env!("CARGO_BIN_EXE_migrate")])
        .env("DATABASE_URL", &database.url)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&piped.stdout), format!("would go from version 0 to {}:\n", latest()));
    assert_eq!(piped.status.code(), Some(0), "{}", String::from_utf8_lossy(&piped.stderr));
}

#[tokio::test]
async fn wrong_flags_are_wrong_usage() {
    for args in
        [&["sideways"][..], &["up", "--sideways"], &["up", "--lock-wait", "soon"], &["up", "--target", "x"], &[]]
    {
        Program::new().args(args.iter().copied()).run().expect(2);
    }
    Program::new().args(["--help"]).run().expect(0);
    Program::new().args(["--version"]).run().expect(0);
}

#[tokio::test]
async fn without_a_terminal_progress_is_told_in_lines() {
    // Few months, each of which takes several seconds.
    let database = TestDatabase::at_version(102, 600, 40).await;
    database
        .batch(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
             AS $$ BEGIN PERFORM pg_sleep(0.015); RETURN NEW; END $$;
             CREATE TRIGGER slow BEFORE INSERT ON task_usage_hourly FOR EACH ROW EXECUTE FUNCTION slow()",
        )
        .await;
    let up = database.program().args(["up"]).run().expect(0);
    let lines: Vec<_> = up.stderr.lines().filter(|line| line.starts_with("hourly-backfill: ")).collect();
    assert!(lines.len() >= 2, "{}", up.stderr);
    assert!(lines.iter().all(|line| line.contains(" months, ") && line.contains(" buckets")), "{}", up.stderr);
    assert!(lines.iter().any(|line| line.ends_with(" left")), "{}", up.stderr);
}
