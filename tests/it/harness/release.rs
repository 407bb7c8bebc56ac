//! Databases as the platform's own migrator left them at a release.

use super::TestDatabase;

const V0_2_13: &str = include_str!("../fixtures/releases/v0.2.13.sql");
const V0_2_30: &str = include_str!("../fixtures/releases/v0.2.30.sql");
const V0_3_4: &str = include_str!("../fixtures/releases/v0.3.4.sql");
const STUCK: &str = include_str!("../fixtures/releases/v0.3.8-stuck.sql");
const V0_3_5: &str = include_str!("../fixtures/releases/v0.3.5.sql");
const LIFE: &str = include_str!("../fixtures/releases/life.sql");
const LIFE_AFTER: &str = include_str!("../fixtures/releases/life-after.sql");
const LIFE_BEFORE_END: &str = include_str!("../fixtures/releases/life-before-end.sql");

/// Builds the database of a release, with usage that has seen life or without.
pub async fn build(database: &TestDatabase, name: &str, lived: bool) {
    let scripts: &[&str] = match (name, lived) {
        ("v0.2.13", true) => &[V0_2_13, LIFE, LIFE_BEFORE_END],
        ("v0.2.13", false) => &[V0_2_13],
        ("v0.2.30", true) => &[V0_2_13, LIFE, V0_2_30, LIFE_AFTER],
        ("v0.2.30", false) => &[V0_2_13, V0_2_30],
        ("v0.3.4", true) => &[V0_2_13, LIFE, V0_2_30, V0_3_4, LIFE_AFTER],
        ("v0.3.4", false) => &[V0_2_13, V0_2_30, V0_3_4],
        ("v0.3.8-stuck", true) => &[V0_2_13, LIFE, V0_2_30, V0_3_4, LIFE_AFTER, STUCK],
        ("v0.3.8-stuck", false) => &[V0_2_13, V0_2_30, V0_3_4, STUCK],
        ("v0.3.5", true) => &[V0_2_13, LIFE, V0_2_30, V0_3_4, LIFE_AFTER, STUCK, V0_3_5],
        ("v0.3.5", false) => &[V0_2_13, V0_2_30, V0_3_4, STUCK, V0_3_5],
        other => panic!("there is no such release: {other:?}"),
    };
    let session = database.session().await;
    for script in scripts {
        session.batch_execute(script).await.unwrap_or_else(|error| panic!("{name}: {error:?}\n{}", &script[..200]));
    }
}

/// The platform's later versions, as far as they concern usage: what the older ledger calls them, and what they do.
pub const LATER: [(&str, &[&str]); 4] = [
    (
        "213_task_usage_authoritative_cost",
        &[include_str!("../fixtures/platform/213-columns.sql"), include_str!("../fixtures/platform/213-window.sql")],
    ),
    ("243_workspace_teardown_dirty_trigger_guard", &[include_str!("../fixtures/platform/243.sql")]),
    ("251_agent_runtime_unbind", &[include_str!("../fixtures/platform/251.sql")]),
    ("272_rollup_task_usage_hourly_xact_lock", &[include_str!("../fixtures/platform/272.sql")]),
];

/// The platform's own migrator applies those of its later versions that its ledger does not record, up to `last`.
pub async fn go_on(database: &TestDatabase, last: &str) {
    for (entry, scripts) in LATER.iter().filter(|(entry, _)| *entry < last) {
        let recorded = format!("SELECT EXISTS (SELECT FROM public.schema_migrations WHERE version = '{entry}')");
        if !database.value::<bool>(&recorded).await {
            database.batch(&scripts.concat()).await;
            database.batch(&format!("INSERT INTO public.schema_migrations (version) VALUES ('{entry}')")).await;
        }
    }
}

/// Writes of every kind, a workspace that is torn down included; each must have its effect.
pub async fn write_on(database: &TestDatabase) {
    database.batch(include_str!("../fixtures/platform/life.sql")).await;
    database.batch(include_str!("../fixtures/platform/teardown.sql")).await;
}

/// The application goes on writing.
pub async fn live_on(database: &TestDatabase) {
    database.batch(LIFE).await;
    database.batch(LIFE_AFTER).await;
}

/// A database whose older migrator is about to apply 074: v0.2.30 without what comes after 073.
pub async fn build_until_074(database: &TestDatabase, lived: bool) {
    build(database, "v0.2.30", lived).await;
    database
        .batch(
            "DELETE FROM public.schema_migrations WHERE version >= '074';
             DROP INDEX idx_task_usage_updated_at, idx_task_usage_created_at, idx_task_usage_created_at_legacy;
             DROP FUNCTION task_usage_rollup_lag_seconds();
             DROP FUNCTION enqueue_task_usage_daily_dirty_for_tu(), enqueue_task_usage_daily_dirty_for_atq() CASCADE;
             DROP TABLE task_usage_daily_dirty;
             ALTER TABLE agent_runtime DROP COLUMN timezone",
        )
        .await;
}

/// Leaves an index of `task_usage` as a concurrent build does that is interrupted: there, and invalid.
pub async fn interrupt_index(database: &TestDatabase, index: &str, column: &str) {
    let writer = database.session().await;
    writer.batch_execute("BEGIN; LOCK TABLE task_usage IN ROW EXCLUSIVE MODE").await.expect("a lock");
    let builder = database.session().await;
    let build = format!("CREATE INDEX CONCURRENTLY {index} ON task_usage ({column})");
    let building = tokio::spawn(async move { builder.batch_execute(&build).await });
    database
        .wait_until("SELECT EXISTS (SELECT FROM pg_stat_progress_create_index WHERE datname = current_database())")
        .await;
    database
        .batch("SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index WHERE datname = current_database()")
        .await;
    assert!(building.await.expect("no panic").is_err(), "the build was interrupted");
    writer.batch_execute("COMMIT").await.expect("a commit");
}
