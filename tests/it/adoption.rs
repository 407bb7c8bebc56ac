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
            "DELETE FROM public.schema_migrations WHERE version NOT IN ('001_init', '004_agent_runtime_loop', '054_x')",
            &["records a part of what version 1 stands for: 034_projects is missing"],
        ),
        ("TRUNCATE public.schema_migrations", &["there is a table workspace, and nothing records how it came to be"]),
        (
            "DROP TABLE public.schema_migrations; CREATE TABLE public.schema_migrations (version text, applied_at timestamptz)",
            &["there is a table workspace", "restore the schema migrate as well"],
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

/// Whatever depends on what V103 and V104 drop is found by the dry run, and the statement proposed clears the way.
#[tokio::test]
async fn what_depends_on_what_is_dropped_is_found_before_anything_is_written() {
    let template = old("v0.3.8-stuck").await;
    let cases = [
        (
            "CREATE VIEW monthly AS SELECT date_trunc('month', bucket_date), sum(input_tokens) FROM task_usage_daily GROUP BY 1",
            "V103 drops table task_usage_daily, and view monthly depends on it",
        ),
        (
            "CREATE MATERIALIZED VIEW kept AS SELECT * FROM task_usage_dashboard_daily",
            "V103 drops table task_usage_dashboard_daily, and materialized view kept depends on it",
        ),
        (
            "CREATE VIEW zones AS SELECT timezone FROM agent_runtime",
            "V104 drops column agent_runtime.timezone, and view zones depends on it",
        ),
        (
            "CREATE VIEW lag AS SELECT task_usage_rollup_lag_seconds() AS seconds",
            "V103 drops function task_usage_rollup_lag_seconds(), and view lag depends on it",
        ),
        (
            "CREATE TABLE last_year () INHERITS (task_usage_daily)",
            "V103 drops table task_usage_daily, and table last_year depends on it",
        ),
        (
            "CREATE FUNCTION days() RETURNS SETOF task_usage_daily LANGUAGE sql AS 'SELECT * FROM task_usage_daily'",
            "V103 drops table task_usage_daily, and function days() depends on it",
        ),
        (
            "CREATE FUNCTION lag() RETURNS float8 BEGIN ATOMIC SELECT task_usage_rollup_lag_seconds(); END",
            "V103 drops function task_usage_rollup_lag_seconds(), and function lag() depends on it",
        ),
        (
            "CREATE TABLE reminder (state smallint REFERENCES task_usage_rollup_state)",
            "V103 drops table task_usage_rollup_state, and constraint reminder_state_fkey on table reminder depends on it",
        ),
        (
            "CREATE TABLE archive (day task_usage_daily)",
            "V103 drops table task_usage_daily, and column day of table archive depends on it",
        ),
        (
            "CREATE TRIGGER theirs AFTER INSERT ON workspace FOR EACH ROW EXECUTE FUNCTION enqueue_task_usage_daily_dirty_for_tu()",
            "V103 drops function enqueue_task_usage_daily_dirty_for_tu(), and trigger theirs on table workspace depends on it",
        ),
        (
            "CREATE POLICY late ON workspace USING (task_usage_rollup_lag_seconds() > 0)",
            "V103 drops function task_usage_rollup_lag_seconds(), and policy late on table workspace depends on it",
        ),
    ];
    for (dependent, expected) in cases {
        let database = TestDatabase::from_template(&template.name).await;
        database.batch(dependent).await;
        let mut remedy = String::new();
        for args in [&["up", "--dry-run"][..], &["up"]] {
            let up = database.program().args(args.iter().copied()).run().expect(7);
            assert!(up.stderr.contains(expected), "{dependent}:\n{}", up.stderr);
            let (_, statement) = up.stderr.split_once("for example: ").expect("a statement");
            statement.trim().clone_into(&mut remedy);
        }
        assert!(!database.value::<bool>("SELECT to_regnamespace('migrate') IS NOT NULL").await, "{dependent}");
        database.batch(&remedy).await;
        database.program().args(["up"]).run().expect(0);
    }
}

#[tokio::test]
async fn what_a_refused_103_left_is_checked_too() {
    let template = old("v0.3.8-stuck").await;
    let cases = [
        (
            "INSERT INTO public.schema_migrations (version) VALUES ('104_drop_runtime_timezone')",
            "records 104_drop_runtime_timezone, but not 103_drop_legacy_daily_rollups, which comes before it",
        ),
        (
            "INSERT INTO public.schema_migrations (version)
             VALUES ('103_drop_legacy_daily_rollups'), ('104_drop_runtime_timezone')",
            "DELETE FROM public.schema_migrations WHERE version IN ('103_drop_legacy_daily_rollups', '104_drop_runtime_timezone');",
        ),
        (
            "ALTER TABLE task_usage_hourly DROP CONSTRAINT uq_task_usage_hourly_key;
             ALTER TABLE task_usage_hourly ADD CONSTRAINT uq_task_usage_hourly_key
                 UNIQUE (bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model)",
            "constraint uq_task_usage_hourly_key on task_usage_hourly is UNIQUE (bucket_hour, workspace_id",
        ),
    ];
    for (damage, expected) in cases {
        let database = TestDatabase::from_template(&template.name).await;
        database.batch(damage).await;
        for args in [&["up", "--dry-run"][..], &["up"]] {
            let up = database.program().args(args.iter().copied()).run().expect(7);
            assert!(up.stderr.contains(expected), "{damage}:\n{}", up.stderr);
        }
        assert!(!database.value::<bool>("SELECT to_regnamespace('migrate') IS NOT NULL").await, "{damage}");
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
    let (_, remedy) = up.stderr.split_once("then run migrate up again:\n").expect("a remedy");
    assert_eq!(remedy.trim(), "REINDEX INDEX CONCURRENTLY idx_task_usage_created_at;");
    database.batch(remedy.trim()).await;
    database.program().args(["up"]).run().expect(0);
}

#[tokio::test]
async fn status_tells_what_is_adopted_and_check_what_is_not_yet() {
    let database = old("v0.3.5").await;
    let status = database.program().args(["status", "--check"]).run().expect(3);
    // Three versions and the repeatable file.
    let sum = format!("16 versions to adopt, {} pending; run migrate up\n", all_versions().len() - 16 + 1);
    assert!(status.stdout.ends_with(&sum), "{}", status.stdout);
    database.program().args(["up"]).run().expect(0);
    let status = database.program().args(["status", "--check", "--format", "json"]).run().expect(0);
    let adopted = status.events("version").iter().filter(|version| version["state"] == "adopted").count();
    assert_eq!(adopted, 16, "{}", status.stdout);
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

#[tokio::test]
async fn a_backup_restored_over_an_upgraded_database_is_not_taken_for_one() {
    let database = old("v0.3.4").await;
    database.program().args(["up"]).run().expect(0);
    // What pg_restore --clean leaves: the older ledger of then, and our history of now.
    database.batch("DELETE FROM public.schema_migrations WHERE version > '098'").await;
    let up = database.program().args(["up"]).run().expect(7);
    assert!(up.stderr.contains("lacks what was recorded there when it was applied: 101_"), "{}", up.stderr);
    assert!(up.stderr.contains("restore it once more into an empty one"), "{}", up.stderr);
    database.program().args(["verify", "history"]).run().expect(4);
}

#[tokio::test]
async fn the_tables_are_not_looked_for_in_the_wrong_schema() {
    let database = TestDatabase::empty().await;
    database.batch("CREATE SCHEMA app").await;
    let url = format!("{}?options=-csearch_path%3Dapp", database.url);
    database.program().env("DATABASE_URL", &url).args(["up"]).run().expect(0);
    let up = database.program().args(["up"]).run().expect(7);
    assert!(up.stderr.contains("table task_usage is in schema app, which is not in the search path"), "{}", up.stderr);
    assert!(up.stderr.contains("?options=-csearch_path%3Dapp"), "{}", up.stderr);
    database.program().args(["verify"]).run().expect(4);
}

#[tokio::test]
async fn a_schema_whose_name_needs_quotes_is_as_good_as_any() {
    let database = TestDatabase::empty().await;
    database
        .batch(&format!("CREATE SCHEMA \"App\"; ALTER DATABASE {} SET search_path TO \"App\", public", database.name))
        .await;
    release::build(&database, "v0.3.4", true).await;
    database.batch(&format!("ALTER DATABASE {} RESET search_path", database.name)).await;
    let up = database.program().args(["up"]).run().expect(7);
    let (_, hint) = up.stderr.split_once("in the URL: ").expect("a hint");
    let url = format!("{}{},public", database.url, hint.trim());
    let program = || database.program().env("DATABASE_URL", &url);
    program().args(["up"]).run().expect(0);
    let verified = program().args(["verify", "schema"]).run();
    assert_eq!(verified.status.code(), Some(0), "{}", verified.stdout);
}

#[tokio::test]
async fn another_program_s_ledger_outside_the_search_path_is_nobody_s_business() {
    let database = TestDatabase::empty().await;
    database.batch("CREATE TABLE public.schema_migrations (version bigint, dirty boolean); CREATE SCHEMA mine").await;
    database.program().args(["up"]).run().expect(7);
    let url = format!("{}?options=-csearch_path%3Dmine", database.url);
    database.program().env("DATABASE_URL", &url).args(["--set", "platform", "up"]).run().expect(0);
    let verified = database.program().env("DATABASE_URL", &url).args(["verify"]).run();
    assert_eq!(verified.status.code(), Some(0), "{}", verified.stdout);
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
    for run_by in ["the owner", "a member"] {
        let database = TestDatabase::empty().await;
        let (owner, runner) = (role(&database, "owner").await, role(&database, "runner").await);
        database.batch(&format!("GRANT CREATE ON SCHEMA public TO {owner}")).await;
        let as_role = |role: &str| with_authority(&database.url, Some(&format!("{role}:role")), None);
        let owned = TestDatabase { name: database.name.clone(), url: as_role(&owner) };
        release::build(&owned, "v0.3.4", true).await;
        std::mem::forget(owned);

        if run_by == "a member" {
            // Not a member yet: that is found out before anything is written.
            let closed = database.program().env("DATABASE_URL", &as_role(&runner)).args(["status"]).run().expect(7);
            let grant = format!("GRANT SELECT, INSERT ON public.schema_migrations TO \"{runner}\"");
            assert!(closed.stderr.contains(&grant), "{}", closed.stderr);
            let up = database.program().env("DATABASE_URL", &as_role(&runner)).args(["up"]).run().expect(7);
            assert!(
                up.stderr.contains(&format!(
                    "table task_usage belongs to role {owner}, and role {runner} does not have its rights"
                )),
                "{}",
                up.stderr
            );
            assert!(up.stderr.contains(&format!("GRANT \"{owner}\" TO \"{runner}\"")), "{}", up.stderr);
            assert!(!database.value::<bool>("SELECT to_regnamespace('migrate') IS NOT NULL").await);
            database.batch(&format!("GRANT {owner}, pg_read_all_stats TO {runner}")).await;
            database.batch(&format!("GRANT CREATE ON SCHEMA public TO {runner}")).await;
        }
        // A schema that bears the owner's name, with tables of the same names, is somebody else's.
        database
            .batch(&format!(
                "CREATE SCHEMA {owner} AUTHORIZATION {owner}; CREATE TABLE {owner}.agent_runtime (timezone text);
                 CREATE TABLE {owner}.task_usage_daily (x int); CREATE TABLE {owner}.task_usage (x int);
                 CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
                     $$ BEGIN INSERT INTO public.noted VALUES (current_user); RETURN NULL; END $$;
                 CREATE TABLE noted (who name); GRANT ALL ON noted TO PUBLIC;
                 ALTER TABLE noted OWNER TO {owner}; ALTER FUNCTION note() OWNER TO {owner}"
            ))
            .await;
        // A superuser would run the triggers of the owner with the rights of a superuser, whatever role it has taken on.
        let refused = database.program().args(["up"]).run().expect(7);
        let said = format!("role postgres is a superuser and table task_usage belongs to {owner}");
        assert!(
            refused.stderr.contains(&said) && refused.stderr.contains(&format!("connect as {owner}")),
            "{}",
            refused.stderr
        );
        assert!(!database.value::<bool>("SELECT to_regnamespace('migrate') IS NOT NULL").await);
        let url = match run_by {
            "a member" => as_role(&runner),
            _ => format!("{}?options=-csearch_path%3Dpublic", as_role(&owner)),
        };
        database.program().env("DATABASE_URL", &url).args(["up", "--target", "102"]).run().expect(0);
        database
            .batch("CREATE TRIGGER note AFTER INSERT ON task_usage_hourly FOR EACH STATEMENT EXECUTE FUNCTION note()")
            .await;
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
        let others: i64 = database.value(&format!("SELECT count(*) FROM noted WHERE who <> '{owner}'")).await;
        let noted: i64 = database.value("SELECT count(*) FROM noted").await;
        assert!(noted > 0 && others == 0, "{run_by}: {others} of {noted} writes were made by another role");
        let left: i64 = database
            .value(&format!(
                "SELECT count(*) FROM information_schema.columns
                 WHERE table_schema = '{owner}' AND column_name IN ('timezone', 'x')"
            ))
            .await;
        assert_eq!(left, 3, "{run_by}: what is in another schema is not touched");
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
async fn rights_that_would_not_do_are_found_out_before_anything_is_written() {
    let database = TestDatabase::empty().await;
    let (owner, other) = (role(&database, "owner").await, role(&database, "other").await);
    database.batch(&format!("GRANT CREATE ON SCHEMA public TO {owner}")).await;
    let as_role = |role: &str| with_authority(&database.url, Some(&format!("{role}:role")), None);
    let owned = TestDatabase { name: database.name.clone(), url: as_role(&owner) };
    release::build(&owned, "v0.3.8-stuck", false).await;
    std::mem::forget(owned);
    let cases = [
        // One of several objects belongs to somebody else.
        ("TABLE issue", "table issue belongs to role"),
        ("TABLE task_usage_daily", "table task_usage_daily belongs to role"),
        ("FUNCTION rollup_task_usage_hourly()", "function rollup_task_usage_hourly() belongs to role"),
    ];
    for (object, expected) in cases {
        database.batch(&format!("ALTER {object} OWNER TO postgres")).await;
        let up = database.program().env("DATABASE_URL", &as_role(&owner)).args(["up"]).run().expect(7);
        assert!(up.stderr.contains(expected), "{object}: {}", up.stderr);
        let (_, statement) = up.stderr.split_once("as a superuser, run: ").expect("a statement");
        assert!(!database.value::<bool>("SELECT to_regnamespace('migrate') IS NOT NULL").await, "{object}");
        database.batch(statement.trim()).await;
    }
    // A member that does not inherit.
    database
        .batch(&format!(
            "ALTER ROLE {other} NOINHERIT; GRANT {owner} TO {other}; GRANT CREATE ON SCHEMA public TO {other};
             GRANT ALL ON public.schema_migrations TO {other}"
        ))
        .await;
    let up = database.program().env("DATABASE_URL", &as_role(&other)).args(["up"]).run().expect(7);
    assert!(up.stderr.contains("does not have its rights"), "{}", up.stderr);
    assert!(up.stderr.contains(&format!("ALTER ROLE \"{other}\" INHERIT")), "{}", up.stderr);
    // The session's own role counts, not one that it was given at login.
    database
        .batch(&format!(
            "REVOKE {owner} FROM {other}; GRANT postgres TO {other}; ALTER ROLE {other} SET role TO postgres"
        ))
        .await;
    let up = database.program().env("DATABASE_URL", &as_role(&other)).args(["up"]).run();
    let code = up.status.code();
    assert!(code == Some(0) || code == Some(7) && up.stderr.contains("is a superuser"), "{}", up.stderr);
    database.batch(&format!("ALTER ROLE {other} RESET role")).await;
    database.program().env("DATABASE_URL", &as_role(&owner)).args(["up"]).run().expect(0);
    database.batch(&format!("DROP OWNED BY {other}, {owner} CASCADE; DROP ROLE {other}; DROP ROLE {owner}")).await;
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
async fn a_version_that_was_made_and_not_recorded_can_be_recorded_by_hand() {
    let database = old("v0.3.4").await;
    // As an older migrator leaves it that is killed between making the tables and recording them.
    let v101 = include_str!("../../migrations/platform/V101__task_usage_hourly_schema.sql");
    database.batch(&format!("BEGIN; {v101} COMMIT;")).await;
    let failed = database.program().args(["up"]).run().expect(7);
    assert!(failed.stderr.contains("table task_usage_hourly, which V101__"), "{}", failed.stderr);
    let statement = "INSERT INTO public.schema_migrations (version) VALUES ('101_task_usage_hourly_schema');";
    assert!(failed.stderr.contains(statement), "{}", failed.stderr);
    assert!(!database.value::<bool>("SELECT to_regnamespace('migrate') IS NOT NULL").await);
    let recorded: bool =
        database.value("SELECT EXISTS (SELECT FROM public.schema_migrations WHERE version LIKE '101%')").await;
    assert!(!recorded);
    database.batch(statement).await;
    let up = database.program().args(["up"]).run().expect(0);
    assert!(up.stdout.contains("adopt V1 to V101 "), "{}", up.stdout);
    assert_eq!(database.versions().await, all_versions());
}

#[tokio::test]
async fn what_the_older_ledger_does_not_take_is_not_applied() {
    for (release_name, entry, last) in
        [("v0.3.4", "101_task_usage_hourly_schema", 84), ("v0.2.13", "074_task_usage_updated_at_index", 73)]
    {
        let database = old(release_name).await;
        database
            .batch(&format!("ALTER TABLE public.schema_migrations ADD CONSTRAINT closed CHECK (version <> '{entry}')"))
            .await;
        let failed = database.program().args(["up"]).run().expect(1);
        assert!(failed.stderr.contains("closed") && failed.stderr.contains("SQLSTATE 23514"), "{}", failed.stderr);
        assert_eq!(database.versions().await.last(), Some(&last), "{release_name}: our history is ahead");
        assert!(!database.value::<bool>("SELECT to_regclass('task_usage_hourly') IS NOT NULL").await);
        database.batch("ALTER TABLE public.schema_migrations DROP CONSTRAINT closed").await;
        database.program().args(["up"]).run().expect(0);
        database.program().args(["verify"]).run().expect(0);
    }
}

#[tokio::test]
async fn every_version_of_ours_can_be_where_an_older_migrator_stopped() {
    let set = migrate::platform::platform().unwrap();
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
