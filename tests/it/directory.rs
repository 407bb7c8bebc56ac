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
