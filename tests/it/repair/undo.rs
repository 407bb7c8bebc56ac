//! Taking a repair back.

use super::overcounted;
use crate::harness::{TestDatabase, release};

#[tokio::test]
async fn it_gives_every_row_and_bucket_what_it_had() {
    let database = overcounted(800).await;
    let (rows, buckets) = (database.fingerprint().await, database.rollup_fingerprint().await);
    database.repair().await.expect(0);
    let repaired = database.fingerprint().await;
    assert_ne!(repaired, rows);
    assert_ne!(database.rollup_fingerprint().await, buckets);

    // First a look.
    let found = database.program().args(["repair", "undo", "1", "--format", "json"]).run().expect(0);
    let found = &found.events("repair_found")[0];
    assert_eq!(found["undoes"], 1);
    assert_eq!(database.fingerprint().await, repaired);
    assert_eq!(database.run_states().await, ["done"]);

    let digest = found["digest"].as_str().unwrap();
    let undone = database.program().args(["repair", "undo", "1", "--execute", "--expect", digest]).run().expect(0);
    assert!(undone.stdout.contains("rows restored"), "{}", undone.stdout);
    assert_eq!(database.fingerprint().await, rows);
    assert_eq!(database.rollup_fingerprint().await, buckets);
    database.assert_parity().await;
    assert_eq!(database.run_states().await, ["undone", "done"]);
    let journalled: i64 =
        database.value("SELECT count(*) FROM migrate.repair_change WHERE run_id = 2 AND applied_at IS NOT NULL").await;
    assert_eq!(found["rows"], journalled);

    // Again, there is nothing to restore.
    let again = database.program().args(["repair", "undo", "1", "--execute"]).run().expect(0);
    assert!(again.stdout.contains("nothing to restore"), "{}", again.stdout);
    assert_eq!(database.run_states().await, ["undone", "done"]);

    // The undo can be undone, too, which gives what the repair had left, times included.
    database.program().args(["repair", "undo", "2", "--execute"]).run().expect(0);
    assert_eq!(database.fingerprint().await, repaired);
    database.assert_parity().await;
    assert_eq!(database.run_states().await, ["done", "undone", "done"]);
}

#[tokio::test]
async fn rows_changed_since_stay_as_they_are() {
    let database = overcounted(300).await;
    database.repair().await.expect(0);
    database
        .batch(
            "CREATE TABLE touched AS
             SELECT c.key::uuid AS id, c.n FROM migrate.repair_change c ORDER BY c.n LIMIT 3;
             UPDATE task_usage SET input_tokens = 5, updated_at = now() WHERE id = (SELECT id FROM touched ORDER BY n LIMIT 1);
             UPDATE task_usage SET updated_at = updated_at + interval '1 microsecond'
             WHERE id = (SELECT id FROM touched ORDER BY n OFFSET 1 LIMIT 1);
             DELETE FROM task_usage WHERE id = (SELECT id FROM touched ORDER BY n OFFSET 2 LIMIT 1)",
        )
        .await;
    let found = database.program().args(["repair", "undo", "1"]).run().expect(0);
    assert!(found.stdout.contains("2 rows changed since, left as they are now"), "{}", found.stdout);
    assert!(found.stdout.contains("1 row gone since"), "{}", found.stdout);
    database.program().args(["repair", "undo", "1", "--execute"]).run().expect(0);
    let wrong: i64 = database
        .value(
            "SELECT count(*) FROM task_usage u JOIN original o USING (id)
             WHERE (u.input_tokens <> o.input_tokens OR u.updated_at IS DISTINCT FROM o.updated_at)
               AND u.id NOT IN (SELECT id FROM touched)",
        )
        .await;
    assert_eq!(wrong, 0);
    assert_eq!(
        database
            .value::<i64>("SELECT input_tokens FROM task_usage WHERE id = (SELECT id FROM touched ORDER BY n LIMIT 1)")
            .await,
        5
    );
    database.batch("SELECT rollup_task_usage_hourly_window('2020-01-01', now() + interval '1 second')").await;
    database.assert_parity().await;
}

#[tokio::test]
async fn an_unfinished_run_is_undone_and_not_gone_on_with() {
    let database = overcounted(400).await;
    let before = database.fingerprint().await;
    let cutoff: String = database.value("SELECT to_json(now()) #>> '{}'").await;
    let repair = || database.program().args(["repair", "codex-cache", "--cutoff", &cutoff, "--execute"]);
    repair().args(["--batch-size", "20", "--sleep-between-batches", "400ms", "--max-runtime", "1s"]).run().expect(8);
    database.program().args(["repair", "undo", "1", "--execute"]).run().expect(0);
    assert_eq!(database.fingerprint().await, before);
    database.assert_parity().await;
    let again = repair().run().expect(0);
    assert!(!again.stderr.contains("goes on"), "{}", again.stderr);
    assert_eq!(database.run_states().await, ["undone", "done", "done"]);
    database.assert_corrected_once().await;
    database.assert_journal_complete().await;
}

#[tokio::test]
async fn an_interrupted_undo_goes_on() {
    let database = overcounted(400).await;
    let before = database.fingerprint().await;
    database.repair().await.expect(0);
    let undo = || database.program().args(["repair", "undo", "1", "--execute", "--batch-size", "20"]);
    undo().args(["--sleep-between-batches", "400ms", "--max-runtime", "1s"]).run().expect(8);
    let resumed = undo().run().expect(0);
    assert!(resumed.stderr.contains("run 2, undo, continues after "), "{}", resumed.stderr);
    assert_eq!(database.fingerprint().await, before);
    database.assert_parity().await;
    assert_eq!(database.run_states().await, ["undone", "done"]);
}

#[tokio::test]
async fn an_interrupted_undo_of_an_undo_goes_on() {
    let database = overcounted(400).await;
    database.repair().await.expect(0);
    database.program().args(["repair", "undo", "1", "--execute"]).run().expect(0);
    let undo = || database.program().args(["repair", "undo", "2", "--execute", "--batch-size", "20"]);
    undo().args(["--sleep-between-batches", "400ms", "--max-runtime", "1s"]).run().expect(8);
    let resumed = undo().run().expect(0);
    assert!(resumed.stderr.contains("run 3, undo, continues after "), "{}", resumed.stderr);
    database.assert_corrected_once().await;
    database.assert_parity().await;
}

#[tokio::test]
async fn what_cannot_be_undone_says_so() {
    let database = overcounted(40).await;
    let refused = database.program().args(["repair", "undo", "7"]).run().expect(7);
    assert_eq!(
        refused.stderr,
        "error: there is no repair run 7 in this database; migrate repair runs lists all runs\n"
    );
    database.program().args(["repair", "hourly-rollup", "--execute"]).run().expect(0);
    let refused = database.program().args(["repair", "undo", "1", "--execute"]).run().expect(7);
    assert!(refused.stderr.contains("changes no rows"), "{}", refused.stderr);
    database.repair().await.expect(0);
    database.batch("DELETE FROM migrate.repair_change").await;
    let refused = database.program().args(["repair", "undo", "2"]).run().expect(7);
    assert!(refused.stderr.contains("the journal of run 2 is lost"), "{}", refused.stderr);
}

#[tokio::test]
async fn of_a_chain_of_undos_every_second_one_is_in_force() {
    let database = overcounted(60).await;
    database.repair().await.expect(0);
    for run in ["1", "2", "3"] {
        database.program().args(["repair", "undo", run, "--execute"]).run().expect(0);
    }
    assert_eq!(database.run_states().await, ["undone", "done", "undone", "done"]);
    database.assert_parity().await;
}

#[tokio::test]
async fn with_the_functions_of_an_older_program_the_rollup_follows_as_well() {
    let database = TestDatabase::empty().await;
    release::build(&database, "v0.3.5", true).await;
    // Exit code 4: that it is another program's rollup stays to be mended.
    database.program().args(["verify", "rollup", "--fix"]).run().expect(4);
    database.assert_parity().await;
    let own: bool = database.value("SELECT to_regclass('task_usage_hourly_invalidation') IS NOT NULL").await;
    assert!(!own, "these are to be the older program's objects");
    // Not the row dated in the future: its bucket may wait for a tick, and `--fix` leaves it to one.
    database
        .batch(
            "UPDATE task_usage SET provider = 'codex', cache_read_tokens = 1
             WHERE input_tokens > 0 AND created_at < now() - interval '1 hour'
             AND task_id IN (SELECT task_id FROM task_usage ORDER BY id LIMIT 30)",
        )
        .await;
    database
        .batch("SELECT rollup_task_usage_hourly_window(now() - interval '1 day', now() + interval '1 second')")
        .await;
    database.program().args(["verify", "rollup", "--fix"]).run().expect(4);
    database.assert_parity().await;
    let (rows, buckets) = (database.fingerprint().await, database.rollup_fingerprint().await);

    // Their windows are left to their ticks, which find what the repair has changed, and what the undo has reported.
    let tick = "SELECT rollup_task_usage_hourly_window(now() - interval '1 day', now() + interval '1 second')";
    let found = database.codex_cache().await.run().expect(0);
    assert!(found.stdout.contains("would roll up         nothing: left to the next ticks"), "{}", found.stdout);
    let repaired = database.repair().await.expect(0);
    assert!(!repaired.stdout.contains("rows repaired         0"), "{}", repaired.stdout);
    assert!(repaired.stdout.contains("left to the next ticks"), "{}", repaired.stdout);
    database.batch(tick).await;
    database.assert_parity().await;
    database.program().args(["repair", "undo", "1", "--execute"]).run().expect(0);
    assert_eq!(database.fingerprint().await, rows);
    database.batch(tick).await;
    database.assert_parity().await;
    assert_eq!(database.rollup_fingerprint().await, buckets);
}

/// A row of the history that somebody has changed by hand must not send the program round in circles.
#[tokio::test]
async fn a_run_that_is_recorded_as_its_own_undo_is_refused() {
    let database = TestDatabase::at_version(104, 20, 2).await;
    database.batch("UPDATE task_usage SET provider = 'codex', input_tokens = 9, cache_read_tokens = 4").await;
    let cutoff: String = database.value("SELECT to_char(clock_timestamp(), 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')").await;
    database.program().args(["repair", "codex-cache", "--cutoff", &cutoff, "--execute"]).run().expect(0);
    database.batch("UPDATE migrate.repair_run SET undoes = id").await;
    let refused = database.program().args(["repair", "undo", "1"]).run().expect(7);
    assert!(refused.stderr.contains("which is not an earlier run"), "{}", refused.stderr);
}
