//! A database of somebody else, and a set that nobody has chosen.

use std::path::{Path, PathBuf};

use crate::harness::{TestDatabase, server_url};

/// An empty folder of a test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("others-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("db/migrations")).unwrap();
    folder
}

/// The server as the URL names it.
fn server() -> String {
    let url = server_url();
    let after_user = url.rsplit('@').next().unwrap();
    after_user.split('/').next().unwrap().to_owned()
}

#[tokio::test]
async fn the_default_set_refuses_a_database_that_somebody_else_has_filled() {
    let database = TestDatabase::empty().await;
    database
        .batch(
            "CREATE TABLE users (id bigserial PRIMARY KEY); CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY);
             CREATE VIEW shop AS SELECT * FROM users; CREATE SCHEMA more; CREATE SEQUENCE more.numbers",
        )
        .await;
    let here = folder("refused");
    let message = format!(
        "error: database {} on {} holds orders, users, more.numbers and 1 more, and set platform has never been applied \
         there\nnext: nothing was written; check the URL. To apply a folder of migrations: migrate --dir migrations up. To lay \
         the tables of set platform beside these: migrate --set platform up\n",
        database.name,
        server()
    );
    for command in [&["up"][..], &["up", "--dry-run"], &["status"], &["status", "--check"]] {
        let said = database.program().current_dir(&here).args(command.iter().copied().chain(["-q"])).run().expect(7);
        assert_eq!(said.stderr.replace("; nothing was", "\nnext: nothing was"), message, "{command:?}");
    }
    let event = database.program().current_dir(&here).args(["up", "--format", "json"]).run().expect(7);
    assert_eq!(event.events("error")[0]["exit_code"], 7);
    assert!(!database.value::<bool>("SELECT to_regnamespace('migrate') IS NOT NULL").await);

    // Who names it means it.
    database.program().current_dir(&here).args(["--set", "platform", "up", "--dry-run"]).run().expect(0);
    // A folder is what its author says it is.
    std::fs::write(here.join("db/migrations/1_a.sql"), "CREATE TABLE a ();\n").unwrap();
    let said = database.program().current_dir(&here).args(["up"]).run().expect(7).stderr;
    assert!(said.contains("To apply a folder of migrations: migrate --dir ./db/migrations up."), "{said}");
    let said = database.program().current_dir(&here).args(["--dir", "db/migrations", "up"]).run().expect(0);
    assert!(said.stderr.starts_with("main (./db/migrations, migrate) on "), "{}", said.stderr);
}

#[tokio::test]
async fn what_an_extension_has_made_is_nobody_s() {
    let database = TestDatabase::empty().await;
    database.batch("CREATE SCHEMA stat; CREATE EXTENSION pg_stat_statements SCHEMA stat").await;
    database.program().args(["up"]).run().expect(0);
    // From here on it is known, whatever else is made.
    database.batch("CREATE TABLE users ()").await;
    database.program().args(["status", "--check"]).run().expect(0);
    database.program().args(["up"]).run().expect(0);
}

#[tokio::test]
async fn a_database_that_is_left_alone_when_empty_may_hold_anything() {
    let database = TestDatabase::empty().await;
    database.batch("CREATE TABLE users ()").await;
    database.program().args(["up", "--skip-empty"]).run().expect(0);
}

#[tokio::test]
async fn a_folder_of_migrations_that_nobody_has_named_is_pointed_out() {
    let database = TestDatabase::empty().await;
    let here = folder("beside");
    std::fs::write(here.join("db/migrations/1_a.sql"), "CREATE TABLE a ();\n").unwrap();
    let notice = "./db/migrations holds migrations that this command does not look at; migrate --dir ./db/migrations up \
                  applies them\n";
    for command in [&["status"][..], &["up", "--dry-run"], &["up", "--target", "1"]] {
        let said = database.program().current_dir(&here).args(command.iter().copied()).run().expect(0).stderr;
        assert!(said.contains(notice), "{command:?}: {said}");
    }
    let said = database.program().current_dir(&here).args(["up"]).run().expect(0).stderr;
    assert!(!said.contains("holds migrations"), "{said}");
}

#[tokio::test]
async fn a_run_says_first_where_it_is() {
    let database = TestDatabase::empty().await;
    let version: String = database.value("SELECT split_part(current_setting('server_version'), ' ', 1)").await;
    let role: String = database.value("SELECT current_user::text").await;
    let line = format!("platform on {}/{}, PostgreSQL {version}, as {role}\n", server(), database.name);
    for command in [&["status"][..], &["up", "--dry-run"], &["up"]] {
        let said = database.program().args(command.iter().copied()).run().expect(0).stderr;
        assert!(said.starts_with(&line), "{command:?}: {said}");
        let said = database.program().args(command.iter().copied().chain(["-q"])).run().expect(0).stderr;
        assert!(!said.contains(&line), "{command:?}: {said}");
    }
    let event = database.program().args(["up", "--format", "json"]).run().expect(0);
    let connected = &event.events("connected")[0];
    let at = format!("{}:{}", connected["host"].as_str().unwrap(), connected["port"]);
    assert_eq!(at, server());
}
