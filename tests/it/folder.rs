//! What an operator of a folder is told, and what is never shown.

use crate::harness::Project;

const FLYWAY: &str =
    "[set.app]\ndir = \"sql\"\nlayout = \"flyway\"\n[set.app.placeholders]\npassword = { env = \"APP_PASSWORD\" }\n";

#[tokio::test]
async fn what_the_environment_puts_into_a_file_is_never_shown() {
    let project = Project::new("secret", FLYWAY).await;
    project.write("sql/V1__a.sql", "CREATE TABLE t (n text DEFAULT '${password}');\n");
    project.write("sql/R__view.sql", "CREATE OR REPLACE VIEW v AS SELECT '${password}' AS n;\n");
    let run = |code: i32, args: &[&str]| {
        let program = project.database.program().current_dir(&project.folder).env("APP_PASSWORD", "s3cret");
        let done = program.args(args.iter().copied()).run().expect(code);
        let all = format!("{}{}", done.stdout, done.stderr);
        assert!(!all.contains("s3cret"), "{all}");
        all
    };
    let shown = run(0, &["up", "--dry-run", "-v"]);
    assert!(shown.contains("DEFAULT '${password}'") && shown.contains("SELECT '${password}' AS n"), "{shown}");
    assert!(run(0, &["up", "--dry-run", "-v", "--format", "json"]).contains("DEFAULT '${password}'"));
    run(0, &["up", "-v"]);
    let made: String = project.database.value("SELECT n FROM v").await;
    assert_eq!(made, "s3cret");
    // Nor in what the server says of it.
    project
        .write("sql/V2__b.sql", "DO $$ BEGIN RAISE NOTICE 'it is ${password}'; END $$; SELECT '${password}'::int;\n");
    for args in [&["up"][..], &["up", "-v", "--format", "json"]] {
        let failed = run(1, args);
        assert!(failed.contains("it is ${password}") && failed.contains("integer: "), "{failed}");
    }
}

#[tokio::test]
async fn a_commit_that_fails_brings_its_error_and_no_warning() {
    let project = Project::new("deferred", "[set.app]\ndir = \"sql\"\nlayout = \"golang-migrate\"\n").await;
    project.write("sql/1_a.up.sql", "CREATE TABLE a (n int PRIMARY KEY);\n");
    let deferred = "BEGIN;\nCREATE TABLE b (n int REFERENCES a DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO b VALUES (1);\nCOMMIT;\n";
    project.write("sql/2_b.up.sql", deferred);
    // Before its COMMIT, the file's transaction is open, and is rolled back as well.
    for text in [deferred, "BEGIN;\nCREATE TABLE c (n int);\nSELECT 1 / 0;\nCOMMIT;\n"] {
        project.write("sql/2_b.up.sql", text);
        let failed = project.run(1, &["up"]).stderr;
        assert!(failed.contains("SQLSTATE") && !failed.contains("warning"), "{failed}");
    }
    assert!(!project.is_there("b").await && !project.is_there("c").await);
}

#[tokio::test]
async fn an_invalid_index_is_named_with_what_mends_it() {
    let project = Project::new("invalid", "[set.app]\ndir = \"sql\"\n").await;
    project.write("sql/V1__a.sql", "CREATE TABLE T (n int); INSERT INTO t VALUES (1), (1);\n");
    project.run(0, &["up"]);
    project.database.session().await.batch_execute("CREATE UNIQUE INDEX CONCURRENTLY i ON t (n)").await.unwrap_err();
    // What stands beside the folder's tables is somebody else's.
    project.database.batch("CREATE TABLE elsewhere (n int); INSERT INTO elsewhere VALUES (1), (1)").await;
    let other = "CREATE UNIQUE INDEX CONCURRENTLY j ON elsewhere (n)";
    project.database.session().await.batch_execute(other).await.unwrap_err();
    project.write("sql/V2__b.sql", "CREATE UNIQUE INDEX IF NOT EXISTS i ON t (n);\n");
    project.run(0, &["up"]);
    let verified = project.run(4, &["verify", "schema"]).stdout;
    assert_eq!(
        verified,
        "schema: index i on t is invalid: no query uses it\n        next: REINDEX INDEX CONCURRENTLY public.i;\nschema: 1 \
         problem in 0 objects\n"
    );
    project.database.batch("DELETE FROM t").await;
    project.database.batch("REINDEX INDEX CONCURRENTLY public.i").await;
    project.run(0, &["verify", "schema"]);
}

const GOLANG: &str = "[set.app]\ndir = \"sql\"\nlayout = \"golang-migrate\"\n";
const LEDGER: &str = "CREATE TABLE schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)";

#[tokio::test]
async fn status_shows_what_a_tool_has_left_unfinished() {
    let project = Project::new("dirty", GOLANG).await;
    project.write("sql/1_a.up.sql", "CREATE TABLE a (n int);\n");
    project
        .database
        .batch(&format!("{LEDGER}; CREATE TABLE a (n int); INSERT INTO schema_migrations VALUES (1, true)"))
        .await;
    let refused = "migrate up would be refused: public.schema_migrations says that golang-migrate did not finish version 1 \
        (dirty); nothing was written; if all of its statements are applied, run: UPDATE public.schema_migrations SET dirty = false";
    for args in [&["status"][..], &["status", "--check"]] {
        let status = project.run(if args.len() > 1 { 4 } else { 0 }, args).stdout;
        assert!(status.contains(refused), "{status}");
    }
    let json = project.run(0, &["status", "--format", "json"]);
    assert!(json.events("status")[0]["refused"].as_str().unwrap().ends_with("did not finish version 1 (dirty)"));
    // What golang-migrate does not record is not made up.
    project.database.batch("UPDATE schema_migrations SET dirty = false").await;
    for _ in 0..2 {
        let status = project.run(0, &["status"]).stdout;
        assert!(status.contains("not recorded") && !status.contains("1970"), "{status}");
        let json = project.run(0, &["status", "--format", "json"]);
        assert_eq!(json.events("version")[0]["at"], serde_json::Value::Null);
        project.run(0, &["up"]);
    }
    // Our own history is complete, and the tool has been there again.
    project.database.batch("UPDATE schema_migrations SET version = 2, dirty = true").await;
    assert!(project.run(4, &["status", "--check"]).stdout.contains("did not finish version 2 (dirty)"));
}

#[tokio::test]
async fn keep_asks_for_the_rights_that_the_tools_row_needs() {
    let project = Project::new("rights", &format!("{GOLANG}keep = true\n")).await;
    project.write("sql/1_a.up.sql", "CREATE TABLE a (n int);\n");
    project.write("sql/2_b.up.sql", "CREATE TABLE b (n int);\n");
    let role = format!("keeper_{}", project.database.name);
    let database = &project.database.name;
    project
        .database
        .batch(&format!(
            "{LEDGER}; INSERT INTO schema_migrations VALUES (1, false); CREATE ROLE {role} LOGIN PASSWORD 'x';
             GRANT CREATE ON DATABASE {database} TO {role}; GRANT CREATE ON SCHEMA public TO {role};
             GRANT SELECT, INSERT ON schema_migrations TO {role}"
        ))
        .await;
    let url = crate::harness::with_authority(&project.database.url, Some(&format!("{role}:x")), None);
    let up = |code: i32| {
        let program = project.database.program().current_dir(&project.folder).env("DATABASE_URL", &url);
        program.args(["up"]).run().expect(code).stderr
    };
    let grant = format!("GRANT SELECT, INSERT, DELETE ON public.schema_migrations TO \"{role}\"");
    let refused = up(7);
    assert!(refused.contains(&grant), "{refused}");
    project.database.batch(&grant).await;
    up(0);
    project.database.batch(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn keep_asks_for_the_sequence_that_numbers_the_tools_rows() {
    let project = Project::new("serial", "[set.app]\ndir = \"sql\"\nlayout = \"goose\"\nkeep = true\n").await;
    project.write("sql/1_a.sql", "-- +goose Up\nCREATE TABLE a (n int);\n");
    let (role, database) = (format!("numberer_{}", project.database.name), &project.database.name);
    project
        .database
        .batch(&format!(
            "CREATE TABLE goose_db_version (id serial PRIMARY KEY, version_id bigint NOT NULL, is_applied boolean NOT NULL, tstamp timestamp DEFAULT now());
             INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, true); CREATE ROLE {role} LOGIN PASSWORD 'x';
             GRANT CREATE ON DATABASE {database} TO {role}; GRANT CREATE ON SCHEMA public TO {role};
             GRANT SELECT, INSERT ON goose_db_version TO {role}"
        ))
        .await;
    let url = crate::harness::with_authority(&project.database.url, Some(&format!("{role}:x")), None);
    let up = |code: i32| {
        let program = project.database.program().current_dir(&project.folder).env("DATABASE_URL", &url);
        program.args(["up"]).run().expect(code).stderr
    };
    let grant = format!("GRANT USAGE ON SEQUENCE public.goose_db_version_id_seq TO \"{role}\"");
    let refused = up(7);
    assert!(refused.contains(&grant), "{refused}");
    project.database.batch(&grant).await;
    up(0);
    project.database.batch(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn the_cleanup_of_an_index_looks_where_the_file_looks() {
    let project = Project::new("path", "[set.app]\ndir = \"sql\"\nlayout = \"migrate\"\n").await;
    project
        .write("sql/V1__a.sql", "CREATE SCHEMA app; CREATE TABLE app.t (n int); INSERT INTO app.t VALUES (1), (1);\n");
    project.run(0, &["up"]);
    let build = "CREATE UNIQUE INDEX CONCURRENTLY i ON app.t (n)";
    project.database.session().await.batch_execute(build).await.unwrap_err();
    project.database.batch("DELETE FROM app.t").await;
    let sql = "-- migrate: no-transaction\nSET search_path TO app, public;\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (n);\n";
    project.write("sql/V2__b.sql", sql);
    let planned = project.run(0, &["up", "--dry-run"]).stdout;
    assert!(planned.contains("would drop i, which an interrupted build left invalid"), "{planned}");
    project.run(0, &["up"]);
    assert!(
        project.database.value::<bool>("SELECT indisvalid FROM pg_index WHERE indexrelid = 'app.i'::regclass").await
    );
}

#[tokio::test]
async fn other_line_ends_of_a_repeatable_are_no_change() {
    let project = Project::new("crlf", "[set.app]\ndir = \"sql\"\nlayout = \"migrate\"\n").await;
    project.write("sql/V1__a.sql", "CREATE TABLE t (n int);\n");
    project.write("sql/R__v.sql", "CREATE OR REPLACE VIEW v AS\nSELECT 1 AS n;\n");
    project.run(0, &["up"]);
    project.write("sql/R__v.sql", "CREATE OR REPLACE VIEW v AS\r\nSELECT 1 AS n;\r\n");
    assert!(project.run(0, &["up"]).stdout.starts_with("nothing to do"));
}

#[tokio::test]
async fn status_keeps_its_columns_beside_long_versions() {
    let project = Project::new("columns", "[set.app]\ndir = \"sql\"\nlayout = \"sqlx\"\n").await;
    project.write("sql/1_a.sql", "SELECT 1;\n");
    project.write("sql/20260101000000_größer.sql", "SELECT 1;\n");
    let status = project.run(0, &["status"]).stdout;
    let columns: Vec<usize> = status
        .lines()
        .take(3)
        .map(|line| line.find("state").or_else(|| line.find("pending")).map(|at| line[..at].chars().count()).unwrap())
        .collect();
    assert!(columns.windows(2).all(|two| two[0] == two[1]), "{status}");
}

#[tokio::test]
async fn down_names_set_server_and_database_first() {
    let project = Project::new("down", "[set.app]\ndir = \"sql\"\n").await;
    project.write("sql/1_a.up.sql", "CREATE TABLE t (n int);\n");
    project.write("sql/1_a.down.sql", "DROP TABLE t;\n");
    project.write("migrate.toml", "[set.app]\ndir = \"sql\"\nlayout = \"migrate\"\n");
    project.run(0, &["up"]);
    for args in [&["down"][..], &["down", "--execute"]] {
        let said = project.run(0, args).stderr;
        assert!(said.starts_with("app (./sql, migrate) on ") && said.contains(&project.database.name), "{said}");
    }
}

#[tokio::test]
async fn a_hook_before_a_version_that_is_not_there_is_named_with_its_line() {
    let manifest = "[set.app]\ndir = \"sql\"\nlayout = \"migrate\"\n[set.app.hooks]\n\"7\" = [\"hourly-backfill\"]\n";
    let project = Project::new("hooked", manifest).await;
    project.write("sql/V1__a.sql", "SELECT 1;\n");
    let said = project.run(2, &["up"]).stderr;
    assert!(
        said.contains("error: line 5 of migrate.toml: hooks: there is no version 7 in ./sql; name a version by"),
        "{said}"
    );
}

#[tokio::test]
async fn a_table_or_an_owner_that_is_not_there_is_named() {
    let project = Project::new("missing", &format!("{GOLANG}take-over = {{ table = \"ops.versions\" }}\n")).await;
    project.write("sql/1_a.up.sql", "CREATE TABLE a (n int);\n");
    project.database.batch("CREATE TABLE other (n int)").await;
    let said = project.run(7, &["up"]).told().to_owned();
    let message = "error: take-over names ops.versions, which is not the history of a migration tool in this database; nothing was \
        written; check the name and its schema; for a tool that has not run here, say take-over = \"<tool>\", without a table\n";
    assert_eq!(said, message);
    project.write("migrate.toml", &format!("{GOLANG}owner = \"nobody here\"\n"));
    let message = "error: role nobody here, who is to own what is made, does not exist; nothing was written; create it, CREATE \
        ROLE \"nobody here\", or correct owner in migrate.toml\n";
    for args in [&["up"][..], &["up", "--dry-run"]] {
        assert_eq!(project.run(7, args).told(), message);
    }
    assert!(!project.is_there("a").await && !project.is_there("migrate.history_app").await);
}

#[tokio::test]
async fn keep_that_comes_later_writes_what_was_applied_before() {
    let project = Project::new("later", "[set.app]\ndir = \"sql\"\nlayout = \"goose\"\n").await;
    for n in 1..=2 {
        project.write(&format!("sql/{n}_a.sql"), &format!("-- +goose Up\nCREATE TABLE a{n} (n int);\n"));
    }
    project.run(0, &["up"]);
    assert!(!project.is_there("goose_db_version").await);
    project.write("migrate.toml", "[set.app]\ndir = \"sql\"\nlayout = \"goose\"\nkeep = true\n");
    project.write("sql/3_a.sql", "-- +goose Up\nCREATE TABLE a3 (n int);\n");
    project.run(0, &["up"]);
    let recorded: Vec<i64> = project
        .database
        .rows("SELECT version_id FROM goose_db_version WHERE is_applied AND version_id > 0 ORDER BY id", &[])
        .await
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(recorded, [1, 2, 3]);
    project.run(0, &["verify", "history"]);
}

#[tokio::test]
async fn owned_like_names_a_table_with_its_schema() {
    let manifest = "[set.app]\ndir = \"sql\"\nlayout = \"migrate\"\nowned-like = \"app.users\"\n";
    let project = Project::new("owned", manifest).await;
    project.write("sql/V1__a.sql", "CREATE TABLE notes (n int);\n");
    let role = format!("owner_{}", project.database.name);
    project
        .database
        .batch(&format!(
            "CREATE ROLE {role}; CREATE SCHEMA app; CREATE TABLE app.users (n int);
             CREATE TABLE public.users (n int); ALTER TABLE public.users OWNER TO {role}"
        ))
        .await;
    let said = project.run(7, &["up"]).told().to_owned();
    assert!(said.contains("table users is in schema app, which is not in the search path"), "{said}");
    // By its bare name it would be the other one, whose owner a superuser does not become.
    project.write("migrate.toml", &manifest.replace("app.users", "users"));
    let said = project.run_in("public,app", 7, &["up"]).told().to_owned();
    assert!(said.contains(&role), "{said}");
    project.write("migrate.toml", manifest);
    project.run_in("public,app", 0, &["up"]);
    project.run_in("public,app", 0, &["verify", "schema"]);
    project.database.batch(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}")).await;
}
