//! `migrate repair hourly-rollup`, and repairs that another program brings along.

use std::path::Path;
use std::process::Command;

use super::overcounted;
use crate::harness::TestDatabase;

const REBUILD: [&str; 2] = ["repair", "hourly-rollup"];

#[tokio::test]
async fn it_rebuilds_everything_also_behind_the_watermark() {
    let database = overcounted(600).await;
    let right = database.rollup_fingerprint().await;
    database
        .batch(
            "DELETE FROM task_usage_hourly WHERE bucket_hour IN (SELECT bucket_hour FROM task_usage_hourly ORDER BY 1 LIMIT 40);
             UPDATE task_usage_hourly SET input_tokens = 1 WHERE bucket_hour > now() - interval '20 days'",
        )
        .await;
    let wrong = database.rollup_fingerprint().await;
    let watermark: String = database.value("SELECT watermark_at::text FROM task_usage_hourly_rollup_state").await;
    let found = database.program().args(REBUILD).run().expect(0);
    assert!(found.stdout.starts_with("would roll up "), "{}", found.stdout);
    assert!(
        found.stdout.ends_with("nothing was written; migrate repair hourly-rollup --execute does it\n"),
        "{}",
        found.stdout
    );
    assert_eq!(database.rollup_fingerprint().await, wrong);

    database.program().args(REBUILD).args(["--execute"]).run().expect(0);
    assert_eq!(database.rollup_fingerprint().await, right);
    let runs = database.rows("SELECT repair, state, totals ->> 'slices' FROM migrate.repair_run", &[]).await;
    assert_eq!(runs.len(), 1);
    assert_eq!((runs[0].get::<_, &str>(0), runs[0].get::<_, &str>(1)), ("hourly-rollup", "done"));
    let moved = format!("SELECT watermark_at >= '{watermark}' FROM task_usage_hourly_rollup_state");
    assert!(database.value::<bool>(&moved).await);
}

#[tokio::test]
async fn a_part_of_it_has_to_be_agreed_to() {
    let database = overcounted(600).await;
    let right = database.rollup_fingerprint().await;
    for args in [&["--months-back", "1"][..], &["--months-back", "1", "--execute"]] {
        let refused = database.program().args(REBUILD).args(args.iter().copied()).run().expect(7);
        assert!(refused.stderr.contains("--force-partial"), "{}", refused.stderr);
        assert_eq!(refused.stderr.lines().count(), 1);
    }
    database.program().args(REBUILD).args(["--months-back", "-1"]).run().expect(2);
    let partly = ["--months-back", "1", "--force-partial", "--execute"];
    database
        .batch("UPDATE task_usage_hourly SET input_tokens = input_tokens + 1 WHERE bucket_hour >= date_trunc('month', now(), 'UTC') - interval '1 month'")
        .await;
    database.program().args(REBUILD).args(partly).run().expect(0);
    assert_eq!(database.rollup_fingerprint().await, right);
    // Older months are not its concern.
    database
        .batch("UPDATE task_usage_hourly SET input_tokens = input_tokens + 1 WHERE bucket_hour < date_trunc('month', now(), 'UTC') - interval '1 month'")
        .await;
    let wrong = database.rollup_fingerprint().await;
    database.program().args(REBUILD).args(partly).run().expect(0);
    assert_eq!(database.rollup_fingerprint().await, wrong);
    database.program().args(REBUILD).args(["--execute"]).run().expect(0);
    assert_eq!(database.rollup_fingerprint().await, right);
}

#[tokio::test]
async fn without_a_rollup_it_says_what_to_do() {
    let database = TestDatabase::at_version(84, 0, 0).await;
    let refused = database.program().args(REBUILD).run().expect(7);
    assert!(refused.stderr.contains("migrate up"), "{}", refused.stderr);
    database.program().args(["up"]).run().expect(0);
    database.batch("DELETE FROM task_usage_hourly_rollup_state").await;
    let refused = database.program().args(REBUILD).args(["--execute"]).run().expect(7);
    assert!(refused.stderr.contains("INSERT INTO task_usage_hourly_rollup_state"), "{}", refused.stderr);
}

#[tokio::test]
async fn another_program_brings_a_repair_of_its_own() {
    let database = TestDatabase::empty().await;
    database
        .batch(
            "CREATE TABLE note (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, title text NOT NULL, words int NOT NULL,
                                written_at timestamptz NOT NULL);
             INSERT INTO note (title, words, written_at)
             SELECT 'Note ' || n, CASE WHEN n % 2 = 0 THEN -n ELSE n END, '2026-01-01 Z'::timestamptz + n * interval '1 hour'
             FROM generate_series(1, 60) n",
        )
        .await;
    let example = Path::new(env!("CARGO_BIN_EXE_migrate")).with_file_name("examples").join("own_repair");
    let run = |args: &[&str], code: i32| {
        let output = Command::new(&example)
            .args(args)
            .env("DATABASE_URL", &database.url)
            .output()
            .expect("the example is built");
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    assert!(run(&["repair", "list"], 0).contains("negative-words"));
    let help = run(&["repair", "negative-words", "--help"], 0);
    assert!(help.contains("--up-to") && help.contains("--batch-size") && !help.contains("--rebuild-rollup"), "{help}");
    let found = run(&["repair", "negative-words", "--up-to", "40"], 0);
    assert!(found.contains("rows                  20"), "{found}");
    run(&["repair", "negative-words", "--up-to", "40", "--execute", "--batch-size", "7"], 0);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM note WHERE words < 0").await, 10);
    assert_eq!(database.value::<i64>("SELECT sum(words) FROM note WHERE id <= 40").await, 820);
    run(&["repair", "undo", "1", "--execute"], 0);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM note WHERE words < 0").await, 30);
    run(&["repair", "negative-words", "--up-to", "0"], 2);
    let lines = include_str!("../../../examples/own_repair.rs").lines().count();
    assert!(lines < 100, "{lines} lines");
}
