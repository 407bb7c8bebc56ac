//! Repairs beside an application, other repairs, signals and time limits.

use std::time::{Duration, Instant};

use super::overcounted;
use crate::harness::{Running, TestDatabase};

/// A run in the middle of its rows, with time between its batches.
async fn in_the_middle(database: &TestDatabase, pause: &str) -> Running {
    let repair = database.codex_cache().await;
    let running = repair.args(["--execute", "--batch-size", "20", "--sleep-between-batches", pause]).start();
    database.wait_until("SELECT to_regclass('migrate.repair_change') IS NOT NULL").await;
    database.wait_until("SELECT EXISTS (SELECT FROM migrate.repair_change WHERE applied_at IS NOT NULL)").await;
    running
}

/// The last row that a run will come to.
const LAST: &str = "(SELECT key::uuid FROM migrate.repair_change ORDER BY n DESC LIMIT 1)";

#[tokio::test]
async fn a_row_that_is_locked_for_a_while_is_repaired_after_all() {
    let database = overcounted(400).await;
    let holder = database.session().await;
    holder.batch_execute("BEGIN; SELECT FROM task_usage WHERE provider = 'codex' FOR UPDATE").await.unwrap();
    let running = database.codex_cache().await.args(["--execute", "--batch-size", "30"]).start();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    holder.batch_execute("COMMIT").await.unwrap();
    let repaired = running.wait().expect(0);
    assert!(repaired.stderr.contains("locked by others, one of them pid "), "{}", repaired.stderr);
    assert!(repaired.stdout.contains("no row is left to repair"), "{}", repaired.stdout);
    database.assert_corrected_once().await;
    database.assert_journal_complete().await;
    database.assert_parity().await;
}

#[tokio::test]
async fn a_row_that_is_locked_for_ever_is_reported() {
    let database = overcounted(400).await;
    let eligible = "SELECT count(*) FROM task_usage WHERE provider = 'codex' AND cache_read_tokens > 0";
    let rows: i64 = database.value(eligible).await;
    let holder = database.session().await;
    holder.batch_execute("SET application_name TO 'the holder'").await.unwrap();
    let lock = "BEGIN; SELECT FROM task_usage WHERE id IN (
                    SELECT id FROM task_usage WHERE provider = 'codex' AND cache_read_tokens > 0 ORDER BY id LIMIT 3
                ) FOR NO KEY UPDATE";
    holder.batch_execute(lock).await.unwrap();
    let cutoff: String = database.value("SELECT to_json(now()) #>> '{}'").await;
    let repair =
        || database.program().args(["repair", "codex-cache", "--cutoff", &cutoff, "--execute", "--lock-wait", "1s"]);
    let left = repair().run().expect(8);
    assert!(left.stdout.contains("3 rows left: locked by others, one of them pid "), "{}", left.stdout);
    assert!(left.stdout.contains("\"the holder\""), "{}", left.stdout);
    assert!(left.stdout.contains(&format!("rows repaired         {}", rows - 3)), "{}", left.stdout);
    assert_eq!(database.run_states().await, ["incomplete"]);
    database.assert_parity().await;

    // As JSON, and still locked.
    let left = repair().args(["--format", "json"]).run().expect(8);
    let finished = &left.events("repair_finished")[0];
    assert_eq!(finished["not_reached"], 3);
    assert_eq!(finished["state"], "incomplete");
    assert_eq!(finished["holder"]["application"], "the holder");
    assert_eq!(left.events("repair_resumed").len(), 1);

    holder.batch_execute("COMMIT").await.unwrap();
    let repaired = repair().run().expect(0);
    assert!(repaired.stderr.contains("continues after"), "{}", repaired.stderr);
    assert_eq!(database.run_states().await, ["done"]);
    database.assert_corrected_once().await;
    database.assert_journal_complete().await;
    database.assert_parity().await;
}

#[tokio::test]
async fn what_is_locked_behind_a_trigger_is_waited_for_like_a_row() {
    let database = overcounted(200).await;
    database
        .batch(
            "CREATE TABLE counted (n bigint);
             INSERT INTO counted VALUES (0);
             CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN UPDATE public.counted SET n = n + 1; RETURN NEW; END $$;
             CREATE TRIGGER count_it BEFORE UPDATE ON task_usage FOR EACH ROW EXECUTE FUNCTION count_it()",
        )
        .await;
    let holder = database.session().await;
    holder.batch_execute("BEGIN; SELECT FROM counted FOR UPDATE").await.unwrap();
    let cutoff: String = database.value("SELECT to_json(now()) #>> '{}'").await;
    let repair = || database.program().args(["repair", "codex-cache", "--cutoff", &cutoff, "--execute"]);
    let left = repair().args(["--lock-wait", "2s"]).run().expect(8);
    assert!(left.stdout.contains("rows left: locked by others"), "{}", left.stdout);
    assert_eq!(database.run_states().await, ["incomplete"]);

    let running = repair().start();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    holder.batch_execute("COMMIT").await.unwrap();
    running.wait().expect(0);
    assert_eq!(database.run_states().await, ["done"]);
    database.assert_corrected_once().await;
    database.assert_journal_complete().await;
    database.assert_parity().await;
}

#[tokio::test]
async fn what_the_application_writes_meanwhile_is_left_alone_and_counted() {
    let database = overcounted(400).await;
    let running = in_the_middle(&database, "150ms").await;
    // The application reports the same task again, correctly this time; and one of its tasks goes.
    database
        .batch(&format!(
            "CREATE TABLE reported AS SELECT id FROM task_usage WHERE id = {LAST};
             INSERT INTO task_usage (task_id, provider, model, input_tokens, cache_read_tokens, updated_at)
             SELECT task_id, provider, model, 4711, 1, now() FROM task_usage WHERE id = (SELECT id FROM reported)
             ON CONFLICT (task_id, provider, model) DO UPDATE SET
                 input_tokens = excluded.input_tokens, cache_read_tokens = excluded.cache_read_tokens, updated_at = now();
             DELETE FROM task_usage
             WHERE id = (SELECT key::uuid FROM migrate.repair_change ORDER BY n DESC OFFSET 1 LIMIT 1)"
        ))
        .await;
    let repaired = running.wait().expect(0);
    assert!(repaired.stdout.contains("1 row changed since, left as it is now"), "{}", repaired.stdout);
    assert!(repaired.stdout.contains("1 row gone since"), "{}", repaired.stdout);
    let reported: i64 =
        database.value("SELECT input_tokens FROM task_usage WHERE id = (SELECT id FROM reported)").await;
    assert_eq!(reported, 4711);
    let left = "SELECT string_agg(left_because, ' ' ORDER BY n) FROM migrate.repair_change WHERE applied_at IS NULL";
    assert_eq!(database.value::<String>(left).await, "gone changed");
    database.batch("DELETE FROM original WHERE id = (SELECT id FROM reported)").await;
    database.assert_corrected_once().await;
    database.assert_journal_complete().await;
}

#[tokio::test]
async fn a_row_that_is_changed_and_still_wrong_is_not_passed_over_in_silence() {
    let database = overcounted(400).await;
    let cutoff: String = database.value("SELECT to_json(now()) #>> '{}'").await;
    let repair = || database.program().args(["repair", "codex-cache", "--cutoff", &cutoff, "--execute"]);
    let running = repair().args(["--batch-size", "20", "--sleep-between-batches", "150ms"]).start();
    database.wait_until("SELECT to_regclass('migrate.repair_change') IS NOT NULL").await;
    database.wait_until("SELECT EXISTS (SELECT FROM migrate.repair_change WHERE applied_at IS NOT NULL)").await;
    // By hand, and in a way that does not show in updated_at; and one more, as an import would bring it.
    database
        .batch(&format!(
            "UPDATE task_usage SET input_tokens = 1000000, cache_read_tokens = 1 WHERE id = {LAST};
             INSERT INTO task_usage (task_id, provider, model, input_tokens, cache_read_tokens, created_at, updated_at)
             SELECT task_id, 'codex', 'imported', 50, 20, now() - interval '9 days', now() - interval '9 days'
             FROM task_usage LIMIT 1"
        ))
        .await;
    let left = running.wait().expect(8);
    assert!(left.stdout.contains("1 row changed since, left as it is now"), "{}", left.stdout);
    assert!(left.stdout.contains("2 rows still to be repaired: "), "{}", left.stdout);
    // The next run finds them.
    let again = repair().run().expect(0);
    assert!(again.stdout.contains("rows repaired         2"), "{}", again.stdout);
    assert_eq!(database.run_states().await, ["done", "done"]);
    database.assert_parity().await;
}

#[tokio::test]
async fn of_two_at_once_the_second_is_refused_and_names_the_first() {
    let database = overcounted(400).await;
    let running = in_the_middle(&database, "1s").await;
    let refused = database.repair().await.expect(7);
    assert!(
        refused.stderr.contains("another repair is running in this database: run 1, codex-cache, pid "),
        "{}",
        refused.stderr
    );
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    database.program().args(["repair", "undo", "1", "--execute"]).run().expect(7);
    // A look is nobody's business.
    database.codex_cache().await.run().expect(0);
    let runs = database.program().args(["repair", "runs"]).run().expect(0);
    assert!(runs.stdout.contains("running"), "{}", runs.stdout);
    running.wait().expect(0);
    assert_eq!(database.run_states().await, ["done"]);
    database.assert_corrected_once().await;
}

#[tokio::test]
async fn signals_end_it_cleanly_and_the_same_command_goes_on() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let database = overcounted(400).await;
        let cutoff: String = database.value("SELECT to_json(now()) #>> '{}'").await;
        let repair = || {
            database.program().args(["repair", "codex-cache", "--cutoff", &cutoff, "--execute", "--batch-size", "20"])
        };
        let running = repair().args(["--sleep-between-batches", "150ms"]).start();
        database.wait_until("SELECT to_regclass('migrate.repair_change') IS NOT NULL").await;
        database.wait_until("SELECT EXISTS (SELECT FROM migrate.repair_change WHERE applied_at IS NOT NULL)").await;
        let asked = Instant::now();
        running.signal(signal);
        let ended = running.wait().expect(code);
        assert!(asked.elapsed() < Duration::from_secs(2), "it took {:?}", asked.elapsed());
        assert!(ended.stderr.contains("interrupted") && ended.stderr.contains("run 1 has done "), "{}", ended.stderr);
        assert!(ended.stderr.contains("run it again to continue"), "{}", ended.stderr);
        assert_eq!(database.run_states().await, ["interrupted"]);

        // What is left would be another finding; a look says that there is a run to go on with.
        let found = database.program().args(["repair", "codex-cache", "--cutoff", &cutoff]).run().expect(0);
        assert!(found.stdout.contains("run 1 with these arguments is unfinished ("), "{}", found.stdout);
        let resumed = repair().run().expect(0);
        assert!(resumed.stderr.contains("run 1, codex-cache, continues after "), "{}", resumed.stderr);
        assert_eq!(database.run_states().await, ["done"]);
        database.assert_corrected_once().await;
        database.assert_journal_complete().await;
        database.assert_parity().await;
    }
}

#[tokio::test]
async fn a_run_goes_on_with_the_digest_of_then_or_of_now() {
    let database = overcounted(400).await;
    let cutoff: String = database.value("SELECT to_json(now()) #>> '{}'").await;
    let repair = || database.program().args(["repair", "codex-cache", "--cutoff", &cutoff, "--format", "json"]);
    let digest = || repair().run().expect(0).events("repair_found")[0]["digest"].as_str().unwrap().to_owned();
    let slowly =
        ["--execute", "--batch-size", "10", "--sleep-between-batches", "300ms", "--max-runtime", "1s", "--expect"];
    let then = digest();
    repair().args(slowly).args([then.as_str()]).run().expect(8);
    repair().args(slowly).args(["0123456789ab"]).run().expect(7);
    repair().args(slowly).args([then.as_str()]).run().expect(8);
    let now = digest();
    assert_ne!(now, then);
    repair().args(["--execute", "--expect", &now]).run().expect(0);
    assert_eq!(database.run_states().await, ["done"]);
    database.assert_corrected_once().await;
}

#[tokio::test]
async fn out_of_time_it_stops_after_a_batch() {
    let database = overcounted(400).await;
    let cutoff: String = database.value("SELECT to_json(now()) #>> '{}'").await;
    let repair =
        || database.program().args(["repair", "codex-cache", "--cutoff", &cutoff, "--execute", "--batch-size", "20"]);
    let started = Instant::now();
    let stopped = repair().args(["--sleep-between-batches", "400ms", "--max-runtime", "1s"]).run().expect(8);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert!(stopped.stdout.contains("run 1 stopped: it reached its time limit"), "{}", stopped.stdout);
    assert!(stopped.stdout.contains("not reached; run the same command again to continue"), "{}", stopped.stdout);
    assert_eq!(database.run_states().await, ["stopped"]);
    // What it has changed up to here is in the rollup already.
    database.assert_parity().await;
    repair().run().expect(0);
    assert_eq!(database.run_states().await, ["done"]);
    database.assert_corrected_once().await;
    database.assert_parity().await;
}

#[tokio::test]
async fn the_rollup_of_everything_changed_is_rebuilt_also_after_interruptions() {
    let database = overcounted(600).await;
    let cutoff: String = database.value("SELECT to_json(now()) #>> '{}'").await;
    let repair =
        || database.program().args(["repair", "codex-cache", "--cutoff", &cutoff, "--execute", "--batch-size", "20"]);
    // Killed before it got to the rollup, twice.
    for killed in 1..=2_i64 {
        let running = repair().args(["--sleep-between-batches", "300ms"]).start();
        database.wait_until("SELECT to_regclass('migrate.repair_change') IS NOT NULL").await;
        let enough = format!(
            "SELECT rollup_from IS NOT NULL
                    AND (SELECT count(*) >= {} FROM migrate.repair_change WHERE applied_at IS NOT NULL)
             FROM migrate.repair_run",
            40 * killed
        );
        database.wait_until(&enough).await;
        running.signal("KILL");
        running.wait();
        let differs = "SELECT rollup_from IS NOT NULL AND rollup_to IS NOT NULL FROM migrate.repair_run";
        assert!(database.value::<bool>(differs).await);
        // Further away than the second that a window takes in addition.
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    let cleared = repair().run().expect(0);
    assert!(cleared.stdout.contains("hourly rollup"), "{}", cleared.stdout);
    database.assert_corrected_once().await;
    database.assert_parity().await;
}

#[tokio::test]
async fn a_tick_and_the_deletion_of_a_workspace_get_through() {
    let database = overcounted(1200).await;
    let running = in_the_middle(&database, "150ms").await;
    let mut longest = Duration::ZERO;
    for _ in 0..3 {
        // A tick that finds the lock taken says so, and is called again.
        let asked = Instant::now();
        loop {
            let tick = database.program().args(["rollup", "tick", "--format", "json"]).run().expect(0);
            if tick.events("tick")[0]["outcome"] == "done" {
                break;
            }
        }
        longest = longest.max(asked.elapsed());
        // As the application of older programs does it: under the lock, which it takes for its session.
        let application = database.session().await;
        let asked = Instant::now();
        application
            .batch_execute(
                "SELECT pg_advisory_lock(4246);
                 CREATE TEMP TABLE doomed AS SELECT id FROM workspace ORDER BY id LIMIT 1;
                 DELETE FROM agent WHERE workspace_id IN (SELECT id FROM doomed);
                 DELETE FROM workspace WHERE id IN (SELECT id FROM doomed);
                 SELECT pg_advisory_unlock(4246)",
            )
            .await
            .unwrap();
        longest = longest.max(asked.elapsed());
    }
    println!("the longest wait was {} ms", longest.as_millis());
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    let repaired = running.wait().expect(0);
    assert!(repaired.stdout.contains(" gone since"), "{}", repaired.stdout);
    database.assert_parity_before_the_watermark().await;
}

#[tokio::test]
async fn what_began_before_the_cutoff_and_has_not_ended_is_named() {
    let database = overcounted(60).await;
    let writer = database.session().await;
    writer
        .batch_execute(
            "SET application_name TO 'the straggler'; BEGIN;
             INSERT INTO task_usage (task_id, provider, model, input_tokens, cache_read_tokens)
             SELECT task_id, 'codex', 'late', 50, 20 FROM task_usage LIMIT 1",
        )
        .await
        .unwrap();
    let cutoff: String = database.value("SELECT to_json(now()) #>> '{}'").await;
    let repair = || database.program().args(["repair", "codex-cache", "--cutoff", &cutoff, "--execute"]);
    let repaired = repair().run().expect(0);
    let says = |run: &crate::harness::Finished| {
        run.stdout.contains("\"the straggler\"") && run.stdout.contains("has been writing since before the cutoff")
    };
    assert!(says(&repaired), "{}", repaired.stdout);
    // Also where there is nothing to do, and to who only looks.
    assert!(says(&repair().run().expect(0)));
    let look = database.program().args(["repair", "codex-cache", "--cutoff", &cutoff]).run().expect(0);
    assert!(says(&look), "{}", look.stdout);
    writer.batch_execute("COMMIT").await.unwrap();
    let again = repair().run().expect(0);
    assert!(again.stdout.contains("rows repaired         1"), "{}", again.stdout);
}

#[tokio::test]
async fn behind_a_table_lock_it_steps_back_and_holds_nothing() {
    let database = overcounted(200).await;
    let holder = database.session().await;
    // As a plain CREATE INDEX does. Rows can be locked beside it, and not be changed.
    holder.batch_execute("BEGIN; LOCK TABLE task_usage IN SHARE MODE").await.unwrap();
    let running = database.codex_cache().await.args(["--execute"]).start();
    database.wait_until("SELECT to_regclass('migrate.repair_change') IS NOT NULL").await;
    let mut free = 0;
    for _ in 0..40 {
        let taken: bool = database
            .value(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4246 AND granted
                                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))",
            )
            .await;
        free += u32::from(!taken);
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(free > 10, "the rollup's lock was free {free} of 40 times");
    holder.batch_execute("COMMIT").await.unwrap();
    running.wait().expect(0);
    database.assert_corrected_once().await;
    database.assert_parity().await;
}

#[tokio::test]
async fn a_trigger_that_writes_something_else_stops_it_before_anything_is_changed() {
    let database = overcounted(60).await;
    let before = database.fingerprint().await;
    database
        .batch(
            "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql
             AS $$ BEGIN NEW.updated_at := clock_timestamp(); RETURN NEW; END $$;
             CREATE TRIGGER touch BEFORE UPDATE ON task_usage FOR EACH ROW EXECUTE FUNCTION touch()",
        )
        .await;
    let refused = database.repair().await.expect(7);
    assert!(refused.stderr.contains("a trigger changed"), "{}", refused.stderr);
    assert_eq!(database.fingerprint().await, before);
    assert_eq!(database.run_states().await, ["failed"]);
}
