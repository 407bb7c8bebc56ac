//! Several sets in one database: each has its own history, its own files, and its own schema.

use crate::harness::Project;

const TWO: &str = "[set.a]\ndir = \"a\"\nlayout = \"dbmate\"\nkeep = true\n[set.b]\ndir = \"b\"\nlayout = \"dbmate\"\n";

/// Two folders whose files have the same numbers, for a tool that records nothing else.
async fn two(name: &str, manifest: &str) -> Project {
    let project = Project::new(name, manifest).await;
    for set in ["a", "b"] {
        project.write(
            &format!("{set}/1_t.sql"),
            &format!("-- migrate:up\nCREATE TABLE {set}1 (n int);\n-- migrate:down\n"),
        );
        project.write(
            &format!("{set}/2_t.sql"),
            &format!("-- migrate:up\nCREATE TABLE {set}2 (n int);\n-- migrate:down\n"),
        );
    }
    project
}

#[tokio::test]
async fn a_history_that_another_set_continues_is_not_taken_over() {
    let project = two("shared", TWO).await;
    project.run(0, &["up", "--set", "a"]);
    let message = "error: set a continues public.schema_migrations, so what that records would count as applied for set b, too; \
        nothing was written; a history is continued by one set: write take-over = false into [set.b], or give it a table of its \
        own, take-over = { table = \"...\" }, and rename public.schema_migrations if it is not the other one's\n";
    for args in [&["up", "--set", "b"][..], &["up", "--set", "b", "--dry-run"]] {
        assert_eq!(project.run(7, args).told(), message);
    }
    let status = project.run(4, &["status", "--set", "b", "--check"]).stdout;
    assert!(
        status.contains("migrate --set b up would be refused: set a continues public.schema_migrations"),
        "{status}"
    );
    // What would be refused is not announced.
    assert!(!status.contains("to adopt") && status.contains("pending"), "{status}");
    assert!(!project.is_there("migrate.history_b").await);
    // The set that continues it goes on.
    assert!(project.run(0, &["up", "--set", "a"]).stdout.starts_with("nothing to do"));
    project.write("a/3_t.sql", "-- migrate:up\nCREATE TABLE a3 (n int);\n-- migrate:down\n");
    project.run(0, &["up", "--set", "a"]);

    project.write("migrate.toml", &format!("{TWO}take-over = false\n"));
    project.run(0, &["up", "--set", "b"]);
    assert!(project.is_there("b2").await);
    assert_eq!(project.database.value::<i64>("SELECT count(*) FROM schema_migrations").await, 3);
    assert!(project.run(0, &["up", "--set", "a"]).stdout.starts_with("nothing to do"));
}

#[tokio::test]
async fn a_history_that_another_set_has_taken_over_is_not_taken_over_again() {
    let project = two("taken", &TWO.replace("keep = true\n", "")).await;
    project
        .database
        .batch("CREATE TABLE schema_migrations (version varchar PRIMARY KEY); CREATE TABLE a1 (n int)")
        .await;
    project.database.batch("INSERT INTO schema_migrations VALUES ('1')").await;
    project.run(0, &["up", "--set", "a"]);
    let refused = project.run(7, &["up", "--set", "b"]).stderr;
    assert!(refused.contains("set a continues public.schema_migrations"), "{refused}");
    assert!(!project.is_there("b1").await);
}

#[tokio::test]
async fn a_renamed_set_is_refused_with_what_renames_its_history() {
    let project = Project::new("renamed", "[set.app]\ndir = \"sql\"\n").await;
    project.write("sql/V1__a.sql", "CREATE TABLE t (n int);\n");
    project.write("sql/V2__b.sql", "INSERT INTO t VALUES (1);\n");
    project.run(0, &["up"]);
    project.write("sql/V3__c.sql", "INSERT INTO t VALUES (2);\n");
    // The folder alone is the set main, where no manifest is found.
    let elsewhere = project.folder.join("sql");
    project.write("other.toml", "[set.my-app]\ndir = \"sql\"\n");
    std::fs::remove_file(project.folder.join("migrate.toml")).unwrap();
    let main = project.database.program().current_dir(&elsewhere).args(["up", "--dir", "."]).run().expect(7);
    let message = "set main has never been applied here, and set app has applied the same files: V1__a.sql, V2__b.sql; nothing \
        was written; to continue that history, run the set as app (--set app, where migrate.toml names it; --config FILE finds \
        that). If app is called main from now on, run: BEGIN; ALTER TABLE migrate.history_app RENAME TO history_main; UPDATE";
    assert!(main.told().contains(message), "{}", main.told());
    assert!(!project.is_there("migrate.history_main").await);

    let renamed = project.run(7, &["up", "--config", "other.toml"]).told().to_owned();
    let statement = renamed.split("run: ").last().unwrap().trim();
    project.database.batch(statement).await;
    project.run(0, &["up", "--config", "other.toml"]);
    assert_eq!(project.database.value::<i64>("SELECT count(*) FROM t").await, 2);
    assert_eq!(project.database.value::<i64>("SELECT count(*) FROM migrate.history_my_app").await, 3);
}

#[tokio::test]
async fn a_set_that_was_applied_in_another_schema_is_refused() {
    let project = Project::new("tenants", "default = \"a\"\n[set.a]\ndir = \"sql\"\n[set.b]\ndir = \"sql\"\n").await;
    project.write("sql/V1__a.sql", "CREATE TABLE t (n int);\n");
    project.database.batch("CREATE SCHEMA tenant_a; CREATE SCHEMA tenant_b").await;
    project.run_in("tenant_a", 0, &["up"]);
    assert!(project.run_in("tenant_a", 0, &["up"]).stdout.starts_with("nothing to do"));
    let message = "error: set a was applied in schema tenant_a, and the search path begins with tenant_b now; nothing was \
        written; for schema tenant_a, add to the URL: ?options=-csearch_path%3Dtenant%5Fa. A set has one history: to apply the \
        files to tenant_b, too, give that schema a set of its own in migrate.toml. If tenant_a is called tenant_b now, run: \
        UPDATE migrate.history_a SET in_schema = ARRAY['tenant_b'];\n";
    assert_eq!(project.run_in("tenant_b", 7, &["up"]).told(), message);
    project.run_in("tenant_b", 4, &["status", "--check"]);
    project.run_in("tenant_b", 7, &["down"]);
    // Each schema has a set of its own, though the files are the same.
    project.run_in("tenant_b", 0, &["up", "--set", "b"]);
    assert!(project.is_there("tenant_b.t").await);
    // A schema that was renamed.
    project.database.batch("ALTER SCHEMA tenant_a RENAME TO moved").await;
    let told = project.run_in("moved", 7, &["up"]).told().to_owned();
    project.database.batch(told.split("run: ").last().unwrap()).await;
    assert!(project.run_in("moved", 0, &["up"]).stdout.starts_with("nothing to do"));
}

#[tokio::test]
async fn a_set_whose_files_make_their_schema_goes_on_in_it() {
    let project = Project::new("own-schema", "[set.a]\ndir = \"sql\"\n").await;
    project.write("sql/V1__a.sql", "CREATE SCHEMA app; CREATE TABLE app.t (n int);\n");
    project.run_in("app,public", 0, &["up"]);
    assert!(project.run_in("app,public", 0, &["up"]).stdout.starts_with("nothing to do"));
    project.write("sql/V2__b.sql", "CREATE TABLE u (n int);\n");
    project.run_in("app,public", 0, &["up"]);
    assert!(project.is_there("app.u").await);
    // A file that says itself where it works changes nothing for the next run.
    project.write("sql/V3__c.sql", "CREATE SCHEMA other; SET search_path = other; CREATE TABLE v (n int);\n");
    project.run_in("app,public", 0, &["up"]);
    assert!(project.run_in("app,public", 0, &["up"]).stdout.starts_with("nothing to do"));
    project.database.batch("CREATE SCHEMA tenant").await;
    project.run_in("tenant", 7, &["up"]);
}

#[tokio::test]
async fn what_a_file_sets_does_not_reach_its_record() {
    let project = Project::new("settings", "[set.a]\ndir = \"sql\"\n").await;
    let settings = "SET client_encoding = 'LATIN1'; SET standard_conforming_strings = off; SET backslash_quote = on;\n";
    project.write("sql/V1__café_a\\b.sql", settings);
    project.database.batch("CREATE ROLE settings_left NOLOGIN").await;
    project.write("sql/V2__b.sql", "CREATE TABLE t (n int);\nSET ROLE settings_left;\n");
    // The same behind an index that is built without a transaction.
    let file = "-- migrate: no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS t_n ON t (n);\nALTER TABLE t ALTER n SET NOT NULL;\n";
    project.write("sql/V3__é.sql", &format!("{file}{settings}SET ROLE settings_left;\n"));
    project.write("sql/V4__c.sql", "CREATE TABLE u (n int);\n");
    project.run(0, &["up"]);
    assert!(project.run(0, &["up"]).stdout.starts_with("nothing to do"));
    let name: String = project.database.value("SELECT name FROM migrate.history_a WHERE version = 1").await;
    assert_eq!(name, "café_a\\b");
    project.database.batch("DROP ROLE settings_left").await;
}

#[tokio::test]
async fn a_file_that_was_stopped_between_its_transactions_is_not_recorded_by_advice() {
    let manifest = "[set.a]\ndir = \"sql\"\nlayout = \"golang-migrate\"\ntake-over = \"golang-migrate\"\nkeep = true\n";
    let project = Project::new("stopped", manifest).await;
    project.write("sql/1_a.up.sql", "CREATE TABLE t (n int);\n");
    project.run(0, &["up"]);
    let text = "BEGIN; CREATE TABLE z (n int); COMMIT; CREATE TABLE z2 (n int); SELECT 1 / count(*) FROM t; CREATE TABLE z3 (n int);\n";
    project.write("sql/2_b.up.sql", text);
    project.run(1, &["up"]);
    assert!(project.is_there("z").await);
    let again = project.run(1, &["up"]);
    let told = again.told();
    assert!(told.contains("an earlier try may have committed a part of this file before it was stopped"), "{told}");
    assert!(told.contains("or run the rest by hand, and record it: "), "{told}");
}

#[tokio::test]
async fn a_history_from_before_schemas_were_recorded_goes_on() {
    let project = Project::new("before", "[set.a]\ndir = \"sql\"\n").await;
    project.write("sql/V1__a.sql", "CREATE TABLE t (n int);\n");
    project.run(0, &["up"]);
    project.database.batch("ALTER TABLE migrate.history_a DROP COLUMN in_schema, DROP COLUMN continues").await;
    project.database.batch("CREATE SCHEMA other").await;
    assert!(project.run_in("other,public", 0, &["up"]).stdout.starts_with("nothing to do"));
    project.run(0, &["status", "--check"]);
    project.write("sql/V2__b.sql", "CREATE TABLE u (n int);\n");
    project.run(0, &["up"]);
    let recorded: Vec<Option<Vec<String>>> = project
        .database
        .rows("SELECT in_schema FROM migrate.history_a ORDER BY version", &[])
        .await
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(recorded, [None, Some(vec!["public".to_owned(), "public".to_owned()])]);
    project.run_in("other,public", 7, &["up"]);
}
