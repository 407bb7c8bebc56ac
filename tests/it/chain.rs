//! The platform's chain on an empty database.

use crate::harness::{TestDatabase, all_versions, latest};

#[tokio::test]
async fn a_fresh_database_gets_all_versions() {
    let database = TestDatabase::empty().await;
    let up = database.program().args(["up"]).run().expect(0);
    let done = format!("done: the database is at version {} ({} migrations, ", latest(), all_versions().len());
    assert!(up.stdout.contains(&done), "{}", up.stdout);
    assert_eq!(database.versions().await, all_versions());
}

#[tokio::test]
async fn a_second_run_has_nothing_to_do_and_writes_nothing() {
    let database = TestDatabase::at_version(latest(), 0, 0).await;
    // Or it would say that nobody does.
    database.program().args(["rollup", "tick"]).run().expect(0);
    // The server would refuse any write of these sessions.
    let read_only = format!("{}?options=-c%20default_transaction_read_only%3Don", database.url);
    let again = database.program().env("DATABASE_URL", &read_only).args(["up"]).run().expect(0);
    assert_eq!(again.told(), "");
    assert_eq!(again.stdout, format!("nothing to do: the database is at version {}\n", latest()));
    assert_eq!(database.versions().await, all_versions());
}

#[tokio::test]
async fn nobody_may_put_a_function_with_the_owner_s_rights_on_a_table_of_his_own() {
    for version in [84, latest()] {
        let database = TestDatabase::at_version(version, 0, 0).await;
        let open: Vec<String> = database
            .rows(
                "SELECT p.oid::regprocedure::text FROM pg_proc p
                 WHERE p.prosecdef AND has_function_privilege('public', p.oid, 'EXECUTE')",
                &[],
            )
            .await
            .iter()
            .map(|row| row.get(0))
            .collect();
        assert_eq!(open, Vec::<String>::new());
        let definers: i64 = database.value("SELECT count(*) FROM pg_proc WHERE prosecdef").await;
        assert!(definers > 4);
    }
}

#[tokio::test]
async fn the_names_that_other_programs_use_are_there() {
    let database = TestDatabase::at_version(102, 0, 0).await;
    let missing: Vec<String> = database
        .rows(
            "SELECT f FROM unnest($1::text[]) f WHERE to_regprocedure(f) IS NULL
             UNION ALL SELECT r FROM unnest($2::text[]) r WHERE to_regclass(r) IS NULL
             UNION ALL SELECT t FROM unnest($3::text[]) t WHERE t NOT IN (SELECT tgname FROM pg_trigger)
             UNION ALL SELECT c FROM unnest($4::text[]) c WHERE c NOT IN (SELECT conname FROM pg_constraint)",
            &[&FUNCTIONS.as_slice(), &RELATIONS.as_slice(), &TRIGGERS.as_slice(), &CONSTRAINTS.as_slice()],
        )
        .await
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[tokio::test]
async fn nothing_of_the_daily_pipelines_is_left_at_the_end() {
    let database = TestDatabase::at_version(104, 0, 0).await;
    let left: i64 = database
        .value(
            "SELECT (SELECT count(*) FROM pg_class WHERE relname ~ 'daily|dashboard|task_usage_rollup_state')
                  + (SELECT count(*) FROM pg_proc
                     WHERE pronamespace = 'public'::regnamespace AND proname ~ 'daily|dashboard|task_usage_rollup_lag')
                  + (SELECT count(*) FROM pg_trigger WHERE tgname ~ 'dirty_(rollup|dashboard)')
                  + (SELECT count(*) FROM information_schema.columns WHERE column_name = 'timezone'
                     AND table_name = 'agent_runtime')",
        )
        .await;
    assert_eq!(left, 0);
}

#[tokio::test]
async fn the_hourly_pipeline_can_be_applied_again() {
    let database = TestDatabase::at_version(102, 1000, 30).await;
    database.batch("SELECT rollup_task_usage_hourly_window('epoch', now())").await;
    let file = include_str!("../../migrations/platform/R__usage_pipeline.sql");
    database.batch(&format!("BEGIN; {file} COMMIT;")).await;
    database.batch("DELETE FROM task_usage WHERE ctid IN (SELECT ctid FROM task_usage LIMIT 100)").await;
    database.batch("SELECT rollup_task_usage_hourly_window('epoch', now() + interval '1 s')").await;
    database.assert_parity().await;
}

#[tokio::test]
async fn an_hour_is_an_utc_hour_in_every_session() {
    let database = TestDatabase::at_version(102, 0, 0).await;
    let session = database.session().await;
    for zone in ["UTC", "Asia/Kolkata", "America/St_Johns", "Pacific/Chatham"] {
        session.batch_execute(&format!("SET TIME ZONE '{zone}'")).await.unwrap();
        let row = session
            .query_one(
                "SELECT task_usage_hour_bucket('2026-03-29 01:59:59.999+00') = '2026-03-29 01:00:00+00',
                        task_usage_hour_bucket('1969-12-31 23:30:00+00') = '1969-12-31 23:00:00+00'",
                &[],
            )
            .await
            .unwrap();
        assert!(row.get::<_, bool>(0) && row.get::<_, bool>(1), "{zone}");
    }
}

#[tokio::test]
async fn old_rows_are_not_touched_by_the_new_column() {
    let database = TestDatabase::empty().await;
    database.program().args(["up", "--target", "32"]).run().expect(0);
    database
        .batch(
            "INSERT INTO workspace (name, slug) VALUES ('w', 'w');
             INSERT INTO agent_runtime (workspace_id, name, runtime_mode, provider)
             SELECT id, 'r', 'local', 'x' FROM workspace;
             INSERT INTO agent (workspace_id, name, runtime_mode, runtime_id)
             SELECT workspace_id, 'a', 'local', id FROM agent_runtime;
             INSERT INTO agent_task_queue (agent_id, runtime_id) SELECT id, runtime_id FROM agent;
             INSERT INTO task_usage (task_id, model) SELECT id, 'm' FROM agent_task_queue;",
        )
        .await;
    let before: String = database.value("SELECT xmin::text || ctid::text FROM task_usage").await;
    database.program().args(["up", "--target", "72"]).run().expect(0);
    let after: String =
        database.value("SELECT xmin::text || ctid::text FROM task_usage WHERE updated_at IS NULL").await;
    assert_eq!(before, after);
}

const FUNCTIONS: [&str; 26] = [
    "task_usage_hour_bucket(timestamptz)",
    "rollup_task_usage_hourly_window(timestamptz,timestamptz)",
    "rollup_task_usage_hourly()",
    "prune_task_usage_hourly_dirty(interval)",
    "task_usage_hourly_rollup_lag_seconds()",
    "enqueue_task_usage_hourly_dirty_for_atq()",
    "enqueue_task_usage_hourly_dirty_for_issue_delete()",
    "enqueue_task_usage_hourly_dirty_for_issue_project()",
    "enqueue_task_usage_hourly_dirty_for_tu()",
    "rollup_task_usage_daily_window(timestamptz,timestamptz)",
    "rollup_task_usage_daily()",
    "task_usage_rollup_lag_seconds()",
    "enqueue_task_usage_daily_dirty_for_atq()",
    "enqueue_task_usage_daily_dirty_for_tu()",
    "rollup_task_usage_dashboard_daily_window(timestamptz,timestamptz)",
    "rollup_task_usage_dashboard_daily()",
    "task_usage_dashboard_rollup_lag_seconds()",
    "enqueue_task_usage_dashboard_dirty_for_atq()",
    "enqueue_task_usage_dashboard_dirty_for_issue_delete()",
    "enqueue_task_usage_dashboard_dirty_for_issue_project()",
    "enqueue_task_usage_dashboard_dirty_for_tu()",
    "task_usage_hourly_computed(timestamptz[])",
    "task_usage_hourly_rebuild(timestamptz[])",
    "task_usage_hourly_horizon()",
    "task_usage_daily_of(date)",
    "task_usage_dashboard_daily_of(date)",
];

const RELATIONS: [&str; 18] = [
    "task_usage_hourly",
    "task_usage_hourly_rollup_state",
    "task_usage_hourly_dirty",
    "task_usage_daily",
    "task_usage_daily_dirty",
    "task_usage_rollup_state",
    "task_usage_dashboard_daily",
    "task_usage_dashboard_dirty",
    "task_usage_dashboard_rollup_state",
    "idx_task_usage_task_id",
    "idx_task_usage_updated_at",
    "idx_task_usage_created_at",
    "idx_task_usage_created_at_legacy",
    "idx_task_usage_hourly_workspace_time",
    "idx_task_usage_hourly_runtime_time",
    "idx_task_usage_hourly_workspace_agent_time",
    "idx_task_usage_hourly_workspace_project_time",
    "idx_task_usage_hourly_dirty_enqueued_at",
];

const TRIGGERS: [&str; 10] = [
    "trg_atq_dirty_hourly",
    "trg_issue_delete_dirty_hourly",
    "trg_issue_project_dirty_hourly",
    "trg_tu_dirty_hourly",
    "trg_atq_dirty_rollup",
    "trg_tu_dirty_rollup",
    "trg_atq_dirty_dashboard",
    "trg_issue_delete_dirty_dashboard",
    "trg_tu_dirty_dashboard",
    "trg_issue_project_dirty_dashboard",
];

const CONSTRAINTS: [&str; 2] = ["uq_task_usage_hourly_key", "uq_task_usage_hourly_dirty_key"];
