//! Taking over what an older migrator has built: what is checked, what is refused, whose objects the new ones become.

use crate::harness::{TestDatabase, all_versions, latest, release, with_authority};

const UNTOUCHED: &str = "SELECT to_regnamespace('migrate') IS NULL AND to_regclass('task_usage_hourly') IS NULL
                                AND NOT EXISTS (SELECT FROM public.schema_migrations WHERE version > '098')";

async fn old(release_name: &str) -> TestDatabase {
    let database = TestDatabase::empty().await;
    release::build(&database, release_name, false).await;
    database
}

/// Expects that `up` and its dry run refuse a damaged copy with all of `parts`, and write nothing.
async fn refused(template: &TestDatabase, damage: &str, parts: &[&str]) -> TestDatabase {
    let database = TestDatabase::from_template(&template.name).await;
    database.batch(damage).await;
    for args in [&["up", "--dry-run"][..], &["up"]] {
        let up = database.program().args(args.iter().copied()).run().expect(7);
        for part in parts {
            assert!(up.stderr.contains(part), "{damage}\n{part:?} is missing:\n{}", up.stderr);
        }
        assert!(up.stderr.contains("nothing was written"), "{}", up.stderr);
    }
    assert!(database.value::<bool>(UNTOUCHED).await, "{damage}: something was written");
    database
}

#[tokio::test]
async fn what_is_recorded_and_not_there_is_refused_by_name() {
    let template = old("v0.3.4").await;
    let cases: &[(&str, &[&str])] = &[
        (
            "DROP INDEX idx_task_usage_updated_at",
            &[
                "074_task_usage_updated_at_index: index idx_task_usage_updated_at on task_usage does not exist",
                "CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_task_usage_updated_at ON task_usage (updated_at);",
            ],
        ),
        (
            "DROP TRIGGER trg_tu_dirty_rollup ON task_usage",
            &["077_task_usage_daily_invalidation: trigger trg_tu_dirty_rollup on task_usage does not exist"],
        ),
        (
            "ALTER TABLE issue DISABLE TRIGGER trg_issue_delete_dirty_dashboard",
            &[
                "084_task_usage_dashboard_rollup: trigger trg_issue_delete_dirty_dashboard on issue is disabled",
                "ALTER TABLE issue ENABLE TRIGGER trg_issue_delete_dirty_dashboard;",
            ],
        ),
        (
            "DROP FUNCTION rollup_task_usage_dashboard_daily_window(timestamptz, timestamptz)",
            &["function rollup_task_usage_dashboard_daily_window(timestamptz, timestamptz) does not exist"],
        ),
        (
            "DROP TABLE task_usage_dashboard_daily CASCADE",
            &["084_task_usage_dashboard_rollup: table task_usage_dashboard_daily does not exist"],
        ),
        (
            "ALTER TABLE agent_runtime RENAME timezone TO tz",
            &["081_runtime_timezone: column agent_runtime.timezone does not exist"],
        ),
        (
            "ALTER TABLE task_usage ALTER updated_at DROP DEFAULT, ALTER updated_at TYPE timestamp",
            &["column task_usage.updated_at has type timestamp without time zone instead of timestamptz"],
        ),
        (
            "INSERT INTO public.schema_migrations (version)
             VALUES ('101_task_usage_hourly_schema'), ('102_task_usage_hourly_pipeline')",
            &["101_task_usage_hourly_schema: table task_usage_hourly does not exist"],
        ),
        (
            "DELETE FROM public.schema_migrations WHERE version = '073_task_usage_daily_rollup'",
            &["records 084_task_usage_dashboard_rollup, but not 073_task_usage_daily_rollup, which comes before it"],
        ),
        (
            "DELETE FROM public.schema_migrations WHERE version = '034_projects'",
            &["records a part of what version 1 stands for: 034_projects is missing"],
        ),
    ];
    for (damage, parts) in cases {
        // The application's other entries above 098 do not exist in this release.
        let expected_untouched = damage.starts_with("INSERT");
        let database = if expected_untouched {
            let database = TestDatabase::from_template(&template.name).await;
            database.batch(damage).await;
            let up = database.program().args(["up"]).run().expect(7);
            assert!(parts.iter().all(|part| up.stderr.contains(part)), "{}", up.stderr);
            database
        } else {
            refused(&template, damage, parts).await
        };
        let written: bool = database.value("SELECT to_regnamespace('migrate') IS NOT NULL").await;
        assert!(!written, "{damage}");
    }
}

#[tokio::test]
async fn an_invalid_index_that_is_recorded_as_built_is_refused_and_the_statement_named_mends_it() {
    let template = old("v0.3.4").await;
    let database = TestDatabase::from_template(&template.name).await;
    database.batch("DROP INDEX idx_task_usage_created_at").await;
    release::interrupt_index(&database, "idx_task_usage_created_at", "created_at").await;
    let up = database.program().args(["up"]).run().expect(7);
    let line = "075_task_usage_created_at_index: index idx_task_usage_created_at on task_usage is invalid";
    assert!(up.stderr.contains(line), "{}", up.stderr);
    let (_, remedy) = up.stderr.split_once("then migrate up again: ").expect("a remedy");
    assert_eq!(remedy.trim(), "REINDEX INDEX CONCURRENTLY idx_task_usage_created_at;");
    database.batch(remedy.trim()).await;
    database.program().args(["up"]).run().expect(0);
}

#[tokio::test]
async fn status_tells_what_is_adopted_and_check_what_is_not_yet() {
    let database = old("v0.3.5").await;
    let status = database.program().args(["status", "--check"]).run().expect(3);
    assert!(status.stdout.ends_with("16 versions to adopt, 0 pending; run migrate up\n"), "{}", status.stdout);
    database.program().args(["up"]).run().expect(0);
    let status = database.program().args(["status", "--check", "--format", "json"]).run().expect(0);
    assert!(status.events("version").iter().all(|version| version["state"] == "adopted"), "{}", status.stdout);
}

#[tokio::test]
async fn tables_in_another_schema_are_found_along_the_search_path_and_the_new_ones_join_them() {
    let database = TestDatabase::empty().await;
    database
        .batch(&format!("CREATE SCHEMA app; ALTER DATABASE {} SET search_path TO app, public", database.name))
        .await;
    release::build(&database, "v0.2.30", true).await;
    database.batch(&format!("ALTER DATABASE {} RESET search_path", database.name)).await;
    let up = database.program().args(["up"]).run().expect(7);
    assert!(up.stderr.contains("table workspace is in schema app, which is not in the search path"), "{}", up.stderr);
    assert!(up.stderr.contains("?options=-csearch_path%3D"), "{}", up.stderr);

    let url = format!("{}?options=-csearch_path%3Dapp,public", database.url);
    let program = || database.program().env("DATABASE_URL", &url);
    program().args(["up"]).run().expect(0);
    let elsewhere: i64 = database
        .value(
            "SELECT count(*) FROM pg_class
             WHERE relname LIKE 'task_usage%' AND relnamespace NOT IN ('app'::regnamespace, 'pg_toast'::regnamespace)",
        )
        .await;
    assert_eq!(elsewhere, 0);
    program().args(["verify", "history"]).run().expect(0);
    program().args(["verify", "schema"]).run().expect(0);
    program().args(["status", "--check"]).run().expect(0);
}

/// A role of its own for one test, dropped with its objects at the end.
async fn role(database: &TestDatabase, suffix: &str) -> String {
    let role = format!("{}_{suffix}", database.name);
    database
        .batch(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'role'; GRANT CREATE ON DATABASE {} TO {role};
             GRANT USAGE ON SCHEMA public TO {role}",
            database.name
        ))
        .await;
    role
}

#[tokio::test]
async fn what_is_made_belongs_to_the_owner_of_the_tables_whoever_runs_it() {
    for run_by in ["a superuser", "a member"] {
        let database = TestDatabase::empty().await;
        let (owner, runner) = (role(&database, "owner").await, role(&database, "runner").await);
        database.batch(&format!("GRANT CREATE ON SCHEMA public TO {owner}")).await;
        let as_role = |role: &str| with_authority(&database.url, Some(&format!("{role}:role")), None);
        let owned = TestDatabase { name: database.name.clone(), url: as_role(&owner) };
        release::build(&owned, "v0.3.4", true).await;
        std::mem::forget(owned);

        if run_by == "a member" {
            // Not a member yet: that is found out before anything is written.
            let up = database.program().env("DATABASE_URL", &as_role(&runner)).args(["up"]).run().expect(7);
            let grant = format!("GRANT SELECT, INSERT ON public.schema_migrations TO \"{runner}\"");
            assert!(up.stderr.contains(&grant), "{}", up.stderr);
            database.batch(&grant).await;
            database.batch(&format!("GRANT CREATE ON SCHEMA public TO {runner}")).await;
            let up = database.program().env("DATABASE_URL", &as_role(&runner)).args(["up"]).run().expect(7);
            assert!(
                up.stderr
                    .contains(&format!("table task_usage belongs to role {owner}, and role {runner} is not a member")),
                "{}",
                up.stderr
            );
            assert!(up.stderr.contains(&format!("GRANT \"{owner}\" TO \"{runner}\"")), "{}", up.stderr);
            assert!(!database.value::<bool>("SELECT to_regnamespace('migrate') IS NOT NULL").await);
            database.batch(&format!("GRANT {owner}, pg_read_all_stats TO {runner}")).await;
        }
        let url = if run_by == "a member" { as_role(&runner) } else { database.url.clone() };
        database.program().env("DATABASE_URL", &url).args(["up"]).run().expect(0);
        let strangers: i64 = database
            .value(&format!(
                "SELECT (SELECT count(*) FROM pg_class
                         WHERE relnamespace = 'public'::regnamespace AND relowner <> '{owner}'::regrole)
                      + (SELECT count(*) FROM pg_proc
                         WHERE pronamespace = 'public'::regnamespace AND proowner <> '{owner}'::regrole)"
            ))
            .await;
        assert_eq!(strangers, 0, "{run_by}");
        // The application, which owns the tables, can read and write all of it.
        let application = crate::harness::session(&as_role(&owner)).await;
        application.batch_execute("SELECT rollup_task_usage_hourly(); SELECT * FROM task_usage_hourly").await.unwrap();
        drop(application);
        database.assert_parity_before_the_watermark().await;
        database
            .batch(&format!("DROP OWNED BY {runner}, {owner} CASCADE; DROP ROLE {runner}; DROP ROLE {owner}"))
            .await;
    }
}

#[tokio::test]
async fn an_older_migrator_may_go_on_after_us() {
    let database = old("v0.3.4").await;
    database.program().args(["up", "--target", "102"]).run().expect(0);
    // It applies two versions in its own way, and others that are no concern of ours.
    let files = [
        include_str!("../../migrations/platform/V103__drop_legacy_daily_rollups.sql"),
        include_str!("../../migrations/platform/V104__drop_runtime_timezone.sql"),
    ];
    for file in files {
        database.batch(file).await;
    }
    database
        .batch(
            "INSERT INTO public.schema_migrations (version)
             VALUES ('103_drop_legacy_daily_rollups'), ('104_drop_runtime_timezone'), ('103_other'), ('250_much_later')",
        )
        .await;
    let up = database.program().args(["up"]).run().expect(0);
    assert!(up.stdout.contains("adopt V103 to V104"), "{}", up.stdout);
    assert_eq!(database.versions().await, all_versions());
    database.program().args(["verify", "history"]).run().expect(0);
    database.program().args(["verify", "schema"]).run().expect(0);
}

#[tokio::test]
async fn a_version_that_fails_is_recorded_by_neither_and_a_half_made_one_can_be_recorded_by_hand() {
    let database = old("v0.3.4").await;
    // As an older migrator leaves it that is killed between making the tables and recording them.
    let v101 = include_str!("../../migrations/platform/V101__task_usage_hourly_schema.sql");
    database.batch(&format!("BEGIN; {v101} COMMIT;")).await;
    let failed = database.program().args(["up"]).run().expect(1);
    assert!(failed.stderr.contains("already exists (SQLSTATE 42P07)"), "{}", failed.stderr);
    let statement = "INSERT INTO public.schema_migrations (version) VALUES ('101_task_usage_hourly_schema');";
    assert!(failed.stderr.contains(statement), "{}", failed.stderr);
    assert_eq!(database.versions().await.last(), Some(&84));
    let recorded: bool =
        database.value("SELECT EXISTS (SELECT FROM public.schema_migrations WHERE version LIKE '101%')").await;
    assert!(!recorded);
    database.batch(statement).await;
    let up = database.program().args(["up"]).run().expect(0);
    assert!(up.stdout.contains("adopt V101 "), "{}", up.stdout);
    assert_eq!(database.versions().await, all_versions());
}

#[tokio::test]
async fn every_version_of_ours_can_be_where_an_older_migrator_stopped() {
    let set = migrate::catalog::platform().unwrap();
    let fresh = TestDatabase::at_version(latest(), 0, 0).await;
    let columns = "SELECT count(*) || ' ' || md5(string_agg(format('%s.%s %s', table_name, column_name, data_type), ','
                       ORDER BY table_name, column_name))
                   FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'schema_migrations'";
    let expected: String = fresh.value(columns).await;
    let growing = TestDatabase::empty().await;
    for version in all_versions() {
        growing.program().args(["up", "--target", &version.to_string()]).run().expect(0);
        if version < 32 {
            continue;
        }
        let database = TestDatabase::from_template(&growing.name).await;
        let ledger = set.ledger().unwrap();
        let entries: Vec<_> = set
            .migrations()
            .iter()
            .filter(|migration| migration.version() <= version)
            .flat_map(|migration| ledger.entries(migration.version(), migration.name()))
            .map(|entry| format!("('{entry}')"))
            .collect();
        database
            .batch(&format!(
                "DROP SCHEMA migrate CASCADE;
                 CREATE TABLE public.schema_migrations (version text PRIMARY KEY, applied_at timestamptz DEFAULT now());
                 INSERT INTO public.schema_migrations (version) VALUES {}",
                entries.join(", ")
            ))
            .await;
        database.program().args(["up"]).run().expect(0);
        assert_eq!(database.versions().await, all_versions(), "from {version}");
        assert_eq!(database.value::<String>(columns).await, expected, "from {version}");
        database.program().args(["verify"]).run().expect(0);
    }
}
