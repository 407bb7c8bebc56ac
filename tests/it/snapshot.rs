//! `migrate snapshot`: the schema as text, the same for the same schema, and its comparison with a file.

use std::path::{Path, PathBuf};

use migrate::CancellationToken;
use migrate::db::{Connector, Database};

use crate::harness::{Program, TestDatabase, special_server, stop_special_server, with_authority};

const RICH: &str = include_str!("fixtures/snapshot.sql");

/// The text of a database.
fn text(database: &TestDatabase) -> String {
    database.program().args(["snapshot"]).run().expect(0).stdout
}

/// A folder for the files of a test.
fn folder(database: &TestDatabase) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("snapshot-{}", database.name));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// `script/test` runs this on every server that it has a matrix for.
#[tokio::test]
async fn each_kind_of_object_reads_the_same_on_every_server() {
    let database = TestDatabase::empty().await;
    database.batch(RICH).await;
    let (found, expected) = (text(&database), include_str!("fixtures/snapshot.txt"));
    for (number, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "line {}", number + 1);
    }
    assert_eq!(found, expected);
    // What names and comments hold stands in no line of its own.
    assert!(!found.lines().any(|line| line.starts_with("table public.forged") || line.starts_with("table app.forged")));
    assert!(
        !["hunter1", "hunter2", "hunter3", "hunter4", "hunter5"].iter().any(|secret| found.contains(secret)),
        "a secret is shown"
    );
    database.batch("DROP USER MAPPING FOR PUBLIC SERVER remote").await;
}

#[tokio::test]
async fn the_order_of_the_migrations_leaves_no_trace() {
    let parts = [
        "CREATE TABLE a (id int PRIMARY KEY); ALTER TABLE a ADD x text NOT NULL; ALTER TABLE a ADD y int CHECK (y > 0);
         CREATE INDEX a_x ON a (x); CREATE INDEX a_y ON a (y);",
        "CREATE TABLE b (id int UNIQUE, at date); CREATE VIEW latest AS SELECT max(at) AS at FROM b;",
        "CREATE FUNCTION f(a int, b text) RETURNS int LANGUAGE sql AS 'SELECT 1';",
        "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE SCHEMA other; CREATE TABLE other.a ();",
    ];
    let again = [
        "CREATE SCHEMA other; CREATE TABLE other.a (gone int); ALTER TABLE other.a DROP gone;
         CREATE TYPE mood AS ENUM ('happy'); ALTER TYPE mood ADD VALUE 'sad' BEFORE 'happy';",
        "CREATE FUNCTION f(a int, b text) RETURNS int LANGUAGE sql AS 'SELECT 2';
         CREATE OR REPLACE FUNCTION f(a int, b text) RETURNS int LANGUAGE sql AS 'SELECT 1';",
        "CREATE TABLE b (at date, id int); CREATE VIEW latest AS SELECT max(at) AS at FROM b;
         ALTER TABLE b ADD UNIQUE (id);",
        "CREATE TABLE a (y int CHECK (y > 0), x text, id int); CREATE INDEX a_y ON a (y); CREATE INDEX a_x ON a (x);
         ALTER TABLE a ADD PRIMARY KEY (id), ALTER x SET NOT NULL;",
    ];
    let (one, other) = (TestDatabase::empty().await, TestDatabase::empty().await);
    one.batch(&parts.concat()).await;
    other.batch(&again.concat()).await;
    assert_eq!(text(&one), text(&other));
    assert!(text(&one).contains("table public.a\n    column id integer NOT NULL\n    column x text NOT NULL\n"));
}

#[tokio::test]
async fn what_tools_remember_is_no_part_of_the_schema() {
    let database = TestDatabase::empty().await;
    let empty = text(&database);
    assert_eq!(empty, "schema public\n");
    database
        .batch(
            "CREATE SCHEMA migrate; CREATE TABLE migrate.history_x (version bigint);
             CREATE TABLE goose_db_version (id serial PRIMARY KEY, version_id bigint, is_applied boolean, tstamp timestamp);
             CREATE SCHEMA drizzle;
             CREATE TABLE drizzle.__drizzle_migrations (id serial PRIMARY KEY, hash text NOT NULL, created_at bigint);
             CREATE TABLE schema_migrations (version varchar PRIMARY KEY);
             CREATE TABLE ar_internal_metadata (key varchar PRIMARY KEY, value varchar)",
        )
        .await;
    assert_eq!(text(&database), empty);
    // A name alone makes no history.
    database.batch("CREATE TABLE _sqlx_migrations (id int); CREATE TABLE drizzle.mine ()").await;
    let found = text(&database);
    assert!(found.contains("table public._sqlx_migrations\n    column id integer\n"), "{found}");
    assert!(found.contains("schema drizzle\n\ntable drizzle.mine\n"), "{found}");
    assert!(!found.contains("__drizzle") && !found.contains("sequence"), "{found}");
}

#[tokio::test]
async fn an_invalid_index_is_flagged() {
    let database = TestDatabase::empty().await;
    database.batch("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1)").await;
    let failed = database.session().await.batch_execute("CREATE UNIQUE INDEX CONCURRENTLY t_a ON t (a)").await;
    assert!(failed.is_err());
    let line = "    CREATE UNIQUE INDEX t_a ON public.t USING btree (a) INVALID\n";
    assert!(text(&database).contains(line), "{}", text(&database));
}

#[tokio::test]
async fn an_ordinary_role_with_settings_of_its_own_sees_the_same() {
    let database = TestDatabase::empty().await;
    database.batch(RICH).await;
    let role = format!("{}_reader", database.name);
    database
        .batch(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'secret';
             ALTER ROLE {role} SET search_path TO app, public;
             ALTER ROLE {role} SET quote_all_identifiers TO on;
             ALTER ROLE {role} SET bytea_output TO 'escape';
             ALTER ROLE {role} SET \"TimeZone\" TO 'Asia/Tokyo';
             ALTER ROLE {role} SET intervalstyle TO 'iso_8601'"
        ))
        .await;
    let url = with_authority(&database.url, Some(&format!("{role}:secret")), None);
    let seen = Program::new().env("DATABASE_URL", &url).args(["snapshot"]).run().expect(0);
    assert_eq!(seen.stdout, text(&database));
    database.batch(&format!("DROP ROLE {role}")).await;
}

#[tokio::test]
async fn check_compares_with_a_file_and_shows_the_difference() {
    let database = TestDatabase::empty().await;
    database.batch("CREATE TABLE note (id int, words text); CREATE TABLE other (id int)").await;
    let file = folder(&database).join("schema.txt");
    let file = file.to_str().unwrap();
    let run = |args: &[&str]| database.program().args(args.iter().copied()).run();

    let written = run(&["snapshot", file]).expect(0);
    assert_eq!(written.stdout, "");
    assert!(written.stderr.contains(&format!("the schema, 3 objects, is in {file}")), "{}", written.stderr);
    assert_eq!(std::fs::read_to_string(file).unwrap(), text(&database));
    let same = run(&["snapshot", "--check", file]).expect(0);
    assert_eq!(same.stdout, "");
    // As a checkout on Windows leaves it.
    std::fs::write(file, text(&database).replace('\n', "\r\n")).unwrap();
    run(&["snapshot", "--check", file]).expect(0);

    database.batch("ALTER TABLE note ALTER words SET NOT NULL").await;
    let changed = run(&["snapshot", file, "--check"]).expect(4);
    let diff: Vec<&str> = changed.stdout.lines().collect();
    assert_eq!(diff[0], format!("--- {file}"));
    assert!(
        diff[1].starts_with("+++ ") && diff[1].ends_with(&database.name) && !diff[1].contains("postgres:"),
        "{}",
        diff[1]
    );
    assert_eq!(diff[2], "@@ -2,7 +2,7 @@");
    assert_eq!(
        diff[3..],
        [
            " ",
            " table public.note",
            "     column id integer",
            "-    column words text",
            "+    column words text NOT NULL",
            " ",
            " table public.other",
            "     column id integer"
        ]
    );
    assert!(
        changed.stderr.contains(&format!("next: if the database is as it should be: migrate snapshot {file}")),
        "{}",
        changed.stderr
    );

    let json = run(&["--format", "json", "snapshot", "--check", file]).expect(4);
    let event = &json.events("snapshot_checked")[0];
    assert!(event["differs"] == true && event["diff"] == changed.stdout && event["file"] == file, "{event}");
    run(&["snapshot", file]).expect(0);
    let json = run(&["--format", "json", "snapshot", "--check", file]).expect(0);
    assert_eq!((json.events("snapshot_checked")[0]["differs"].as_bool(), json.json().len()), (Some(false), 1));
    let left = std::fs::read_dir(folder(&database)).unwrap().count();
    assert_eq!(left, 1, "nothing is left beside the file");
}

#[tokio::test]
async fn json_has_an_object_a_line() {
    let database = TestDatabase::empty().await;
    database.batch("CREATE TABLE note (id int)").await;
    let shown = database.program().args(["snapshot", "--format", "json"]).run().expect(0);
    let objects = shown.events("object");
    assert_eq!(objects.len(), 2);
    assert_eq!(objects[1]["kind"], "table");
    assert_eq!(objects[1]["schema"], "public");
    assert_eq!(objects[1]["name"], "public.note");
    assert_eq!(objects[1]["text"], "table public.note\n    column id integer");
    assert_eq!(shown.events("snapshot")[0]["objects"], 2);
    let file = folder(&database).join("schema.txt");
    let written = database.program().args(["snapshot", file.to_str().unwrap(), "--format", "json"]).run().expect(0);
    assert_eq!(written.json().len(), 1);
    assert_eq!(written.events("snapshot")[0]["objects"], 2);
}

#[tokio::test]
async fn a_file_is_replaced_where_it_is() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let database = TestDatabase::empty().await;
    let folder = folder(&database);
    let (real, link) = (folder.join("real.txt"), folder.join("link.txt"));
    std::fs::write(&real, "old").unwrap();
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
    symlink("real.txt", &link).unwrap();
    database.program().args(["snapshot", link.to_str().unwrap()]).run().expect(0);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(std::fs::read_to_string(&real).unwrap(), "schema public\n");
    assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
    // A pipe is written to.
    let piped = database.program().args(["snapshot", "/dev/stdout"]).run().expect(0);
    assert_eq!(piped.stdout, "schema public\n");
}

#[tokio::test]
async fn what_cannot_be_read_or_written_is_named() {
    let database = TestDatabase::empty().await;
    let folder = folder(&database);
    let [missing, lost, bytes] = ["none.txt", "no/such/folder.txt", "bytes.txt"].map(|name| folder.join(name));
    std::fs::write(&bytes, b"schema \xff").unwrap();
    let said = |args: &[&str], code: i32| database.program().args(args.iter().copied()).run().expect(code).stderr;
    let [missing, lost, bytes, folder] = [&missing, &lost, &bytes, &folder].map(|path| path.to_str().unwrap());

    let message = said(&["snapshot", "--check", missing], 1);
    assert!(message.contains(&format!("could not read {missing}: No such file or directory")), "{message}");
    assert!(message.contains(&format!("; write it first: migrate snapshot {missing}")), "{message}");
    let message = said(&["snapshot", lost], 1);
    assert!(
        message.contains(&format!("could not write the snapshot to {lost}: No such file or directory")),
        "{message}"
    );
    assert!(message.contains("; create the folder first"), "{message}");
    let message = said(&["snapshot", "--check", bytes], 1);
    assert!(message.contains(&format!("could not read {bytes}: it is not UTF-8 from byte 8 on")), "{message}");
    for args in [&["snapshot", folder][..], &["snapshot", "--check", folder]] {
        let message = said(args, 1);
        assert!(message.contains(&format!("{folder}: Is a directory")), "{message}");
    }
    let message = said(&["snapshot", "--check"], 2);
    assert!(message.contains("<FILE>"), "{message}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_leaves_the_old_file() {
    let (url, _) = special_server("snapshot", &[]);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("snapshot-{}.txt", std::process::id()));
    let run = |args: &[&str]| Program::new().env("DATABASE_URL", &url).args(args.iter().copied()).run();
    run(&["snapshot", file.to_str().unwrap()]).expect(0);
    let before = std::fs::read_to_string(&file).unwrap();
    stop_special_server(&url, "INT").await;
    let failed = run(&["snapshot", file.to_str().unwrap()]).expect(6);
    assert!(failed.stderr.contains("cannot connect to"), "{}", failed.stderr);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    run(&["snapshot", "--check", file.to_str().unwrap()]).expect(6);
}

#[tokio::test]
async fn the_library_gives_the_same_text_at_one_moment() {
    let database = TestDatabase::empty().await;
    database.batch("CREATE TABLE note (id int)").await;
    let connector = Connector::new(Database::from_url(&database.url).unwrap(), CancellationToken::new());
    for connector in [connector.clone(), connector.read_only()] {
        let connection = connector.connect("test").await.unwrap();
        let found = migrate::engine::snapshot(&connection).await.unwrap();
        assert_eq!(found, text(&database));
        // The session is as it was before.
        let row = connection.query_one("SELECT current_setting('search_path'), count(*) FROM note", &[]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), "\"$user\", public");
        connection.close().await;
    }
}
