use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::config::{Hooked, Placeholder, TakeOver};
use super::error::At;
use super::*;
use crate::engine::Tool;
use crate::layout::{Late, Layout};

/// A folder of its own with `migrations` in it.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("migrate-manifest-{}-{name}", std::process::id()));
    fs::create_dir_all(folder.join("migrations")).unwrap();
    fs::create_dir_all(folder.join("app/src")).unwrap();
    folder
}

fn known() -> Known<'static> {
    Known { sets: vec!["notes".to_owned()], hooks: &|| vec!["fill-slugs".to_owned(), "rebuild".to_owned()] }
}

fn parse(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse("migrate.toml", text, &folder("parse"), &known())
}

/// The mistake of a text, and what to do about it.
#[track_caller]
fn mistake(text: &str) -> String {
    let error = parse(text).expect_err("a mistake");
    let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
    format!("{error}{hint}").replace(&folder("parse").display().to_string(), "/x")
}

/// The same of a line in an otherwise complete set.
#[track_caller]
fn mistake_of(line: &str) -> String {
    mistake(&format!("[set.app]\ndir = \"migrations\"\n{line}\n"))
}

#[test]
fn every_key_is_read() {
    let manifest = parse(
        r#"
default = "app"

[set.app]
dir = "migrations"
layout = "flyway"
over = "notes"
take-over = "flyway"
keep = true
owner = "app_owner"
minimum-server = 15
lock-key = -7_244
late = "apply"
no-transaction = ["V3__index.sql"]
snapshot = "schema.txt"

[set.app.hooks]
"9" = ["rebuild"]
"103" = ["fill-slugs", "rebuild"]

[set.app.placeholders]
schema = "app"
tablespace = { env = "APP_TABLESPACE", default = "" }

[set.old-one]
dir = "migrations"
owned-like = "users"
take-over = { tool = "goose", table = "ops.goose" }
"#,
    )
    .unwrap();
    let at = |line| At { file: "migrate.toml".to_owned(), line };
    let text = |text: &str| text.to_owned();
    let hooked = |before: &str, line, hooks: &[&str]| Hooked {
        before: text(before),
        hooks: hooks.iter().map(|hook| text(hook)).collect(),
        at: at(line),
    };
    let app = SetConfig {
        name: text("app"),
        dir: folder("parse").join("migrations"),
        layout: Some(Layout::Flyway),
        over: Some(text("notes")),
        take_over: Some(TakeOver::History { tool: Some(Tool::Flyway), table: None }),
        keep: true,
        owner: Some(text("app_owner")),
        owned_like: None,
        minimum_server: Some(15),
        lock_key: Some(-7244),
        late: Some(Late::Apply),
        hooks: vec![hooked("9", 18, &["rebuild"]), hooked("103", 19, &["fill-slugs", "rebuild"])],
        no_transaction: vec![text("V3__index.sql")],
        snapshot: Some(folder("parse").join("schema.txt")),
        placeholders: BTreeMap::from([
            (text("schema"), Placeholder::Text(text("app"))),
            (
                text("tablespace"),
                Placeholder::Variable { name: text("APP_TABLESPACE"), default: Some(String::new()), at: at(23) },
            ),
        ]),
    };
    assert_eq!(manifest.default_set(), Some(&app));
    let old = manifest.set("old-one").unwrap();
    let taken = TakeOver::History { tool: Some(Tool::Goose), table: Some(text("ops.goose")) };
    assert_eq!((old.owned_like.as_deref(), old.take_over.clone()), (Some("users"), Some(taken)));
    assert_eq!(manifest.sets().len(), 2);
}

#[test]
fn an_unknown_key_is_named_with_what_was_meant() {
    let cases = [
        ("layuot = \"sqlx\"", "unknown key layuot in [set.app]; did you mean layout?"),
        ("minimum_server = 15", "unknown key minimum_server in [set.app]; did you mean minimum-server?"),
        (
            "zzz = 1",
            "unknown key zzz in [set.app]; the keys there are dir, layout, over, take-over, keep, owner, owned-like, \
             minimum-server, lock-key, late, hooks, no-transaction, snapshot, placeholders",
        ),
        ("take-over = { tabel = \"t\" }", "unknown key tabel in take-over; did you mean table?"),
        ("placeholders.a = { evn = \"A\" }", "unknown key evn in placeholder a; did you mean env?"),
        ("[sets.b]", "unknown key sets at the top level; did you mean set?"),
        ("[lint]", "unknown key lint at the top level; the keys there are default, set"),
    ];
    for (line, said) in cases {
        assert_eq!(mistake_of(line), format!("line 3 of migrate.toml: {said}"));
    }
    // The key's line, not its table's; the first of several.
    let text = "[set.app]\n\n# a comment\nkeeep = true\ndirr = 1\n";
    assert_eq!(mistake(text), "line 4 of migrate.toml: unknown key keeep in [set.app]; did you mean keep?");
}

#[test]
fn a_value_of_another_type_is_named_with_what_it_should_be() {
    let example = "docs/directory.md has an example of every key";
    let cases = [
        ("layout = 1", "layout is a number, but should be text in quotes"),
        ("keep = \"yes\"", "keep is text, but should be true or false"),
        ("lock-key = 1.5", "lock-key is a number with a fraction, but should be a whole number"),
        ("hooks = [\"rebuild\"]", "hooks is a list, but should be a table: \"103\" = [\"name of a hook\"]"),
        ("hooks.9 = \"rebuild\"", "9 is text, but should be a list of texts: [\"…\"]"),
        ("no-transaction = [1]", "no-transaction is a list, but should be a list of texts: [\"…\"]"),
        (
            "take-over = true",
            "take-over is true or false, but should be a tool in quotes, { tool = \"…\", table = \"…\" }, or false",
        ),
        ("placeholders = 2026-01-01", "placeholders is a time, but should be a table: name = \"text\""),
        ("placeholders.a = 7", "a is a number, but should be text in quotes, or { env = \"NAME\", default = \"…\" }"),
        ("[set]\napp = 1", ""),
    ];
    for (line, said) in cases.into_iter().filter(|(_, said)| !said.is_empty()) {
        assert_eq!(mistake_of(line), format!("line 3 of migrate.toml: {said}; {example}"));
    }
    let said = "line 1 of migrate.toml: set is text, but should be a table: [set.<name>]";
    assert_eq!(mistake("set = \"app\""), format!("{said}; {example}"));
    let said = "line 2 of migrate.toml: app is a number, but should be a table: [set.<name>] with dir";
    assert_eq!(mistake("[set]\napp = 1"), format!("{said}; {example}"));
}

#[test]
fn a_name_of_nothing_is_named_with_what_there_is() {
    let cases = [
        ("layout = \"golang\"", "layout = \"golang\": there is no such layout; did you mean golang-migrate?"),
        ("over = \"nots\"", "over = \"nots\": there is no such built-in set; did you mean notes?"),
        ("over = \"zzz\"", "over = \"zzz\": there is no such built-in set; the built-in sets are notes"),
        ("late = \"skip\"", "late = \"skip\": there is no such choice; the choices are apply, refuse"),
        ("hooks.9 = [\"fill-slug\"]", "9 = \"fill-slug\": there is no such built-in hook; did you mean fill-slugs?"),
    ];
    for (line, said) in cases {
        assert_eq!(mistake_of(line), format!("line 3 of migrate.toml: {said}"));
    }
    let said = mistake_of("take-over = \"rails\"");
    let expected =
        "line 3 of migrate.toml: take-over = \"rails\": there is no such tool; the tools are sqlx, golang-migrate, ";
    assert!(said.starts_with(expected), "{said}");
    let text = "default = \"ap\"\n[set.app]\ndir = \"migrations\"\n";
    let said = "line 1 of migrate.toml: default = \"ap\": there is no such set; did you mean app?";
    assert_eq!(mistake(text), said);
}

#[test]
fn a_value_that_cannot_be_is_refused() {
    let cases = [
        ("minimum-server = 9", "minimum-server = 9 is no version; it is a major version of PostgreSQL, 13 or later"),
        (
            "minimum-server = 150004",
            "minimum-server = 150004 is no version; it is a major version of PostgreSQL, 13 or later",
        ),
        (
            "lock-key = 9223372036854775808",
            "lock-key = 9223372036854775808 is too large; a whole number has 64 bits here",
        ),
        ("owner = \" \"", "owner is empty; give it a value, or leave it out"),
        (
            "take-over = {}",
            "take-over names nothing; name the tool, the table, or both; without the key, what is found is taken over",
        ),
        (
            "placeholders.a = { default = \"1\" }",
            "placeholder a has no value; add env = \"NAME\", the variable, or write the text itself in quotes",
        ),
        (
            "placeholders.a = { env = \"A=1\" }",
            "no variable can be called \"A=1\"; env is the name of a variable; a fixed text stands in quotes without braces",
        ),
    ];
    for (line, said) in cases {
        assert_eq!(mistake_of(line), format!("line 3 of migrate.toml: {said}"));
    }
    assert_eq!(
        mistake_of("keep = true\ntake-over = false"),
        "line 3 of migrate.toml: keep = true needs a history to keep, and take-over = false names none; leave out one of the two"
    );
    assert!(parse("[set.app]\ndir = \"migrations\"\ntake-over = false\nkeep = false\n").is_ok());
    assert_eq!(
        mistake_of("owner = \"a\"\nowned-like = \"b\""),
        "line 4 of migrate.toml: owned-like says again who owns what is made, after owner; keep one of the two"
    );
}

#[test]
fn a_folder_that_is_not_there_is_refused() {
    let dir = "a dir is relative to the folder of this file";
    let said = format!("line 2 of migrate.toml: dir = \"sql\": /x/sql does not exist; {dir}");
    assert_eq!(mistake("[set.app]\ndir = \"sql\"\n"), said);
    fs::write(folder("parse").join("file"), "").unwrap();
    let said = format!("line 2 of migrate.toml: dir = \"file\": /x/file is not a folder; {dir}");
    assert_eq!(mistake("[set.app]\ndir = \"file\"\n"), said);
    let said =
        "line 1 of migrate.toml: set app has no dir; add dir = \"…\", the folder of its files, relative to this file";
    assert_eq!(mistake("[set.app]\n"), said);
}

#[test]
fn the_name_of_a_set_is_checked() {
    let rule = "a set's name consists of lower-case letters, digits and '-', at most 40 of them";
    for name in ["App", "my_app", &"a".repeat(41), "'a b'"] {
        let said = mistake(&format!("\n[set.{name}]\ndir = \"migrations\"\n"));
        let shown = name.trim_matches('\'');
        assert_eq!(said, format!("line 2 of migrate.toml: {shown:?} cannot be the name of a set; {rule}"));
    }
    let said = mistake("[set.notes]\ndir = \"migrations\"\n");
    let expected = "line 1 of migrate.toml: the program has a set notes of its own; to lay it over this folder, add \
                    over = \"notes\"; else choose another name";
    assert_eq!(said, expected);
    assert!(parse("[set.notes]\ndir = \"migrations\"\nover = \"notes\"\n").is_ok());
}

#[test]
fn what_is_no_toml_is_named_with_its_line() {
    let said = mistake("[set.app]\ndir = \"migrations\ndir\n");
    assert!(said.starts_with("line 2 of migrate.toml: "), "{said}");
    let said = mistake("[set.app]\ndir = \"migrations\"\n[set.app]\n");
    assert!(said.starts_with("line 3 of migrate.toml: duplicate key"), "{said}");
    let none = "migrate.toml names no set; add one: [set.main] with dir = \"migrations\"";
    assert_eq!(mistake("# nothing\n"), none);
    assert_eq!(mistake("[set]\n"), none);
}

#[test]
fn it_is_found_in_the_folder_or_above_it() {
    let folder = folder("find");
    let text = "[set.app]\ndir = \"migrations\"\n";
    fs::write(folder.join(FILE), text).unwrap();
    fs::write(folder.join("other.toml"), text.replace("app", "other")).unwrap();
    let find = |start: &Path, explicit: Option<&str>| Manifest::find(start, explicit.map(Path::new), &known());
    let deep = folder.join("app/src");
    let found = find(&deep, None).unwrap().unwrap();
    assert_eq!(found.file, folder.join(FILE).display().to_string());
    assert_eq!(found.default_set().unwrap().dir, folder.join("migrations"));
    assert_eq!(find(&folder, None).unwrap().unwrap().file, FILE);
    let other = find(&deep, Some("../../other.toml")).unwrap().unwrap();
    assert_eq!((other.file.as_str(), other.default_set().unwrap().name.as_str()), ("../../other.toml", "other"));
    assert_eq!(found.set_of(&deep.join("../../migrations")).unwrap().name, "app");
    assert_eq!(found.set_of(&deep), None);
    let error = find(&deep, Some("none.toml")).unwrap_err();
    assert_eq!(error.to_string(), "none.toml cannot be read: No such file or directory (os error 2)");
    fs::write(folder.join("latin.toml"), b"# \xe9\n").unwrap();
    let error = find(&folder, Some("latin.toml")).unwrap_err();
    assert_eq!(error.to_string(), "latin.toml cannot be read: it is not UTF-8");
    let empty = std::env::temp_dir();
    assert_eq!(find(&empty, None).unwrap(), None);
}

#[test]
fn of_several_sets_none_is_meant_without_a_default() {
    let text = "[set.a]\ndir = \"migrations\"\n[set.b]\ndir = \"migrations\"\n";
    assert_eq!(parse(text).unwrap().default_set(), None);
    let manifest = parse(&format!("default = \"b\"\n{text}")).unwrap();
    assert_eq!(manifest.default_set().unwrap().name, "b");
}

#[test]
fn a_placeholder_takes_its_value_from_the_environment() {
    let lines = "a = { env = \"A\" }\nb = { env = \"B\", default = \"two\" }\nc = \"three\"";
    let text = format!("[set.app]\ndir = \"migrations\"\n[set.app.placeholders]\n{lines}\n");
    let manifest = parse(&text).unwrap();
    let app = manifest.default_set().unwrap();
    let values = |a: Option<&[u8]>| {
        let a = a.map(|a| OsString::from_vec(a.to_vec()));
        app.values(|name| if name == "A" { a.clone() } else { None })
    };
    let expected = [("a", "one"), ("b", "two"), ("c", "three")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(values(Some(b"one")).unwrap(), BTreeMap::from(expected));
    let error = values(None).unwrap_err();
    let said = "line 4 of migrate.toml: placeholder a takes its value from the environment, where A";
    assert_eq!(error.to_string(), format!("{said} is not set"));
    assert_eq!(error.hint().unwrap(), "set A, or give the placeholder a default");
    assert_eq!(values(Some(b"\xff")).unwrap_err().to_string(), format!("{said} is not UTF-8"));
}
