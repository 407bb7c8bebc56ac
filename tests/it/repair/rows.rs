//! Which rows a repair changes.

use super::{CUTOFF, overcounted};
use crate::harness::{Program, TestDatabase, with_authority};

/// One row for each way to be, or not to be, overcounted.
pub async fn every_kind_of_row() -> TestDatabase {
    let database = TestDatabase::at_version(104, 0, 0).await;
    let script = include_str!("../fixtures/overcounted.sql").replace("{cutoff}", &format!("'{CUTOFF}'::timestamptz"));
    database.batch(&script).await;
    database.batch("SELECT rollup_task_usage_hourly_window('2020-01-01', now() + interval '1 second')").await;
    database
}

/// Rows that are not as expected, with what they are: the model, and what it says.
async fn wrong(database: &TestDatabase, workspace: Option<&str>) -> Vec<String> {
    let rows = database
        .rows(
            "SELECT format('%s: %s, %s, %s', e.model, u.input_tokens, u.updated_at, u.output_tokens)
             FROM expected e
             JOIN task_usage u ON u.model = e.model
             WHERE NOT CASE WHEN e.becomes IS NOT NULL AND coalesce(e.workspace = $1, true)
                 THEN u.input_tokens = e.becomes
                      AND u.updated_at > now() - interval '1 minute'
                 ELSE u.input_tokens = e.input AND u.updated_at IS NOT DISTINCT FROM e.updated_at END
                OR u.created_at <> e.created_at OR u.cache_read_tokens <> e.cache OR u.output_tokens <> 7
                OR u.cache_write_tokens <> 3",
            &[&workspace],
        )
        .await;
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn only_rows_that_are_wrong_change() {
    let database = every_kind_of_row().await;
    let repair = || database.program().args(["repair", "codex-cache", "--cutoff", CUTOFF]);
    // The sum of the largest there is and others is no number of 64 bits.
    let found = repair().args(["--format", "json"]).run().expect(0);
    assert_eq!(found.events("repair_found")[0]["rows"], 10);
    assert_eq!(found.events("repair_found")[0]["input_before"], "9223372036854776647");
    assert_eq!(found.events("repair_found")[0]["input_tokens_removed"], 271);
    repair().args(["--execute"]).run().expect(0);
    assert_eq!(wrong(&database, None).await, Vec::<String>::new());
    database.batch("DELETE FROM task_usage WHERE model = 'the largest there is'").await;
    database.batch("SELECT rollup_task_usage_hourly_window('2020-01-01', now() + interval '1 second')").await;
    database.assert_parity().await;

    // Again: nothing to do, and not a row is written.
    let touched = "SELECT max(xmin::text::bigint) FROM task_usage";
    let before: i64 = database.value(touched).await;
    let again = repair().args(["--execute"]).run().expect(0);
    assert_eq!(again.stdout, "nothing to repair: no row meets the condition\n");
    assert_eq!(database.value::<i64>(touched).await, before);
    assert_eq!(database.run_states().await, ["done"]);
}

#[tokio::test]
async fn a_later_cutoff_does_not_hit_what_was_repaired() {
    let database = overcounted(200).await;
    database.repair().await.expect(0);
    let repaired = database.fingerprint().await;
    // By the clock alone, every repaired row would be from before this cutoff.
    let again = database.repair().await.expect(0);
    assert_eq!(again.stdout, "nothing to repair: no row meets the condition\n");
    assert_eq!(database.fingerprint().await, repaired);
    // A row that its old program has written once more, wrongly, is another matter.
    database
        .batch(
            "UPDATE task_usage SET input_tokens = 500, cache_read_tokens = 100, updated_at = now()
             WHERE id = (SELECT key::uuid FROM migrate.repair_change LIMIT 1)",
        )
        .await;
    let again = database.repair().await.expect(0);
    assert!(again.stdout.contains("rows repaired         1\n"), "{}", again.stdout);
    // Without its journal, a run is not known any more, and its rows would be taken for wrong ones.
    let first = "SELECT to_json(started_at) #>> '{}' FROM migrate.repair_run WHERE id = 1";
    let first: String = database.value(first).await;
    database
        .batch("CREATE TABLE kept AS TABLE migrate.repair_change; DELETE FROM migrate.repair_change WHERE run_id = 1")
        .await;
    let refused = database.repair().await.expect(7);
    assert!(refused.stderr.contains("run 1 of codex-cache has repaired rows before this cutoff"), "{}", refused.stderr);
    database.program().args(["repair", "codex-cache", "--cutoff", &first]).run().expect(0);
    database.batch("INSERT INTO migrate.repair_change SELECT * FROM kept WHERE run_id = 1").await;
    // What was given back is found again.
    database.program().args(["repair", "undo", "2", "--execute"]).run().expect(0);
    database.program().args(["repair", "undo", "1", "--execute"]).run().expect(0);
    database.repair().await.expect(0);
}

#[tokio::test]
async fn only_rows_of_the_workspace_change() {
    let database = every_kind_of_row().await;
    let first = "00000000-0000-0000-0000-00000000000a";
    let repair = || database.program().args(["repair", "codex-cache", "--cutoff", CUTOFF, "--workspace-id", first]);
    let found = repair().args(["--format", "json"]).run().expect(0);
    assert_eq!(found.events("repair_found")[0]["rows"], 9);
    assert!(found.events("repair_day").iter().all(|day| day["workspace"] == first));
    repair().args(["--execute", "--batch-size", "3"]).run().expect(0);
    assert_eq!(wrong(&database, Some("first")).await, Vec::<String>::new());
}

#[tokio::test]
async fn every_batch_size_repairs_everything() {
    for batch_size in ["1", "7", "100000"] {
        let database = overcounted(120).await;
        database.codex_cache().await.args(["--execute", "--batch-size", batch_size]).run().expect(0);
        database.assert_corrected_once().await;
        database.assert_journal_complete().await;
        database.assert_parity().await;
    }
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let database = overcounted(300).await;
    let before = database.fingerprint().await;
    let found = database.codex_cache().await.run().expect(0);
    assert!(found.stdout.contains("nothing was written"), "{}", found.stdout);
    assert_eq!(database.fingerprint().await, before);
    let history: bool = database.value("SELECT to_regclass('migrate.repair_run') IS NOT NULL").await;
    assert!(!history);
    // Where a role may only read, a dry run works as well.
    database.batch(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", database.name)).await;
    database.codex_cache().await.run().expect(0);
}

#[tokio::test]
async fn what_was_seen_is_what_is_done() {
    let database = overcounted(300).await;
    let cutoff: String = database.value("SELECT to_json(now()) #>> '{}'").await;
    let repair = || database.program().args(["repair", "codex-cache", "--cutoff", &cutoff, "--format", "json"]);
    let digest =
        |found: &crate::harness::Finished| found.events("repair_found")[0]["digest"].as_str().unwrap().to_owned();
    let seen = digest(&repair().run().expect(0));
    assert_eq!(digest(&repair().run().expect(0)), seen, "the same rows have the same digest");

    // One row is corrected in between: by its application, so that it is not to be repaired any more.
    database
        .batch(
            "UPDATE task_usage SET updated_at = now() WHERE id = (SELECT id FROM task_usage
             WHERE provider = 'codex' AND cache_read_tokens > 0 ORDER BY id LIMIT 1)",
        )
        .await;
    let before = database.fingerprint().await;
    let refused = repair().args(["--execute", "--expect", &seen]).run().expect(7);
    let now = digest(&repair().run().expect(0));
    assert_ne!(now, seen);
    assert!(refused.stderr.contains(&seen) && refused.stderr.contains(&now), "{}", refused.stderr);
    assert_eq!(database.fingerprint().await, before);
    let history: bool = database.value("SELECT to_regclass('migrate.repair_run') IS NOT NULL").await;
    assert!(!history, "a refused run leaves nothing behind");
    repair().args(["--execute", "--expect", &now]).run().expect(0);
    assert_eq!(database.run_states().await, ["done"]);

    // Other values in the same rows are another finding, too.
    database.program().args(["repair", "undo", "1", "--execute"]).run().expect(0);
    assert_eq!(digest(&repair().run().expect(0)), now, "what was undone is found again, as it was");
    database
        .batch("UPDATE task_usage SET input_tokens = input_tokens + 1 WHERE updated_at IS NULL AND provider = 'codex'")
        .await;
    assert_ne!(digest(&repair().run().expect(0)), now);
}

#[tokio::test]
async fn bad_input_is_one_line_and_writes_nothing() {
    let database = overcounted(20).await;
    let before = database.fingerprint().await;
    let known: String = database.value("SELECT id::text FROM workspace LIMIT 1").await;
    let cases: &[(&[&str], i32, &str)] = &[
        (&[], 2, "--cutoff <TIME>"),
        (&["--cutoff", "yesterday"], 2, "and a zone"),
        (&["--cutoff", "2026-01-01"], 2, "a zone"),
        (&["--cutoff", "2026-01-01T00:00:00"], 2, "a zone"),
        (&["--cutoff", "2026-13-01T00:00:00Z"], 2, "expected a date"),
        (&["--cutoff", "infinity"], 2, "expected a date"),
        (&["--cutoff", "1930-01-01T00:00:00Z"], 2, "1970"),
        (&["--cutoff", "2999-01-01T00:00:00Z"], 7, "is not in the past"),
        (&["--cutoff", CUTOFF, "--batch-size", "0"], 2, "--batch-size"),
        (&["--cutoff", CUTOFF, "--batch-size", "-1"], 2, "--batch-size"),
        (&["--cutoff", CUTOFF, "--batch-size", "many"], 2, "--batch-size"),
        (&["--cutoff", CUTOFF, "--workspace-id", "42"], 2, "expected a UUID"),
        (&["--cutoff", CUTOFF, "--workspace-id", "8e296a06-7f0c-4d0e-9d7b-2f1a6f5c3b21"], 7, "there is no workspace"),
        (&["--cutoff", CUTOFF, "--sleep-between-batches", "100years"], 2, "expected 0s to 1h"),
        (&["--cutoff", CUTOFF, "--sleep-between-batches", "-1s"], 2, "such as 500ms"),
        (&["--cutoff", CUTOFF, "--max-runtime", "0s"], 2, "expected 1s to 30days"),
        (&["--cutoff", CUTOFF, "--max-lag", "soon"], 2, "such as 500ms"),
        (&["--cutoff", CUTOFF, "--expect", "what I saw"], 2, "twelve characters"),
        (
            &["--cutoff", CUTOFF, "--workspace-id", &known, "--report", "/nowhere/at/all.html"],
            2,
            "cannot write the report",
        ),
        (&["--cutof", CUTOFF], 2, "a similar argument exists: '--cutoff'"),
    ];
    for (args, code, says) in cases {
        for execute in [&[][..], &["--execute"]] {
            let refused = database
                .program()
                .args(["repair", "codex-cache"])
                .args(args.iter().copied())
                .args(execute.iter().copied())
                .run();
            let refused = refused.expect(*code);
            assert!(refused.stderr.contains(says), "{args:?}: {}", refused.stderr);
            assert_eq!(refused.stderr.lines().count(), 1, "{args:?}: {}", refused.stderr);
            assert_eq!(refused.stdout, "", "{args:?}");
        }
    }
    // What the database's clock says is what counts.
    let soon: String = database.value("SELECT to_json(now() + interval '10 seconds') #>> '{}'").await;
    let refused = database.program().args(["repair", "codex-cache", "--cutoff", &soon, "--execute"]).run().expect(7);
    assert!(refused.stderr.contains("is not in the past"), "{}", refused.stderr);
    assert_eq!(database.fingerprint().await, before);
    let history: bool = database.value("SELECT to_regclass('migrate.repair_run') IS NOT NULL").await;
    assert!(!history);
}

#[tokio::test]
async fn a_database_that_cannot_be_repaired_says_why() {
    let database = TestDatabase::empty().await;
    let refused = database.program().args(["repair", "codex-cache", "--cutoff", CUTOFF]).run().expect(7);
    assert!(refused.stderr.contains("there is no table task_usage"), "{}", refused.stderr);
    database.program().args(["up", "--target", "32"]).run().expect(0);
    let refused = database.program().args(["repair", "codex-cache", "--cutoff", CUTOFF]).run().expect(7);
    assert!(refused.stderr.contains("updated_at") && refused.stderr.contains("migrate up"), "{}", refused.stderr);
}

#[tokio::test]
async fn before_there_is_an_hourly_rollup_rows_are_repaired_all_the_same() {
    let database = TestDatabase::at_version(84, 200, 100).await;
    let found = database.codex_cache().await.run().expect(0);
    assert!(found.stdout.contains("would roll up         nothing: there is no hourly rollup yet"), "{}", found.stdout);
    let repaired = database.repair().await.expect(0);
    assert!(repaired.stdout.contains("hourly rollup         there is none yet"), "{}", repaired.stdout);
    database.program().args(["repair", "undo", "1", "--execute"]).run().expect(0);
    database.program().args(["up"]).run().expect(0);
    database.assert_parity().await;
}

#[tokio::test]
async fn triggers_of_the_owner_run_with_the_rights_of_the_owner() {
    let database = overcounted(60).await;
    let role = format!("{}_owner", database.name);
    database
        .batch(&format!(
            "CREATE ROLE {role};
             GRANT ALL ON SCHEMA public TO {role};
             CREATE TABLE seen (who text);
             GRANT ALL ON seen TO {role};
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql
             AS $$ BEGIN INSERT INTO seen VALUES (current_user); RETURN NEW; END $$;
             CREATE TRIGGER note BEFORE UPDATE ON task_usage FOR EACH ROW EXECUTE FUNCTION note()"
        ))
        .await;
    database.give_to(&role).await;
    // Not a superuser: whatever role it takes on, a trigger could put that off again.
    for refused in [database.repair().await, database.program().args(["repair", "undo", "1", "--execute"]).run()] {
        let refused = refused.expect(7);
        let member = format!("connect as a role that is a member of {role} and of nothing else");
        assert!(
            refused.stderr.contains(&member) || refused.stderr.contains("there is no repair run 1"),
            "{}",
            refused.stderr
        );
    }
    assert_eq!(database.value::<i64>("SELECT count(*) FROM seen").await, 0);
    let member = format!("{}_member", database.name);
    database
        .batch(&format!(
            "CREATE ROLE {member} LOGIN PASSWORD 'member' IN ROLE {role};
             GRANT USAGE, CREATE ON SCHEMA migrate TO {role};
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA migrate TO {role}"
        ))
        .await;
    let url = with_authority(&database.url, Some(&format!("{member}:member")), None);
    let deployer = TestDatabase { name: database.name.clone(), url };
    deployer.repair().await.expect(0);
    deployer.program().args(["repair", "undo", "1", "--execute"]).run().expect(0);
    std::mem::forget(deployer);
    let seen = database.rows("SELECT DISTINCT who FROM seen", &[]).await;
    let seen: Vec<String> = seen.iter().map(|row| row.get(0)).collect();
    assert_eq!(seen, std::slice::from_ref(&role));
    database.assert_parity().await;
    database
        .batch(&format!(
            "REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}, {member}; DROP ROLE {role}, {member}"
        ))
        .await;
}

#[tokio::test]
async fn a_role_without_the_right_is_told_before_anything_is_written() {
    let database = overcounted(60).await;
    let role = format!("{}_reader", database.name);
    database
        .batch(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'reader';
             GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}; GRANT CREATE ON DATABASE {} TO {role};
             GRANT ALL ON SCHEMA migrate TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA migrate TO {role}",
            database.name
        ))
        .await;
    let url = with_authority(&database.url, Some(&format!("{role}:reader")), None);
    let cutoff: String = database.value("SELECT to_json(now()) #>> '{}'").await;
    let repair = || Program::new().env("DATABASE_URL", &url).args(["repair", "codex-cache", "--cutoff", &cutoff]);
    repair().run().expect(0);
    let refused = repair().args(["--execute"]).run().expect(7);
    assert!(refused.stderr.contains("has no right to UPDATE on table task_usage"), "{}", refused.stderr);
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    let history: bool = database.value("SELECT to_regclass('migrate.repair_run') IS NOT NULL").await;
    assert!(!history);
    database.batch(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}
