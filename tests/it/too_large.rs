//! Usage that adds up to more than a bucket can hold: it is kept out and named, and stops nothing else.

use migrate::CancellationToken;
use migrate::db::{Connector, Database};
use migrate::platform::usage;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::harness::{TestDatabase, latest};

/// Two rows of one bucket, two hours ago, that no bucket can hold together.
const HUGE: &str = "
    INSERT INTO task_usage (task_id, provider, model, input_tokens, created_at, updated_at)
    SELECT t.id, 'codex', 'huge', 9223372036854775807, date_trunc('hour', now()) - interval '2 hours', now() - interval '20 minutes'
    FROM (
        SELECT t.id, count(*) OVER (PARTITION BY t.agent_id, t.runtime_id, i.project_id) AS n,
               dense_rank() OVER (ORDER BY t.agent_id, t.runtime_id, i.project_id) AS g
        FROM agent_task_queue t LEFT JOIN issue i ON i.id = t.issue_id
        WHERE t.runtime_id IS NOT NULL
    ) t
    WHERE t.n >= 2
    ORDER BY t.g, t.id
    LIMIT 2";

const BUCKETS: &str = "SELECT count(*) FROM task_usage_hourly WHERE model = 'huge'";
const LISTED: &str = "SELECT count(*) FROM task_usage_hourly_too_large";
const CORRECT: &str = "UPDATE task_usage SET input_tokens = 7 WHERE model = 'huge'";
const TICK: [&str; 2] = ["rollup", "tick"];

/// A database that is rolled up, with ordinary usage; then the two rows come.
async fn with_huge_rows() -> TestDatabase {
    let database = TestDatabase::at_version(latest(), 600, 3).await;
    rolled_up(&database).await;
    database.batch(HUGE).await;
    database
}

/// From here on, ticks keep no distance from the clock.
async fn rolled_up(database: &TestDatabase) {
    database.shorten("5 minutes", "1 millisecond").await;
    database
        .batch(
            "SELECT rollup_task_usage_hourly_window('epoch', now() + interval '1 second');
             UPDATE task_usage_hourly_rollup_state SET watermark_at = now() - interval '10 minutes'",
        )
        .await;
}

#[tokio::test]
async fn a_bucket_that_does_not_fit_is_kept_out_and_named_and_stops_nobody_else() {
    let database = with_huge_rows().await;
    let workspace: Uuid = database
        .value("SELECT a.workspace_id FROM task_usage u JOIN agent_task_queue t ON t.id = u.task_id JOIN agent a ON a.id = t.agent_id WHERE u.model = 'huge' LIMIT 1")
        .await;
    database
        .batch(
            "INSERT INTO task_usage (task_id, model, input_tokens, created_at, updated_at)
             SELECT id, 'small', 5, now() - interval '3 hours', now() - interval '20 minutes'
             FROM agent_task_queue WHERE runtime_id IS NOT NULL",
        )
        .await;
    for _ in 0..2 {
        let tick = database.program().args(TICK).run().expect(0);
        for part in ["kept out of task_usage_hourly", &workspace.to_string(), "codex huge", "18446744073709551614"] {
            assert!(tick.stderr.contains(part), "{part}: {}", tick.stderr);
        }
        database.batch("UPDATE task_usage SET updated_at = now() WHERE model = 'huge'").await;
    }
    assert_eq!(database.value::<i64>(BUCKETS).await, 0);
    assert_eq!(database.value::<i64>(LISTED).await, 1);
    assert!(database.value::<i64>("SELECT count(*) FROM task_usage_hourly WHERE model = 'small'").await > 0);

    let standing = database.program().args(["rollup", "status"]).run().expect(0);
    for part in [
        "1 bucket, too large",
        &workspace.to_string(),
        "codex huge",
        "input_tokens 18446744073709551614",
        "psql \"$DATABASE_URL\"",
    ] {
        assert!(standing.stdout.contains(part), "{part}: {}", standing.stdout);
    }
    let standing = database.program().args(["rollup", "status", "--format", "json"]).run().expect(0);
    let standing = &standing.events("rollup")[0];
    assert_eq!(standing["too_large"], 1);
    assert_eq!(standing["kept_out"][0]["sums"]["input_tokens"], "18446744073709551614");
    assert_eq!(standing["kept_out"][0]["model"], "huge");

    // Another bucket is wrong, too.
    database.batch("UPDATE task_usage_hourly SET input_tokens = 0 WHERE ctid IN (SELECT ctid FROM task_usage_hourly WHERE input_tokens > 0 LIMIT 1)").await;
    let verified = database.program().args(["verify", "rollup"]).run().expect(4);
    assert!(verified.stdout.contains("1 different, 1 too large; migrate verify rollup --fix"), "{}", verified.stdout);
    let verified = database.program().args(["verify", "rollup", "--fix"]).run().expect(4);
    for part in [
        "rebuilt 1 bucket",
        "0 different, 1 too large; correct the usage",
        "too large",
        "psql \"$DATABASE_URL\" -c \"SELECT",
    ] {
        assert!(verified.stdout.contains(part), "{part}: {}", verified.stdout);
    }
    // The query that is proposed finds the rows.
    let (_, query) = verified.stdout.split_once("-c \"").expect("a command");
    let (query, _) = query.split_once('"').expect("its end");
    let found = database.rows(query, &[]).await;
    assert_eq!(found[0].get::<_, &str>("model"), "huge");
    assert_eq!(found[1].get::<_, &str>("model"), "huge");
    let json = database.program().args(["verify", "rollup", "--format", "json"]).run().expect(4);
    let difference = json.events("bucket").into_iter().find(|found| found["kind"] == "too_large").expect("it is told");
    assert_eq!(difference["too_large"]["input_tokens"], "18446744073709551614");

    // Corrected, it comes with the next tick.
    database.batch(CORRECT).await;
    database.program().args(TICK).run().expect(0);
    assert_eq!(database.value::<i64>(BUCKETS).await, 1);
    assert_eq!(database.value::<i64>(LISTED).await, 0);
    database.program().args(["verify", "rollup"]).run().expect(0);
    database.assert_parity().await;
}

#[tokio::test]
async fn a_bucket_that_becomes_too_large_is_removed_and_one_that_is_deleted_is_forgotten() {
    let database = TestDatabase::at_version(latest(), 600, 3).await;
    database.batch(HUGE).await;
    database.batch(CORRECT).await;
    rolled_up(&database).await;
    assert_eq!(database.value::<i64>(BUCKETS).await, 1);
    let cases = [
        ("input_tokens = 9223372036854775807", "input_tokens"),
        ("output_tokens = -9223372036854775808", "output_tokens"),
        ("cost_usd_ticks = 9223372036854775807", "cost_usd_ticks"),
        ("cache_write_tokens = 4611686018427387904", "cache_write_tokens"),
    ];
    for (change, column) in cases {
        database.batch(&format!("UPDATE task_usage SET {change} WHERE model = 'huge'")).await;
        database.program().args(TICK).run().expect(0);
        assert_eq!(database.value::<i64>(BUCKETS).await, 0, "{change}");
        let listed: bool = database.value(&format!("SELECT sums ? '{column}' FROM task_usage_hourly_too_large")).await;
        assert!(listed, "{change}");
        database
            .batch("UPDATE task_usage SET input_tokens = 7, output_tokens = 7, cache_write_tokens = 7, cost_usd_ticks = NULL WHERE model = 'huge'")
            .await;
        database.program().args(TICK).run().expect(0);
        assert_eq!(database.value::<i64>(BUCKETS).await, 1, "{change}");
        assert_eq!(database.value::<i64>(LISTED).await, 0, "{change}");
    }
    // What fits to the last token is written.
    database.batch("UPDATE task_usage SET input_tokens = 4611686018427387904 - (id = (SELECT id FROM task_usage WHERE model = 'huge' LIMIT 1))::int WHERE model = 'huge'").await;
    database.program().args(TICK).run().expect(0);
    let stored: i64 = database.value("SELECT input_tokens FROM task_usage_hourly WHERE model = 'huge'").await;
    assert_eq!(stored, i64::MAX);
    for gone in ["DELETE FROM task_usage WHERE model = 'huge'", "TRUNCATE task_usage CASCADE"] {
        database.batch("DELETE FROM task_usage WHERE model = 'huge'").await;
        database.batch(HUGE).await;
        database.program().args(TICK).run().expect(0);
        assert_eq!(database.value::<i64>(LISTED).await, 1, "{gone}");
        database.batch(gone).await;
        database.program().args(TICK).run().expect(0);
        assert_eq!(database.value::<i64>(LISTED).await, 0, "{gone}");
    }
}

#[tokio::test]
async fn the_walk_and_the_guard_go_on() {
    let database = TestDatabase::at_version(84, 600, 3).await;
    database.batch(HUGE).await;
    let up = database.program().args(["up"]).run().expect(0);
    assert!(up.stderr.contains("kept out of task_usage_hourly"), "{}", up.stderr);
    assert_eq!(database.value::<i64>(LISTED).await, 1);
    let rebuilt = database.program().args(["repair", "hourly-rollup", "--execute"]).run().expect(0);
    assert!(rebuilt.stderr.contains("kept out of task_usage_hourly"), "{}", rebuilt.stderr);
    database.batch(CORRECT).await;
    database.program().args(TICK).run().expect(0);
    database.program().args(["verify"]).run().expect(0);
}

#[tokio::test]
async fn a_repair_is_not_stopped() {
    let database = with_huge_rows().await;
    database
        .batch(
            "UPDATE task_usage SET cache_read_tokens = 1, updated_at = now() - interval '1 hour' WHERE model = 'huge'",
        )
        .await;
    database
        .batch(
            "UPDATE task_usage SET provider = 'codex', cache_read_tokens = 2, input_tokens = 5, updated_at = now() - interval '1 hour'
             WHERE provider <> 'codex' AND id IN (SELECT id FROM task_usage WHERE model <> 'huge' ORDER BY id LIMIT 200)
               AND NOT EXISTS (SELECT FROM task_usage o WHERE o.task_id = task_usage.task_id AND o.provider = 'codex' AND o.model = task_usage.model)",
        )
        .await;
    let cutoff: String =
        database.value("SELECT to_char(now() - interval '30 minutes', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')").await;
    let repair = ["repair", "codex-cache", "--cutoff", &cutoff, "--batch-size", "50"];
    database.program().args(repair).run().expect(0);
    database.program().args(repair.into_iter().chain(["--execute"])).run().expect(0);
    let left: i64 = database
        .value("SELECT count(*) FROM task_usage WHERE provider = 'codex' AND cache_read_tokens > 0 AND input_tokens > 0 AND updated_at < now() - interval '30 minutes'")
        .await;
    assert_eq!(left, 0);
    let verified = database.program().args(["verify", "rollup"]).run().expect(4);
    assert!(verified.stdout.contains("0 different, 1 too large"), "{}", verified.stdout);
}

#[tokio::test]
async fn what_reads_usage_says_what_does_not_fit() {
    let database = with_huge_rows().await;
    let connector = Connector::new(Database::from_url(&database.url).unwrap(), CancellationToken::new());
    let connection = connector.connect("test").await.unwrap();
    let workspace: Uuid = database
        .value("SELECT a.workspace_id FROM task_usage u JOIN agent_task_queue t ON t.id = u.task_id JOIN agent a ON a.id = t.agent_id WHERE u.model = 'huge' LIMIT 1")
        .await;
    let since = OffsetDateTime::now_utc() - time::Duration::days(5);
    let error = usage::by_model(&connection, workspace, since).await.unwrap_err().to_string();
    assert!(error.contains("usage of model huge adds up to 18446744073709551614 input_tokens"), "{error}");
    let error = usage::by_day_and_model(&connection, workspace, since).await.unwrap_err().to_string();
    assert!(error.contains("usage of model huge on ") && error.contains("more than a bigint holds"), "{error}");
    // A row may be as large as it likes.
    database.batch("UPDATE task_usage SET output_tokens = 9223372036854775807 WHERE id = (SELECT id FROM task_usage WHERE model = 'huge' LIMIT 1)").await;
    database.batch("DELETE FROM task_usage WHERE model = 'huge' AND output_tokens = 0").await;
    let models = usage::by_model(&connection, workspace, since).await.unwrap();
    assert_eq!(models[0].model, "huge");
    connection.close().await;
}
