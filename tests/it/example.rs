//! The example is a program that works.

use std::path::Path;
use std::process::Command;

use crate::harness::TestDatabase;

#[tokio::test]
async fn another_program_embeds_the_library_with_a_chain_of_its_own() {
    let database = TestDatabase::empty().await;
    let example = Path::new(env!("CARGO_BIN_EXE_migrate")).with_file_name("examples").join("own_chain");
    let run = || {
        let output = Command::new(&example).env("DATABASE_URL", &database.url).output().expect("the example is built");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run(), "applied V1 note\nfill-slugs gave 2 notes a slug\napplied V2 note_slug\nat version 2\n");
    assert_eq!(run(), "at version 2\n");
    let slugs: Vec<String> =
        database.rows("SELECT slug FROM note ORDER BY id", &[]).await.iter().map(|row| row.get(0)).collect();
    assert_eq!(slugs, ["first-note", "second-note"]);
    let lines = include_str!("../../examples/own_chain.rs").lines().count();
    assert!(lines < 80, "{lines} lines");
}

/// What an example prints to its two outputs, and how it ends.
fn example(name: &str, database: &TestDatabase, args: &[&str]) -> (Option<i32>, String, String) {
    let example = Path::new(env!("CARGO_BIN_EXE_migrate")).with_file_name("examples").join(name);
    let output = Command::new(&example).args(args).env("DATABASE_URL", &database.url).output().expect("it is built");
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
    let (code, _, said) = example("own_chain", &database, &[]);
    assert_eq!(code, Some(1));
    assert_eq!(
        said,
        "Error: V1__note.sql failed: relation \"note\" already exists (SQLSTATE 42P07)\n\
         next: an object of that name exists. If a backup was restored in part, or over a newer database, the history is older \
         than the objects: restore the backup whole, with the schema migrate, into an empty database, and run the migrations \
         there. If the object is not this program's, rename or drop it, then run the migrations again\n"
    );
}
