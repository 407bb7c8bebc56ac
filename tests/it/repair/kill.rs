//! `kill -9` at random moments, again and again: no row is corrected twice or left out, and the journal knows all of it.
//!
//! `REPAIR_SEED=…` repeats the moments of an earlier run.

use std::time::Duration;

use super::overcounted;
use crate::harness::{Dice, TestDatabase, seed, special_server, start_special_server_again, stop_special_server};

const KILLS: u32 = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_killed_at_any_moment_is_exact_in_the_end() {
    let mut dice = Dice::new(seed("REPAIR_SEED"));
    let database = overcounted(3000).await;
    let (rows, buckets) = (database.fingerprint().await, database.rollup_fingerprint().await);
    let cutoff: String = database.value("SELECT to_json(now()) #>> '{}'").await;
    let (mut kills, mut completed, mut before_the_journal) = (0, 0, 0);
    while kills < KILLS {
        let batch_size = ["7", "20", "50"][usize::try_from(dice.below(3)).unwrap()];
        let mut running = database
            .program()
            .args(["repair", "codex-cache", "--cutoff", &cutoff, "--execute", "--batch-size", batch_size])
            .start();
        tokio::time::sleep(Duration::from_millis(dice.below(450))).await;
        if running.is_running() {
            running.signal("KILL");
            running.wait();
            kills += 1;
            let journalled: bool = database.value("SELECT to_regclass('migrate.repair_change') IS NOT NULL").await;
            before_the_journal += u32::from(!journalled);
            continue;
        }
        running.wait().expect(0);
        completed += 1;
        database.assert_corrected_once().await;
        database.assert_journal_complete().await;
        database.assert_parity().await;
        // From the beginning.
        let run: i64 = database.value("SELECT max(id) FROM migrate.repair_run WHERE repair = 'codex-cache'").await;
        database.program().args(["repair", "undo", &run.to_string(), "--execute"]).run().expect(0);
        assert_eq!(database.fingerprint().await, rows);
    }
    let last = database.program().args(["repair", "codex-cache", "--cutoff", &cutoff, "--execute"]).run().expect(0);
    println!("{kills} kills, {before_the_journal} before there was a journal; {completed} runs completed in between");
    println!("{}", last.stdout);
    database.assert_corrected_once().await;
    database.assert_journal_complete().await;
    database.assert_parity().await;
    database.program().args(["verify", "rollup"]).run().expect(0);

    // And the way back, killed as well.
    let run: i64 = database.value("SELECT max(id) FROM migrate.repair_run WHERE repair = 'codex-cache'").await;
    for _ in 0..5 {
        let mut running =
            database.program().args(["repair", "undo", &run.to_string(), "--execute", "--batch-size", "20"]).start();
        tokio::time::sleep(Duration::from_millis(dice.below(450))).await;
        if running.is_running() {
            running.signal("KILL");
        }
        running.wait();
    }
    database.program().args(["repair", "undo", &run.to_string(), "--execute"]).run().expect(0);
    assert_eq!(database.fingerprint().await, rows);
    assert_eq!(database.rollup_fingerprint().await, buckets);
    database.assert_parity().await;
}

#[tokio::test]
async fn a_server_that_crashes_loses_rows_and_journal_alike() {
    let (server, folder) = special_server("crashing", &[]);
    let database = TestDatabase::on_server(&server, "crashing").await;
    database.program().args(["up", "--target", "84"]).run().expect(0);
    database.write_usage(1500, 200).await;
    database.program().args(["up"]).run().expect(0);
    database
        .batch("CREATE TABLE original AS SELECT id, input_tokens, cache_read_tokens, updated_at FROM task_usage; CHECKPOINT")
        .await;
    let cutoff: String = database.value("SELECT to_json(now()) #>> '{}'").await;
    let repair =
        || database.program().args(["repair", "codex-cache", "--cutoff", &cutoff, "--execute", "--batch-size", "10"]);
    for crash in 1..=2_u32 {
        let running = repair().args(["--sleep-between-batches", "20ms"]).start();
        database.wait_until("SELECT to_regclass('migrate.repair_change') IS NOT NULL").await;
        let enough =
            format!("SELECT count(*) > {} FROM migrate.repair_change WHERE applied_at IS NOT NULL", 100 * crash);
        database.wait_until(&enough).await;
        stop_special_server(&database.url, "QUIT").await;
        let lost = running.wait().expect(6);
        assert!(lost.stderr.contains("run 1 has done "), "{}", lost.stderr);
        start_special_server_again(&folder);
    }
    repair().run().expect(0);
    database.assert_corrected_once().await;
    database.assert_journal_complete().await;
    database.assert_parity().await;
}
