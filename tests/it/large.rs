//! However much a database holds, no verb takes more memory than this, nor fills a screen without end.
//!
//! Without the million of the promise, for which there is `script/large`: what grows with the database grows here, too.

use crate::harness::{TestDatabase, latest};

/// A build for development needs 20 MB before it has read anything.
const MOST_KILOBYTES: u64 = 40 * 1024;

/// Ten thousand workspaces, each with one row on each of three days; a ledger and a journal to go with them.
async fn large() -> TestDatabase {
    let database = TestDatabase::at_version(latest(), 0, 0).await;
    database
        .batch(
            "SET session_replication_role = replica;
             INSERT INTO workspace (name, slug) SELECT 'w' || n, 'w' || n FROM generate_series(1, 10000) n;
             INSERT INTO agent_runtime (workspace_id, daemon_id, name, runtime_mode, provider)
             SELECT id, 'd', 'r', 'local', 'codex' FROM workspace;
             INSERT INTO agent (workspace_id, name, runtime_mode, runtime_id)
             SELECT workspace_id, 'a', 'local', id FROM agent_runtime;
             INSERT INTO agent_task_queue (agent_id, runtime_id, created_at)
             SELECT a.id, a.runtime_id, now() - make_interval(days => d) FROM agent a, generate_series(2, 4) d;
             INSERT INTO task_usage (task_id, provider, model, input_tokens, output_tokens, cache_read_tokens,
                                     cache_write_tokens, created_at, updated_at)
             SELECT id, 'codex', 'm', 1000, 10, 100, 1, created_at, created_at FROM agent_task_queue;
             CREATE TABLE schema_migrations (version text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());
             INSERT INTO schema_migrations SELECT n || '_of_somebody_else' FROM generate_series(300, 200000) n;
             UPDATE task_usage_hourly_rollup_state SET watermark_at = now()",
        )
        .await;
    database
}

/// A run that has changed every row, and many others before it, one of which was given a long argument.
const RUNS: &str = "
    INSERT INTO migrate.repair_run (id, repair, arguments, state, rows_found)
    SELECT n, 'codex-cache', jsonb_build_object('note', repeat('x', CASE n WHEN 777 THEN 50000000 ELSE 1000 END)), 'done', 0
    FROM generate_series(2, 20000) n;
    INSERT INTO migrate.repair_run (id, repair, arguments, state, rows_found) VALUES (30000, 'codex-cache', '{}', 'done', 30000);
    INSERT INTO migrate.repair_change (run_id, n, key, before, after, applied_at)
    SELECT 30000, row_number() OVER (), id::text,
           jsonb_build_object('input_tokens', 1100, 'updated_at', updated_at, 'cache_read_tokens', 100, 'provider', 'codex'),
           jsonb_build_object('input_tokens', 1000, 'updated_at', updated_at), updated_at
    FROM task_usage";

#[tokio::test]
async fn no_verb_takes_more_memory_the_more_a_database_holds() {
    let database = large().await;
    let cutoff: String = database.value("SELECT to_json(now()) #>> '{}'").await;
    let page = std::env::temp_dir().join(format!("{}.html", database.name));
    let page = page.to_str().unwrap();
    let repair = ["repair", "codex-cache", "--cutoff", &cutoff];
    let peak = |args: &[&str], most_lines: usize, code: i32| {
        let (finished, peak) = database.program().args(args.iter().copied()).start().wait_with_peak();
        let finished = finished.expect(code);
        println!("{args:?}: {peak} kB, {} lines", finished.stdout.lines().count());
        assert!(peak > 4096, "it was looked at");
        assert!(peak <= MOST_KILOBYTES, "{args:?} took {peak} kB");
        assert!(finished.stdout.lines().count() <= most_lines, "{args:?}: {}", finished.stdout.lines().count());
        finished
    };
    let shown = peak(&[&repair[..], &["--report", page]].concat(), 6000, 0);
    assert!(
        shown.stdout.contains("and 9,900 more workspaces: 29,700 rows, input before 29,700,000, "),
        "{}",
        shown.stdout
    );
    assert!(shown.stdout.contains("\nrows                  30,000\n"), "the total is of all");
    let written = std::fs::read_to_string(page).unwrap();
    assert!(written.len() < 2_000_000 && written.contains("9,900 more"), "{}", written.len());
    std::fs::remove_file(page).unwrap();

    let json = peak(&[&repair[..], &["--format", "json"]].concat(), usize::MAX, 0);
    assert_eq!(json.stdout.matches("\"repair_day\"").count(), 30_000, "JSON has every line");

    database.batch(include_str!("../../src/repair/journal.sql")).await;
    database.batch(RUNS).await;
    let runs = peak(&["repair", "runs", "-v"], 500, 0);
    assert!(runs.stdout.ends_with("older; --format json has them all\n"), "{}", runs.stdout);
    let all = peak(&["repair", "runs", "--format", "json"], usize::MAX, 0);
    let all = all.events("repair_run");
    let too_long = all.iter().filter(|run| run["arguments"]["too_long"].is_number()).count();
    assert_eq!((all.len(), too_long), (20_000, 1));
    assert!(all.iter().all(|run| run["totals"].is_null()), "what is not there is not too long");
    peak(&["repair", "undo", "30000"], 6000, 0);

    // Nothing has been rolled up.
    peak(&["verify", "rollup"], 100, 4);
    for (args, code) in
        [(&["status"][..], 0), (&["up", "--dry-run"], 0), (&["verify", "history"], 0), (&["verify", "schema"], 0)]
    {
        peak(args, 200, code);
    }
    peak(&["rollup", "status"], 30, 0);
    peak(&["up"], 10, 0);
}
