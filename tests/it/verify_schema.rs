//! `migrate verify history` and `verify schema`: what differs is named, and nothing else.

use crate::harness::{TestDatabase, latest, release};

async fn at_the_end() -> TestDatabase {
    TestDatabase::at_version(latest(), 0, 0).await
}

#[tokio::test]
async fn a_database_that_is_as_it_should_be_passes_all_three() {
    let database = at_the_end().await;
    let verified = database.program().args(["verify"]).run().expect(0);
    let lines: Vec<_> = verified.stdout.lines().collect();
    let versions = crate::harness::all_versions().len();
    assert_eq!(lines[0], format!("history: {versions} versions, as they were applied"));
    assert!(lines[1].starts_with("schema: ") && lines[1].ends_with(" objects, as they should be"), "{}", lines[1]);
    assert_eq!(lines.len(), 3, "{}", verified.stdout);
    let untouched = TestDatabase::empty().await;
    let verified = untouched.program().args(["verify"]).run().expect(0);
    assert!(verified.stdout.contains("history: 0 versions"), "{}", verified.stdout);
    assert!(verified.stdout.contains("there is no hourly rollup yet"), "{}", verified.stdout);
}

#[tokio::test]
async fn every_version_on_the_way_is_as_described() {
    let database = TestDatabase::empty().await;
    for version in crate::harness::all_versions() {
        database.program().args(["up", "--target", &version.to_string()]).run().expect(0);
        let verified = database.program().args(["verify", "schema"]).run();
        assert_eq!(verified.status.code(), Some(0), "at {version}: {}", verified.stdout);
    }
}

#[tokio::test]
async fn what_differs_is_named_with_the_version_that_made_it() {
    let template = at_the_end().await;
    let cases = [
        ("DROP INDEX idx_task_usage_created_at", "index idx_task_usage_created_at on task_usage does not exist (V75__"),
        (
            "ALTER TABLE task_usage DISABLE TRIGGER trg_tu_dirty_hourly",
            "trigger trg_tu_dirty_hourly on task_usage is disabled (R__usage_pipeline.sql)",
        ),
        (
            "CREATE OR REPLACE FUNCTION task_usage_hour_bucket(ts timestamptz) RETURNS timestamptz
             LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT ts'",
            "function task_usage_hour_bucket(timestamp with time zone) has been replaced (R__usage_pipeline.sql)",
        ),
        (
            "ALTER TABLE task_usage ALTER updated_at DROP DEFAULT",
            "column task_usage.updated_at is not as it was made (V72__",
        ),
        (
            "ALTER TABLE task_usage_hourly DROP CONSTRAINT uq_task_usage_hourly_key",
            "constraint uq_task_usage_hourly_key on task_usage_hourly does not exist (V101__",
        ),
        ("CREATE TABLE task_usage_daily ()", "table task_usage_daily is still there (V103__"),
        (
            "GRANT EXECUTE ON FUNCTION task_usage_hourly_report_agent() TO PUBLIC",
            "function task_usage_hourly_report_agent() has been replaced (R__usage_pipeline.sql)",
        ),
    ];
    for (damage, expected) in cases {
        let database = TestDatabase::from_template(&template.name).await;
        database.batch(damage).await;
        let verified = database.program().args(["verify", "schema"]).run().expect(4);
        assert!(verified.stdout.contains(expected), "{damage}:\n{}", verified.stdout);
        // The line above and the sum; a constraint takes its index along.
        let named = verified.stdout.lines().filter(|line| line.contains("schema:")).count();
        let expected = if damage.contains("DROP CONSTRAINT") { 3 } else { 2 };
        assert_eq!(named, expected, "{damage}:\n{}", verified.stdout);
    }
}

#[tokio::test]
async fn what_an_operator_or_the_application_may_change_is_no_drift() {
    let database = TestDatabase::empty().await;
    database.batch("ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC").await;
    database.program().args(["up"]).run().expect(0);
    database
        .batch(
            "COMMENT ON TABLE task_usage_hourly IS 'ours'; COMMENT ON COLUMN task_usage.updated_at IS 'ours';
             ALTER INDEX idx_task_usage_created_at SET (fillfactor = 70);
             ALTER TABLE agent ALTER runtime_id DROP NOT NULL; ALTER TABLE issue ALTER title TYPE varchar(500);
             ALTER TABLE workspace ADD COLUMN settings jsonb; CREATE INDEX ON task_usage (model);
             ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC",
        )
        .await;
    let verified = database.program().args(["verify", "schema"]).run();
    assert_eq!(verified.status.code(), Some(0), "{}", verified.stdout);
}

#[tokio::test]
async fn invalid_indexes_are_found_whoever_made_them() {
    let database = at_the_end().await;
    database.batch("DROP INDEX idx_task_usage_updated_at").await;
    release::interrupt_index(&database, "idx_task_usage_updated_at", "updated_at").await;
    release::interrupt_index(&database, "somebodys_index", "input_tokens").await;
    let verified = database.program().args(["verify", "schema", "--format", "json"]).run().expect(4);
    let problems = verified.events("problem");
    let objects: Vec<_> = problems.iter().map(|problem| problem["object"].as_str().unwrap()).collect();
    assert_eq!(objects, ["index idx_task_usage_updated_at on task_usage", "index somebodys_index on task_usage"]);
    assert_eq!(verified.events("verified")[0]["problems"], 2);
    for problem in problems {
        database.batch(problem["remedy"].as_str().expect("a statement")).await;
    }
    database.program().args(["verify", "schema"]).run().expect(0);
}

#[tokio::test]
async fn the_history_is_compared_with_the_files_and_with_the_older_ledger() {
    let database = TestDatabase::empty().await;
    release::build(&database, "v0.3.4", false).await;
    let verified = database.program().args(["verify", "history"]).run().expect(0);
    assert_eq!(verified.stdout, "history: 0 versions, as they were applied; 12 to adopt from an older migrator\n");
    database.program().args(["up"]).run().expect(0);
    let verified = database.program().args(["verify", "history"]).run().expect(0);
    let versions = crate::harness::all_versions().len();
    assert_eq!(verified.stdout, format!("history: {versions} versions, 12 of them adopted, as they were applied\n"));
    database
        .batch(
            "UPDATE migrate.history_platform SET checksum = '7' WHERE version = 101;
             DELETE FROM public.schema_migrations WHERE version = '103_drop_legacy_daily_rollups';
             INSERT INTO migrate.history_platform (version, name, applied_on, checksum) VALUES (900, 'new', now(), '1')",
        )
        .await;
    let verified = database.program().args(["verify", "history"]).run().expect(4);
    for part in [
        "V101__task_usage_hourly_schema.sql is not what was applied",
        "V103__drop_legacy_daily_rollups.sql is not recorded in public.schema_migrations",
        "next: INSERT INTO public.schema_migrations (version) VALUES ('103_drop_legacy_daily_rollups');",
        "V900__new",
        "history: 3 problems in ",
    ] {
        assert!(verified.stdout.contains(part), "{part:?} is missing:\n{}", verified.stdout);
    }
}
