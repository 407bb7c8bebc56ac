//! The examples are programs that work.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::TestDatabase;

#[tokio::test]
async fn another_program_has_the_whole_command_line_for_a_chain_of_its_own() {
    let database = TestDatabase::empty().await;
    let run = |args: &[&str]| example("own_chain", &database, args);
    let (code, said, _) = run(&["status", "--check"]);
    assert!(code == Some(3) && said.ends_with("2 versions pending; run notes-admin up\n"), "{code:?} {said}");
    let (code, said, aside) = run(&["up", "--target", "1"]);
    assert!(code == Some(0) && said.contains("version 1 (1 migration, 0 hooks, "), "{said}{aside}");
    database.batch("INSERT INTO note (title) VALUES ('First note'), ('Second note')").await;
    let (code, said, aside) = run(&["up", "--dry-run"]);
    assert!(code == Some(0) && said.contains("would give every note a slug"), "{said}{aside}");
    assert!(said.ends_with("nothing was written; run notes-admin up to do it\n"), "{said}");
    let (code, said, aside) = run(&["up", "--format", "json"]);
    assert!(
        code == Some(0) && said.contains("\"summary\":\"gave 2 notes a slug\",\"details\":{\"filled\":2}"),
        "{said}{aside}"
    );
    assert_eq!(run(&["status", "--check"]).0, Some(0));
    let slugs: Vec<String> =
        database.rows("SELECT slug FROM note ORDER BY id", &[]).await.iter().map(|row| row.get(0)).collect();
    assert_eq!(slugs, ["first-note", "second-note"]);
    let (code, _, said) = run(&["up", "--target", "3"]);
    assert_eq!((code, said.lines().last()), (Some(2), Some("error: there is no version 3: the latest is 2")));
}

#[tokio::test]
async fn ctrl_c_ends_another_program_with_a_clean_rollback() {
    let database = TestDatabase::empty().await;
    assert_eq!(example("own_chain", &database, &["up", "--target", "1"]).0, Some(0));
    let blocking = database.session().await;
    blocking.batch_execute("BEGIN; LOCK TABLE note").await.unwrap();
    let mut command = Command::new(example_file("own_chain"));
    let mut running = command.arg("up").env("DATABASE_URL", &database.url).stderr(Stdio::piped()).spawn().unwrap();
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while database.value::<i64>(waits).await == 0 {
        assert!(running.try_wait().unwrap().is_none(), "it ends without waiting");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let signalled = Command::new("sh").args(["-c", "kill -s INT \"$0\"", &running.id().to_string()]).status();
    assert!(signalled.expect("a shell").success());
    let output = running.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("interrupted: unfinished work was rolled back"), "{said}");
}

#[test]
fn an_example_is_as_long_as_what_a_reader_remembers() {
    for (text, most) in [
        (include_str!("../../examples/own_chain.rs"), 45),
        (include_str!("../../examples/at_start.rs"), 20),
        (include_str!("../../examples/own_repair.rs"), 65),
    ] {
        assert!(text.lines().count() <= most, "{} lines, {most} at most: {text}", text.lines().count());
    }
}

#[tokio::test]
async fn several_servers_that_migrate_at_their_start_do_it_once() {
    let database = TestDatabase::empty().await;
    let start = || {
        let mut command = Command::new(example_file("at_start"));
        let command = command.env("DATABASE_URL", &database.url).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the example is built")
    };
    for server in [(); 4].map(|()| start()) {
        let output = server.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "at version 2\n");
    }
    let rows: i64 = database.value("SELECT count(*) FROM migrate.history_notes").await;
    assert_eq!(rows, 2);
}

fn example_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_migrate")).with_file_name("examples").join(name)
}

/// What an example prints to its two outputs, and how it ends.
fn example(name: &str, database: &TestDatabase, args: &[&str]) -> (Option<i32>, String, String) {
    let output =
        Command::new(example_file(name)).args(args).env("DATABASE_URL", &database.url).output().expect("it is built");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn a_hint_names_the_program_that_shows_it() {
    let database = TestDatabase::empty().await;
    let (code, said, _) = example("own_repair", &database, &["status"]);
    assert!(code == Some(0) && said.ends_with("1 version pending; run notes up\n"), "{said}");
    let (_, said, _) = example("own_repair", &database, &["--set", "notes", "up", "--dry-run"]);
    assert!(said.ends_with("nothing was written; run notes --set notes up to do it\n"), "{said}");
    database.batch("CREATE TABLE note ()").await;
    let (code, _, said) = example("own_repair", &database, &["up"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(", and run notes up there. ") && said.ends_with(", then run notes up again\n"), "{said}");
    let (_, said, _) = example("own_repair", &database, &["up", "--format", "json"]);
    assert!(said.contains("then run notes up again\""), "{said}");
    let (code, _, said) = example("own_repair", &database, &["repair", "undo", "7"]);
    assert_eq!(
        (code, said.as_str()),
        (Some(7), "error: there is no repair run 7 in this database; notes repair runs lists all runs\n")
    );
}

/// As Rust prints the error of `main`, without a word about a command line that the program does not have.
#[tokio::test]
async fn an_error_of_the_library_is_readable_where_main_returns_it() {
    let database = TestDatabase::empty().await;
    database.batch("CREATE TABLE note ()").await;
    let (code, _, said) = example("at_start", &database, &[]);
    assert_eq!(code, Some(1));
    assert_eq!(
        said,
        "Error: 1_note.sql failed: relation \"note\" already exists (SQLSTATE 42P07)\n\
         next: an object of that name exists. If a backup was restored in part, or over a newer database, the history is older \
         than the objects: restore the backup whole, with the schema migrate, into an empty database, and run the migrations \
         there. If the object is not this program's, rename or drop it, then run the migrations again\n"
    );
}
