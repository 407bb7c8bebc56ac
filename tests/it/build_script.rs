//! What the build says of files that are named, numbered or listed wrongly.

use std::fs;
use std::path::{Path, PathBuf};

#[allow(dead_code, reason = "its main is for cargo")]
#[path = "../../build.rs"]
pub mod build;

/// A folder with these empty files.
fn folder(name: &str, files: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("build-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    for file in files {
        let file = folder.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "").unwrap();
    }
    folder
}

#[test]
fn a_migration_with_a_wrong_name_is_refused_with_what_is_wrong() {
    let wrong = [
        ("V1__add-note.sql", "contains a dash: use _"),
        ("V1__add note.sql", "contains ' ': use letters, digits and _"),
        ("V1__größe.sql", "contains 'ö': use letters, digits and _"),
        ("V99999999999999999999__a.sql", "number too large: at most 9223372036854775807"),
        ("V1__a.sql.txt", "ends in .sql.txt: a migration ends in .sql"),
        ("V1__a.SQL", "ends in .SQL: a migration ends in .sql"),
        ("V1__a", "ends in no ending"),
        ("v1__a.sql", "begins with a lower-case letter; the form is V<number>__"),
        ("r__a.sql", "begins with a lower-case letter; the form is V<number>__"),
        ("U1__a.sql", "begins with neither V nor R__"),
        ("V1_a.sql", "has one underscore behind the number: use two"),
        ("V1.sql", "has no __ behind the number"),
        ("V1-a.sql", "has no __ behind the number"),
        ("V1__.sql", "has an empty name"),
        ("V+1__a.sql", "the number has a sign"),
        ("V-1__a.sql", "the number has a sign"),
        ("V1.5__a.sql", "\"1.5\" is not a number"),
        ("V__a.sql", "\"\" is not a number"),
        ("V1__a-b.down.sql", "contains a dash: use _"),
        ("V1__a.up.sql", "contains '.': use letters, digits and _"),
    ];
    for (file, fault) in wrong {
        let migrations = folder("names", &[&format!("shop/{file}")]);
        let faults = build::faults_of_migrations(&migrations);
        let expected = format!("migrations/shop/{file}: {fault}");
        assert!(faults.len() == 1 && faults[0].starts_with(&expected), "{expected}: {faults:?}");
    }
}

#[test]
fn a_version_that_two_files_have_is_refused_with_both() {
    let migrations =
        folder("twice", &["shop/V105__a.sql", "shop/V105__a.down.sql", "shop/V0105__b.sql", "other/V105__a.sql"]);
    let faults = build::faults_of_migrations(&migrations);
    assert_eq!(faults, ["migrations/shop/V105__a.sql: version 105 is also in V0105__b.sql"]);
}

#[test]
fn a_migration_outside_or_too_deep_inside_a_set_is_refused() {
    let migrations = folder("places", &["V1__a.sql", "shop/more/V2__b.sql", "shop.objects", "shop/.V1__a.sql.swp"]);
    let faults = build::faults_of_migrations(&migrations);
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("migrations/V1__a.sql: belongs into the folder of a set"), "{faults:?}");
    assert!(faults[1].starts_with("migrations/shop/more: is a folder"), "{faults:?}");
}

#[test]
fn a_version_that_is_not_described_is_named_with_the_command() {
    for objects in ["shop.objects", "shop/shop.objects"] {
        let migrations = folder("described", &["shop/V1__a.sql", "shop/V2__b.sql", "shop/R__c.sql", "plain/V7__a.sql"]);
        fs::write(migrations.join(objects), "# What each version leaves.\n\nV1\n+ table a = permanent\n").unwrap();
        assert_eq!(build::faults_of_migrations(&migrations), [""; 0]);
        let missing = build::undescribed(&migrations);
        assert_eq!(missing, [format!("migrations/{objects} does not describe V2: run script/objects")]);
    }
}

#[test]
fn a_hook_that_is_not_compiled_is_refused() {
    let hooks = folder("hooks", &["fill.rs", "sweep.rs"]);
    fs::write(hooks.join("mod.rs"), "//! Hooks.\n\npub(crate) mod fill;\n").unwrap();
    let faults = build::faults_of_hooks(&hooks);
    assert_eq!(faults, ["hooks/sweep.rs is not in hooks/mod.rs: add pub(crate) mod sweep;"]);
}
