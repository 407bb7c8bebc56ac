//! Sets that are folders of files: which one is meant, and the commands that write them.

use std::path::{Path, PathBuf};

use crate::harness::Program;

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
    for command in [&["up"][..], &["status", "--check"], &["verify"], &["repair", "list"]] {
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
    assert!(
        message.starts_with("error: other fits no layout that is known; name one of them: --layout migrate|"),
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
