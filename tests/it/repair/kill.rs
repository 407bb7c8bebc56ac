//! `kill -9` at random moments, again and again: no row is corrected twice or left out, and the journal knows all of it.
//!
//! `REPAIR_SEED=…` repeats the moments of an earlier run.

use std::time::Duration;

use super::overcounted;
use crate::harness::{Dice, seed};

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
