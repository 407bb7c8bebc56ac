//! What a repair remembers of itself is lost, emptied, halved or forged, and the clock goes back: no token is taken twice,
//! none is given back twice, and nothing is called done that is not.

use super::overcounted;
use crate::harness::{Program, TestDatabase, server_with_a_clock, with_authority};

const NOW: &str = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";

async fn now(database: &TestDatabase) -> String {
    database.value(NOW).await
}

fn codex_cache(database: &TestDatabase, cutoff: &str) -> Program {
    database.program().args(["repair", "codex-cache", "--cutoff", cutoff])
}

/// A run that is killed in the middle. Its cutoff.
async fn killed(database: &TestDatabase) -> String {
    let cutoff = now(database).await;
    let running = codex_cache(database, &cutoff)
        .args(["--execute", "--batch-size", "20", "--sleep-between-batches", "150ms"])
        .start();
    database.wait_until("SELECT to_regclass('migrate.repair_change') IS NOT NULL").await;
    database.wait_until("SELECT count(*) > 40 FROM migrate.repair_change WHERE applied_at IS NOT NULL").await;
    running.signal("KILL");
    running.wait();
    cutoff
}

/// A later cutoff is refused, dry or not, and no token is taken.
async fn assert_refused(database: &TestDatabase, why: &str) {
    let before = database.fingerprint().await;
    let cutoff = now(database).await;
    for flags in [vec![], vec!["--execute"]] {
        let refused = codex_cache(database, &cutoff).args(flags).run().expect(7);
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
        assert!(refused.stderr.contains("cutoff"), "{}", refused.stderr);
        assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    }
    assert_eq!(database.fingerprint().await, before);
}

#[tokio::test]
async fn a_later_cutoff_is_refused_without_the_journal_of_a_run_that_is_done() {
    let database = overcounted(200).await;
    database.repair().await.expect(0);
    database.batch("ALTER TABLE migrate.repair_change RENAME TO kept").await;
    assert_refused(&database, "run 1 ").await;
    // With an empty one, and with a half.
    database.batch("CREATE TABLE migrate.repair_change (LIKE migrate.kept INCLUDING ALL)").await;
    assert_refused(&database, "run 1 ").await;
    database.batch("INSERT INTO migrate.repair_change SELECT * FROM migrate.kept WHERE n % 2 = 0").await;
    assert_refused(&database, "run 1 ").await;
    database.batch("INSERT INTO migrate.repair_change SELECT * FROM migrate.kept WHERE n % 2 = 1").await;
    let again = database.repair().await.expect(0);
    assert_eq!(again.stdout, "nothing to repair: no row meets the condition\n");
    // A journal that no longer knows which rows it has changed is as good as none.
    database.batch("UPDATE migrate.repair_change SET applied_at = NULL").await;
    assert_refused(&database, "run 1 ").await;
}

#[tokio::test]
async fn a_later_cutoff_is_refused_without_the_journal_of_a_run_that_was_killed() {
    let database = overcounted(400).await;
    let cutoff = killed(&database).await;
    database.batch("DELETE FROM migrate.repair_change").await;
    assert_refused(&database, "run 1 ").await;
    // It cannot be gone on with, either.
    let refused = codex_cache(&database, &cutoff).args(["--execute"]).run().expect(7);
    assert!(refused.stderr.contains("its journal has 0 of "), "{}", refused.stderr);
    assert!(refused.stderr.contains("migrate repair close 1"), "{}", refused.stderr);
    // Rows that it has repaired lie behind its own cutoff. So the same one is safe, once that run is closed.
    let closed = database.program().args(["repair", "close", "1"]).run().expect(0);
    assert!(closed.stdout.contains("run 1"), "{}", closed.stdout);
    codex_cache(&database, &cutoff).args(["--execute"]).run().expect(0);
    assert_eq!(database.run_states().await, ["closed", "done"]);
    database.assert_corrected_once().await;
    // What the closed run has changed and not rolled up is for the next tick.
    database
        .batch("SELECT rollup_task_usage_hourly_window(now() - interval '1 hour', now() + interval '1 second')")
        .await;
    database.assert_parity().await;
    assert_refused(&database, "run 1 ").await;
    database.assert_corrected_once().await;
}

#[tokio::test]
async fn a_later_cutoff_is_refused_without_the_journal_of_a_run_that_was_undone_half_way() {
    let database = overcounted(400).await;
    database.repair().await.expect(0);
    let undo = || database.program().args(["repair", "undo", "1", "--execute", "--batch-size", "20"]);
    undo().args(["--sleep-between-batches", "400ms", "--max-runtime", "1s"]).run().expect(8);
    database.batch("CREATE TABLE kept AS TABLE migrate.repair_change").await;
    database.batch("DELETE FROM migrate.repair_change WHERE run_id = 1").await;
    database.program().args(["repair", "close", "2"]).run().expect(0);
    assert_refused(&database, "run 1 ").await;
    // An undo whose own journal is gone has nothing to go by.
    database
        .batch("TRUNCATE migrate.repair_change; INSERT INTO migrate.repair_change SELECT * FROM kept WHERE run_id = 1")
        .await;
    database.batch("UPDATE migrate.repair_run SET state = 'stopped' WHERE id = 2").await;
    let refused = undo().run().expect(7);
    assert!(refused.stderr.contains("its journal has 0 of "), "{}", refused.stderr);
    database.program().args(["repair", "close", "2"]).run().expect(0);
    let undone = undo().run().expect(0);
    assert!(undone.stdout.contains("rows restored"), "{}", undone.stdout);
    let wrong: i64 = database
        .value("SELECT count(*) FROM task_usage u JOIN original o USING (id) WHERE u.input_tokens <> o.input_tokens")
        .await;
    assert_eq!(wrong, 0);
    database.assert_parity().await;
}

/// Nothing of ours is left but the comment on the table, which goes where the table goes.
#[tokio::test]
async fn a_later_cutoff_is_refused_without_the_schema_migrate() {
    let database = overcounted(200).await;
    database.batch("COMMENT ON TABLE task_usage IS 'Tokens, as O''Brien\\counts them.'").await;
    database.repair().await.expect(0);
    let comment: String = database.value("SELECT obj_description('task_usage'::regclass)").await;
    assert!(comment.starts_with("Tokens, as O'Brien\\counts them.\nmigrate: codex-cache run 1 began 20"), "{comment}");
    database.batch("DROP SCHEMA migrate CASCADE").await;
    assert_refused(&database, "its record is gone").await;
    // With the cutoff of then, every row that was repaired lies behind it.
    let began = comment.split("began ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let again = codex_cache(&database, &began).args(["--execute"]).run().expect(0);
    assert_eq!(again.stdout, "nothing to repair: no row meets the condition\n");
    database.assert_corrected_once().await;
}

#[tokio::test]
async fn an_emptied_journal_is_not_taken_for_rows_that_have_changed() {
    let database = overcounted(400).await;
    killed(&database).await;
    database.batch("DELETE FROM migrate.repair_change").await;
    for flags in [vec![], vec!["--execute"]] {
        let refused = database.program().args(["repair", "undo", "1"]).args(flags).run().expect(7);
        assert!(refused.stderr.contains("the journal of run 1 is lost"), "{}", refused.stderr);
    }
}

#[tokio::test]
async fn a_row_whose_other_columns_have_changed_is_not_given_back() {
    let database = overcounted(200).await;
    database.repair().await.expect(0);
    let changed = "UPDATE task_usage SET output_tokens = output_tokens + 1 WHERE id IN (
                       SELECT key::uuid FROM migrate.repair_change ORDER BY n LIMIT 7)";
    database.batch(changed).await;
    let found: i64 = database.value("SELECT rows_found FROM migrate.repair_run").await;
    // A column that has come since says nothing about the rows.
    database.batch("ALTER TABLE task_usage ADD COLUMN region text DEFAULT 'eu'").await;
    let undone = database.program().args(["repair", "undo", "1", "--execute"]).run().expect(0);
    assert!(undone.stdout.contains("7 rows changed since, left as they are now"), "{}", undone.stdout);
    assert!(undone.stdout.contains(&format!("rows restored         {}", found - 7)), "{}", undone.stdout);
    database.assert_parity().await;
}

#[tokio::test]
async fn a_clock_that_goes_back_behind_the_beginning_stops_the_run() {
    let (url, clock) = server_with_a_clock("repair-clock");
    let database = TestDatabase::on_server(&url, "repair").await;
    database.program().args(["up", "--target", "84"]).run().expect(0);
    database.write_usage(400, 20).await;
    database.program().args(["up"]).run().expect(0);
    database
        .batch("CREATE TABLE original AS SELECT id, input_tokens, cache_read_tokens, updated_at FROM task_usage")
        .await;
    let cutoff = now(&database).await;
    let repair = || codex_cache(&database, &cutoff).args(["--execute", "--batch-size", "20"]);
    let running = repair().args(["--sleep-between-batches", "150ms"]).start();
    database.wait_until("SELECT to_regclass('migrate.repair_change') IS NOT NULL").await;
    database.wait_until("SELECT EXISTS (SELECT FROM migrate.repair_change WHERE applied_at IS NOT NULL)").await;
    clock.set(-3600.0);
    let stopped = running.wait().expect(7);
    assert!(stopped.stderr.contains("the clock of the database was set back"), "{}", stopped.stderr);
    assert_eq!(database.run_states().await, ["failed"]);
    // As long as it is, nothing is taken, and nothing is called done.
    repair().run().expect(7);
    clock.set(0.0);
    let done = repair().run().expect(0);
    assert!(done.stdout.contains("no row is left to repair"), "{}", done.stdout);
    database.assert_corrected_once().await;
    database.assert_journal_complete().await;
}

#[tokio::test]
async fn another_unfinished_run_of_the_same_repair_is_named_first() {
    let database = overcounted(400).await;
    killed(&database).await;
    let later = now(&database).await;
    let looked = codex_cache(&database, &later).run().expect(0);
    assert!(looked.stdout.contains("run 1 with other arguments is unfinished"), "{}", looked.stdout);
    let refused = codex_cache(&database, &later).args(["--execute"]).run().expect(7);
    for way in ["migrate repair codex-cache --cutoff ", "migrate repair close 1", "--beside 1"] {
        assert!(refused.stderr.contains(way), "{}", refused.stderr);
    }
    assert_eq!(database.run_states().await, ["interrupted"]);
    codex_cache(&database, &later).args(["--execute", "--beside", "1"]).run().expect(0);
    assert_eq!(database.run_states().await, ["interrupted", "done"]);
    database.assert_corrected_once().await;
    // A run that is done has nothing to close.
    let refused = database.program().args(["repair", "close", "2"]).run().expect(7);
    assert!(refused.stderr.contains("run 2 is done"), "{}", refused.stderr);
    database.program().args(["repair", "close", "1"]).run().expect(0);
    database.program().args(["repair", "undo", "1", "--execute"]).run().expect(0);
}

#[tokio::test]
async fn buckets_that_were_damaged_while_a_rebuild_was_interrupted_are_rebuilt() {
    let database = overcounted(600).await;
    let right = database.rollup_fingerprint().await;
    database.batch("TRUNCATE task_usage_hourly").await;
    let rebuild = || database.program().args(["repair", "hourly-rollup", "--execute"]);
    let running = rebuild().args(["--sleep-between-slices", "1s"]).start();
    database.wait_until("SELECT to_regclass('migrate.repair_run') IS NOT NULL").await;
    database.wait_until("SELECT EXISTS (SELECT FROM migrate.repair_run WHERE progress ->> 'done' IS NOT NULL)").await;
    running.signal("KILL");
    running.wait();
    database.batch("UPDATE task_usage_hourly SET input_tokens = input_tokens + 1").await;
    rebuild().run().expect(0);
    assert_eq!(database.rollup_fingerprint().await, right);
    assert_eq!(database.run_states().await, ["done"]);
    let runs = database.program().args(["repair", "runs"]).run().expect(0);
    assert!(runs.stdout.contains("hourly-rollup"), "{}", runs.stdout);
}

/// The roles' rights are asked for before the first batch, those on what feeds the rollup included.
#[tokio::test]
async fn rights_on_the_queues_are_asked_for_before_anything_is_written() {
    let database = overcounted(200).await;
    let role = format!("{}_updater", database.name);
    database
        .batch(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'updater'; GRANT CREATE ON DATABASE {} TO {role};
             GRANT ALL ON SCHEMA migrate TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA migrate TO {role};
             GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}; GRANT UPDATE ON task_usage TO {role};
             GRANT SELECT, INSERT, UPDATE, DELETE ON task_usage_hourly TO {role}",
            database.name
        ))
        .await;
    let before = database.fingerprint().await;
    let cutoff = now(&database).await;
    let url = with_authority(&database.url, Some(&format!("{role}:updater")), None);
    let repair = ["repair", "codex-cache", "--cutoff", &cutoff, "--execute"];
    let refused = Program::new().env("DATABASE_URL", &url).args(repair).run().expect(7);
    assert!(refused.stderr.contains("task_usage_hourly_dirty"), "{}", refused.stderr);
    assert_eq!(database.fingerprint().await, before);
    database.batch(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

/// Another role has created the journal with an earlier build, which knew no sets. Whoever may write it continues.
#[tokio::test]
async fn a_journal_of_an_earlier_build_and_another_role_is_continued() {
    let database = overcounted(400).await;
    let cutoff = killed(&database).await;
    let (owner, other) = (format!("{}_owner", database.name), format!("{}_other", database.name));
    database.batch(&format!("CREATE ROLE {owner} LOGIN PASSWORD 'owner'; CREATE ROLE {other}")).await;
    database.give_to(&owner).await;
    database
        .batch(&format!(
            "ALTER TABLE migrate.repair_run DROP COLUMN set_name;
             ALTER SCHEMA migrate OWNER TO {other};
             ALTER TABLE migrate.repair_run OWNER TO {other};
             ALTER TABLE migrate.repair_change OWNER TO {other};
             GRANT USAGE, CREATE ON SCHEMA migrate TO {owner};
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA migrate TO {owner}"
        ))
        .await;
    let url = with_authority(&database.url, Some(&format!("{owner}:owner")), None);
    let program = || Program::new().env("DATABASE_URL", &url);
    program().args(["repair", "codex-cache", "--cutoff", &cutoff, "--execute"]).run().expect(0);
    program().args(["repair", "undo", "1", "--execute"]).run().expect(0);
    program().args(["repair", "hourly-rollup", "--execute"]).run().expect(0);
    let has_set =
        "SELECT count(*) FROM pg_attribute WHERE attrelid = 'migrate.repair_run'::regclass AND attname = 'set_name'";
    assert_eq!(database.value::<i64>(has_set).await, 0);
    // Whoever owns the table adds the column.
    database.batch(&format!("ALTER TABLE migrate.repair_run OWNER TO {owner}")).await;
    program().args(["repair", "codex-cache", "--cutoff", &cutoff, "--execute"]).run().expect(0);
    let set: String = database.value("SELECT set_name FROM migrate.repair_run ORDER BY id DESC LIMIT 1").await;
    assert_eq!(set, "platform");
    database
        .batch(&format!("REASSIGN OWNED BY {owner}, {other} TO CURRENT_USER; DROP OWNED BY {owner}, {other}"))
        .await;
    database.batch(&format!("DROP ROLE {owner}; DROP ROLE {other}")).await;
}

/// The journal knows every row, and not that most of them were corrected after the backup.
#[tokio::test]
async fn a_journal_restored_from_the_middle_of_the_run_takes_nothing_twice() {
    for closes in [false, true] {
        let database = overcounted(400).await;
        let cutoff = killed(&database).await;
        database
            .batch("CREATE TABLE runs AS TABLE migrate.repair_run; CREATE TABLE changes AS TABLE migrate.repair_change")
            .await;
        codex_cache(&database, &cutoff).args(["--execute"]).run().expect(0);
        let right = database.fingerprint().await;
        database
            .batch(
                "TRUNCATE migrate.repair_run, migrate.repair_change;
                 INSERT INTO migrate.repair_run SELECT * FROM runs; INSERT INTO migrate.repair_change SELECT * FROM changes",
            )
            .await;
        if closes {
            database.program().args(["repair", "close", "1"]).run().expect(0);
        } else {
            codex_cache(&database, &cutoff).args(["--execute"]).run().expect(0);
        }
        let later = now(&database).await;
        let again = codex_cache(&database, &later).args(["--execute"]).run().expect(0);
        assert_eq!(again.stdout, "nothing to repair: no row meets the condition\n");
        assert_eq!(database.fingerprint().await, right);
    }
}

/// A journal without the run that it is of is no less true.
#[tokio::test]
async fn a_journal_whose_run_is_not_recorded_is_known_and_its_number_is_not_used_again() {
    let database = overcounted(200).await;
    database.repair().await.expect(0);
    database.batch("TRUNCATE migrate.repair_run; COMMENT ON TABLE task_usage IS NULL").await;
    let later = now(&database).await;
    let looked = codex_cache(&database, &later).run().expect(0);
    assert_eq!(looked.stdout, "nothing to repair: no row meets the condition\n");
    database
        .batch(
            "UPDATE task_usage SET input_tokens = 500, cache_read_tokens = 100, updated_at = now() - interval '1 day'
             WHERE id = (SELECT key::uuid FROM migrate.repair_change LIMIT 1)",
        )
        .await;
    let repaired = codex_cache(&database, &later).args(["--execute"]).run().expect(0);
    assert!(repaired.stdout.starts_with("run 2 done"), "{}", repaired.stdout);
}
