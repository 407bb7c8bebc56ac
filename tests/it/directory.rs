//! Sets that are folders of files: which one is meant, and the commands that write them.

use std::path::{Path, PathBuf};

use crate::harness::{Program, TestDatabase};

/// An empty folder of a test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("directory-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A file below a folder.
fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// What the program says on standard error.
#[track_caller]
fn said(folder: &Path, code: i32, args: &[&str]) -> String {
    Program::new().current_dir(folder).args(args.iter().copied()).run().expect(code).stderr
}

#[test]
fn a_mistake_in_the_manifest_stops_every_command_before_it_connects() {
    let folder = folder("mistake");
    write(&folder, "migrations/V1__a.sql", "SELECT 1;\n");
    write(&folder, "migrate.toml", "[set.app]\ndir = \"migrations\"\nlayuot = \"sqlx\"\n");
    let message = "error: line 3 of migrate.toml: unknown key layuot in [set.app]; did you mean layout?\n";
    for command in [&["up"][..], &["status", "--check"], &["verify"], &["repair", "list"], &["new", "a"]] {
        assert_eq!(said(&folder, 2, command), message);
        let url = [command, &["--database-url", "postgres://nobody@nowhere.invalid/none"]].concat();
        assert_eq!(said(&folder, 2, &url), message);
    }
    let json = Program::new().current_dir(&folder).args(["up", "--format", "json"]).run().expect(2);
    let event = &json.json()[0];
    assert_eq!(event["message"], "line 3 of migrate.toml: unknown key layuot in [set.app]");
    assert_eq!((&event["next"], &event["exit_code"]), (&"did you mean layout?".into(), &2.into()));
}

#[test]
fn a_set_or_folder_that_is_not_there_is_named() {
    let folder = folder("unknown");
    let message = "error: there is no set platfrom; did you mean platform?\n";
    assert_eq!(said(&folder, 2, &["up", "--set", "platfrom"]), message);
    let message = "error: sql does not exist; --dir or MIGRATE_DIR names the folder of the migrations\n";
    assert_eq!(said(&folder, 2, &["up", "--dir", "sql"]), message);
    let from_environment = Program::new().current_dir(&folder).env("MIGRATE_DIR", "sql").args(["up"]).run().expect(2);
    assert_eq!(from_environment.stderr, message);
    let message = "error: other.toml cannot be read: No such file or directory (os error 2)\n";
    assert_eq!(said(&folder, 2, &["up", "--config", "other.toml"]), message);
    let message = said(&folder, 2, &["up", "--set", "My Set"]);
    let rule = "the name of a set consists of lower-case letters, digits and '-', at most 40 of them";
    assert_eq!(message, format!("error: invalid value 'My Set' for '--set <NAME>': {rule}; see --help\n"));
}

/// The result on standard output.
#[track_caller]
fn shown(folder: &Path, args: &[&str]) -> String {
    Program::new().current_dir(folder).args(args.iter().copied()).run().expect(0).stdout
}

#[test]
fn init_makes_a_folder_where_there_is_none() {
    let folder = folder("init-none");
    assert_eq!(
        shown(&folder, &["init"]),
        "wrote migrate.toml: set main, folder migrations (new), layout migrate\nnext: migrate new NAME, which makes the \
         first file\n"
    );
    assert!(folder.join("migrations").is_dir());
    let text = std::fs::read_to_string(folder.join("migrate.toml")).unwrap();
    for line in ["[set.main]", "dir = \"migrations\"", "layout = \"migrate\"", "# keep = true"] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
    let message = "error: migrate.toml is there already; edit it, or remove it first\n";
    assert_eq!(said(&folder, 2, &["init"]), message);
    assert_eq!(std::fs::read_to_string(folder.join("migrate.toml")).unwrap(), text);
}

#[test]
fn init_recognises_the_folder() {
    let folder = folder("init-goose");
    write(&folder, "db/migrations/1_a.sql", "-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT 2;\n");
    write(&folder, "db/migrations/2_b.sql", "-- +goose Up\nSELECT 1;\n");
    let next = "next: set DATABASE_URL, then migrate up --dry-run\n";
    let wrote = "wrote migrate.toml: set main, folder db/migrations (2 versions), layout goose\n";
    assert_eq!(shown(&folder, &["init"]), format!("{wrote}{next}"));
    let json =
        Program::new().current_dir(&folder).args(["init", "--config", "b.toml", "--set", "b", "--format", "json"]);
    let json = json.run().expect(0);
    let event = &json.events("init")[0];
    assert_eq!((&event["layout"], &event["versions"], &event["set"]), (&"goose".into(), &2.into(), &"b".into()));
    assert!(std::fs::read_to_string(folder.join("b.toml")).unwrap().contains("\n[set.b]\n"));
}

#[tokio::test]
async fn init_asks_which_tool_unless_the_history_tells() {
    let folder = folder("init-two");
    write(&folder, "sql/1_a.up.sql", "SELECT 1;\n");
    write(&folder, "sql/1_a.down.sql", "SELECT 1;\n");
    let message = said(&folder, 2, &["init"]);
    let expected = "error: sql fits migrate, sqlx, golang-migrate and up-down; say which tool it was written for: --layout \
                    migrate|sqlx|golang-migrate|up-down\n";
    assert_eq!(message, expected);
    assert!(!folder.join("migrate.toml").exists());
    let database = TestDatabase::empty().await;
    database.batch("CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL)").await;
    database.batch("CREATE TABLE goose_db_version (version_id bigint NOT NULL, is_applied boolean NOT NULL)").await;
    let done = database.program().current_dir(&folder).args(["init"]).run().expect(0);
    assert_eq!(
        done.stdout,
        "wrote migrate.toml: set main, folder sql (1 version), layout golang-migrate\n\
         found public.goose_db_version, the history of goose: left alone\n\
         found public.schema_migrations, the history of golang-migrate: taken over\n\
         next: migrate up --dry-run\n"
    );
    let text = std::fs::read_to_string(folder.join("migrate.toml")).unwrap();
    assert!(text.contains("\ntake-over = \"golang-migrate\"\n"), "{text}");
}

#[test]
fn init_takes_the_layout_that_it_is_told_and_goes_on_without_the_database() {
    let folder = folder("init-told");
    write(&folder, "sql/1_a.up.sql", "SELECT 1;\n");
    let url = "postgres://nobody@nowhere.invalid/none";
    let args = ["init", "sql", "--layout", "sqlx", "--database-url", url];
    let done = Program::new().current_dir(&folder).args(args).run().expect(0);
    let wrote = "wrote migrate.toml: set main, folder sql (1 version), layout sqlx\nnext: migrate up --dry-run\n";
    assert_eq!(done.stdout, wrote);
    assert!(done.stderr.starts_with("note: the database was not looked at: "), "{}", done.stderr);
    let message = "error: db does not exist; make it first, or leave it out to have migrations made\n";
    assert_eq!(said(&folder, 2, &["init", "db", "--config", "x.toml"]), message);
    write(&folder, "other/notes.sql", "SELECT 1;\n");
    let message = said(&folder, 2, &["init", "other", "--config", "x.toml"]);
    assert!(message.starts_with("error: other fits no layout that is known: notes.sql "), "{message}");
    assert!(
        message.contains("; rename the file, or say which tool it was written for: --layout migrate|"),
        "{message}"
    );
}

#[test]
fn the_example_on_the_page_is_a_manifest() {
    let page = include_str!("../../docs/directory.md");
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let folder = folder("page");
    for dir in ["migrations", "reports/sql"] {
        std::fs::create_dir_all(folder.join(dir)).unwrap();
    }
    write(&folder, "migrate.toml", example);
    // The manifest is sound: what is missing is the database.
    let message = "error: no database given; set DATABASE_URL or MIGRATE_DATABASE_URL, or pass --database-url\n";
    assert_eq!(said(&folder, 2, &["up", "--set", "platform"]), message);
    // Each key has a row in the table, and each layout one in the other.
    let keys = example.lines().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key);
    for key in keys.filter(|key| key.starts_with(|c: char| c.is_ascii_lowercase())) {
        let is_placeholder = ["schema", "password", "tablespace"].contains(&key);
        assert!(is_placeholder || page.contains(&format!("| `{key}` |")), "{key}");
    }
    let help = shown(&folder, &["init", "--help"]);
    let layouts = help.split("[possible values: ").nth(1).unwrap().split(']').next().unwrap();
    for layout in layouts.split(',').map(str::trim) {
        assert!(page.contains(&format!("| `{layout}` |")), "{layout}");
    }
}

#[test]
fn new_makes_the_next_file_of_the_folder_and_asks_no_database() {
    let folder = folder("new");
    assert_eq!(shown(&folder, &["init"]).lines().count(), 2);
    assert_eq!(shown(&folder, &["new", "add", "users"]), "migrations/V1__add_users.sql\n");
    let deeper = folder.join("migrations");
    let next = shown(&deeper, &["new", "users-mail", "--down", "--no-transaction"]);
    assert_eq!(next, "V2__users_mail.sql\nV2__users_mail.down.sql\n");
    let text = std::fs::read_to_string(deeper.join("V2__users_mail.sql")).unwrap();
    assert!(text.lines().any(|line| line == "-- migrate: no-transaction"), "{text}");
    // Where others have a way back, the next one has. A URL is not used.
    let url = "postgres://nobody@nowhere.invalid/none";
    assert_eq!(
        shown(&folder, &["new", "a", "--database-url", url]),
        "migrations/V3__a.sql\nmigrations/V3__a.down.sql\n"
    );
}

#[test]
fn new_keeps_to_the_folder_s_own_layout() {
    let folder = folder("new-layouts");
    write(&folder, "goose/00001_a.sql", "-- +goose Up\nSELECT 1;\n");
    write(&folder, "gm/000009_a.up.sql", "SELECT 1;\n");
    write(&folder, "gm/000009_a.down.sql", "SELECT 1;\n");
    write(&folder, "flyway/V1.2__a.sql", "SELECT 1;\n");
    assert_eq!(shown(&folder, &["new", "b", "--dir", "goose", "--no-transaction"]), "goose/00002_b.sql\n");
    let text = std::fs::read_to_string(folder.join("goose/00002_b.sql")).unwrap();
    assert!(text.contains("-- +goose NO TRANSACTION\n") && text.contains("-- +goose Up\n"), "{text}");
    write(&folder, "migrate.toml", "[set.app]\ndir = \"gm\"\nlayout = \"golang-migrate\"\n");
    assert_eq!(shown(&folder, &["new", "b"]), "gm/000010_b.up.sql\ngm/000010_b.down.sql\n");
    // From a folder below, the manifest above is found.
    let made = Program::new().current_dir(&folder.join("goose")).args(["new", "c", "--format", "json"]).run().expect(0);
    let event = &made.events("new")[0];
    assert_eq!((&event["layout"], &event["set"]), (&"golang-migrate".into(), &"app".into()));
    assert_eq!(event["files"][0], folder.join("gm/000011_c.up.sql").display().to_string());
    let message = said(&folder, 2, &["new", "b", "--dir", "flyway", "--down"]);
    assert_eq!(message, "error: \"b\": Flyway has no way back: a new migration has to undo it\n");
}

#[test]
fn new_says_what_it_needs() {
    let folder = folder("new-needs");
    let message = "error: set platform is built in, and new files go to a folder; name the folder with --dir, or run \
                   migrate init\n";
    assert_eq!(said(&folder, 2, &["new", "a"]), message);
    write(&folder, "sql/1_a.up.sql", "SELECT 1;\n");
    write(&folder, "sql/1_a.down.sql", "SELECT 1;\n");
    let message = said(&folder, 2, &["new", "a", "--dir", "sql"]);
    let expected = "error: sql fits migrate, sqlx, golang-migrate and up-down; write layout = \"...\" into migrate.toml: \
                    migrate|sqlx|golang-migrate|up-down\n";
    assert_eq!(message, expected);
    write(&folder, "migrate.toml", "[set.app]\ndir = \"sql\"\nlayout = \"sqlx\"\n");
    assert!(said(&folder, 2, &["new", "a/../b"]).starts_with("error: "));
    assert_eq!(std::fs::read_dir(folder.join("sql")).unwrap().count(), 2);
}
