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
