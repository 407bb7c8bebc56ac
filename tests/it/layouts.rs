//! A folder of each layout: fresh, begun by its tool, taken back to the start where it has ways back, and up again. The
//! schema is the same at the ends.

use std::path::{Path, PathBuf};

use migrate::engine::Set;
use migrate::engine::tool::{self, Tool, ToolTable};
use migrate::layout::{self, Layout, Options, Sources};

use crate::harness::TestDatabase;

/// What four versions do, and what takes each back.
const STEPS: [(&str, &str, &str); 4] = [
    ("1", "CREATE TABLE person (id bigint PRIMARY KEY, name text NOT NULL);", "DROP TABLE person;"),
    (
        "2",
        "ALTER TABLE person ADD COLUMN born date;\nINSERT INTO person VALUES (1, 'a');",
        "DELETE FROM person;\nALTER TABLE person DROP COLUMN born;",
    ),
    (
        "3",
        "CREATE FUNCTION twice(n int) RETURNS int LANGUAGE plpgsql AS $$\nBEGIN\n    RETURN n * 2;\nEND\n$$;",
        "DROP FUNCTION twice(int);",
    ),
    ("4", "CREATE VIEW adult AS SELECT id FROM person WHERE born < '2000-01-01';", "DROP VIEW adult;"),
];

/// The files of a layout: each path with its text.
fn files(layout: Layout) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for (n, up, down) in STEPS {
        let mut add = |path: String, text: &str| files.push((path, text.to_owned()));
        let stamp = format!("2024010100000{n}");
        match layout {
            Layout::Migrate => {
                add(format!("V{n}__step.sql"), up);
                // The last way back drops what the repeatable file makes, which then has to be made again.
                let down = if n == "4" { format!("{down}\nDROP VIEW named;") } else { down.to_owned() };
                add(format!("V{n}__step.down.sql"), &down);
            }
            Layout::Refinery => add(format!("V{n}__step.sql"), up),
            Layout::Flyway => {
                add(format!("V1.{n}__A_step.sql"), up);
                add(format!("U1.{n}__A_step.sql"), down);
            }
            Layout::Sqlx | Layout::GolangMigrate => {
                add(format!("000{n}_step.up.sql"), up);
                add(format!("000{n}_step.down.sql"), down);
            }
            // The first two have one number.
            Layout::UpDown => {
                let name = if n == "1" { "002_a_step".to_owned() } else { format!("00{n}_step") };
                add(format!("{name}.up.sql"), up);
                add(format!("{name}.down.sql"), down);
            }
            Layout::Supabase => add(format!("{stamp}_step.sql"), up),
            Layout::Atlas => add(format!("{stamp}_step.sql"), up),
            Layout::Dbmate => {
                add(format!("{stamp}_step.sql"), &format!("-- migrate:up\n{up}\n\n-- migrate:down\n{down}\n"));
            }
            Layout::Goose => {
                let (begin, end) = ("-- +goose StatementBegin", "-- +goose StatementEnd");
                let up = if n == "3" { format!("{begin}\n{up}\n{end}") } else { up.to_owned() };
                add(format!("0000{n}_step.sql"), &format!("-- +goose Up\n{up}\n\n-- +goose Down\n{down}\n"));
            }
            Layout::Diesel => {
                add(format!("2024-01-01-00000{n}_step/up.sql"), up);
                add(format!("2024-01-01-00000{n}_step/down.sql"), down);
            }
            Layout::Prisma | Layout::DrizzleFolders => add(format!("{stamp}_step/migration.sql"), up),
            Layout::Drizzle => {
                add(format!("000{n}_step.sql"), &up.replace(";\nINSERT", ";\n--> statement-breakpoint\nINSERT"))
            }
        }
    }
    match layout {
        Layout::Migrate => {
            let text = "DROP VIEW IF EXISTS named;\nCREATE VIEW named AS SELECT name FROM person;\n";
            files.push(("R__named.sql".to_owned(), text.to_owned()));
        }
        Layout::Prisma => files.push(("migration_lock.toml".to_owned(), "provider = \"postgresql\"\n".to_owned())),
        Layout::Drizzle => {
            let entry = |n: u32| {
                format!(
                    "{{\"idx\":{},\"version\":\"7\",\"when\":170000000000{n},\"tag\":\"000{n}_step\",\"breakpoints\":true}}",
                    n - 1
                )
            };
            let entries: Vec<_> = (1..=4).map(entry).collect();
            let journal =
                format!("{{\"version\":\"7\",\"dialect\":\"postgresql\",\"entries\":[{}]}}", entries.join(","));
            files.push(("meta/_journal.json".to_owned(), journal));
        }
        _ => {}
    }
    files
}

/// A folder of its own for each layout, with a manifest beside it.
fn folder(layout: Layout) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("layouts-{}-{layout}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    for (path, text) in files(layout) {
        let path = folder.join("files").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let keep = Tool::from_key(layout.key()).is_some_and(|tool| tool::cannot_keep(tool).is_none());
    let manifest = format!("[set.app]\ndir = \"files\"\nlayout = \"{layout}\"\nkeep = {keep}\n");
    std::fs::write(folder.join("migrate.toml"), manifest).unwrap();
    folder
}

/// Applies the first two versions as the tool would, and records them in its history.
async fn begin(database: &TestDatabase, layout: Layout, folder: &Path) {
    let Some(tool) = Tool::from_key(layout.key()) else { return };
    let sources = Sources::read(&folder.join("files")).unwrap();
    let set = Set::builder("app").folder(layout::read(&sources, layout, &Options::default()).unwrap()).build().unwrap();
    let table = ToolTable::planned(tool, "public", None, false);
    database.batch(&tool::create(&table)).await;
    for migration in &set.migrations()[..2] {
        database.batch(&format!("{};{}", migration.sql(), tool::insert(&table, migration))).await;
    }
}

/// The rows of our own history are compared, and so is the schema; that of the tool is left out of it.
fn snapshot(database: &TestDatabase) -> String {
    database.program().args(["snapshot"]).run().expect(0).stdout
}

async fn walks(layout: Layout) {
    let folder = folder(layout);
    let run = |database: &TestDatabase, args: &[&str], code: i32| {
        database.program().current_dir(&folder).args(args.iter().copied()).run().expect(code).stdout
    };
    let fresh = TestDatabase::empty().await;
    let empty = snapshot(&fresh);
    run(&fresh, &["up"], 0);
    let built = snapshot(&fresh);
    assert_ne!(built, empty);
    assert!(run(&fresh, &["up"], 0).contains("nothing to do"), "{layout}");

    let begun = TestDatabase::empty().await;
    begin(&begun, layout, &folder).await;
    run(&begun, &["up"], 0);
    assert_eq!(snapshot(&begun), built, "{layout}: begun by its tool");
    run(&begun, &["status", "--check"], 0);
    run(&begun, &["verify", "history"], 0);

    let has_ways_back = files(layout).iter().any(|(path, text)| {
        path.ends_with(".down.sql")
            || path.ends_with("down.sql")
            || path.starts_with('U')
            || text.contains(":down")
            || text.contains("goose Down")
    });
    for database in [&fresh, &begun] {
        if !has_ways_back {
            run(database, &["down", "--to", "0", "--execute", "--lose-data"], 7);
            assert_eq!(snapshot(database), built, "{layout}");
            continue;
        }
        run(database, &["down", "--to", "0", "--lose-data"], 0);
        assert_eq!(snapshot(database), built, "{layout}: a dry run");
        run(database, &["down", "--to", "0", "--execute", "--lose-data"], 0);
        assert_eq!(snapshot(database), empty, "{layout}: at the start");
        run(database, &["up"], 0);
        assert_eq!(snapshot(database), built, "{layout}: up again");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn each_layout_walks_up_and_back_to_the_same_schema() {
    // Atlas signs its folder in atlas.sum, which only Atlas writes.
    for layout in Layout::ALL.into_iter().filter(|layout| *layout != Layout::Atlas) {
        walks(layout).await;
    }
}
