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
