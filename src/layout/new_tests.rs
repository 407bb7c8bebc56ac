use super::*;
use crate::{Options, read};

const NOW: &str = "20261122035500";

fn new(what: New, layout: Layout, present: &[&str]) -> Result<Vec<(String, String)>, LayoutError> {
    new_files(&Sources::embedded("f", present.iter().map(|path| (*path, "SELECT 1;"))), layout, &what)
}

const ADD: New = New { name: "add users", down: false, no_transaction: false, now: NOW };
const BACK: New = New { down: true, ..ADD };
const OUTSIDE: New = New { no_transaction: true, ..ADD };

/// The paths that come after those.
fn paths(layout: Layout, present: &[&str]) -> String {
    let files = new(ADD, layout, present).unwrap();
    files.into_iter().map(|(path, _)| path).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_first_migration_is_named_as_its_tool_does() {
    for (layout, expected) in [
        (Layout::Migrate, "V1__add_users.sql"),
        (Layout::Refinery, "V1__add_users.sql"),
        (Layout::Flyway, "V1__add_users.sql"),
        (Layout::Sqlx, "20261122035500_add_users.sql"),
        (Layout::GolangMigrate, "20261122035500_add_users.up.sql 20261122035500_add_users.down.sql"),
        (Layout::UpDown, "001_add_users.up.sql 001_add_users.down.sql"),
        (Layout::Supabase, "20261122035500_add_users.sql"),
        (Layout::Atlas, "20261122035500_add_users.sql"),
        (Layout::Dbmate, "20261122035500_add_users.sql"),
        (Layout::Goose, "20261122035500_add_users.sql"),
        (Layout::Diesel, "2026-11-22-035500_add_users/up.sql 2026-11-22-035500_add_users/down.sql"),
        (Layout::Prisma, "20261122035500_add_users/migration.sql"),
        (Layout::DrizzleFolders, "20261122035500_add_users/migration.sql"),
    ] {
        assert_eq!(paths(layout, &[]), expected, "{layout}");
    }
}

#[test]
fn a_number_continues_those_that_are_there() {
    for (layout, present, expected) in [
        (Layout::Migrate, &["V9__a.sql", "V10__b.sql", "R__z.sql"][..], "V11__add_users.sql"),
        (Layout::Migrate, &["0009_a.sql"], "0010_add_users.sql"),
        (Layout::Migrate, &["0_a.sql"], "1_add_users.sql"),
        (Layout::Migrate, &["1_a.up.sql", "1_a.down.sql"], "2_add_users.up.sql 2_add_users.down.sql"),
        (Layout::Migrate, &["20260101000000_a.sql"], "20261122035500_add_users.sql"),
        (Layout::Refinery, &["V1__a.sql", "old/V03__b.sql"], "old/V04__add_users.sql"),
        (Layout::Flyway, &["V1.9__a.sql", "V1.10__b.sql", "R__z.sql"], "V1.11__add_users.sql"),
        (Layout::Flyway, &["V1_2__a.sql", "B3__b.sql"], "V4__add_users.sql"),
        (Layout::Sqlx, &["99_a.sql"], "100_add_users.sql"),
        (Layout::Sqlx, &["1_a.up.sql", "1_a.down.sql"], "2_add_users.up.sql 2_add_users.down.sql"),
        (Layout::GolangMigrate, &["000001_a.up.sql"], "000002_add_users.up.sql"),
        (Layout::UpDown, &["079_a.up.sql", "079_b.up.sql"], "080_add_users.up.sql"),
        (Layout::Goose, &["00009_a.sql"], "00010_add_users.sql"),
        (Layout::Dbmate, &["20260101_a.sql"], "20261122_add_users.sql"),
        // The clock of whoever wrote that one was ahead.
        (Layout::Supabase, &["20270101000000_a.sql"], "20270101000001_add_users.sql"),
        (Layout::Prisma, &["0_init/migration.sql"], "20261122035500_add_users/migration.sql"),
        (Layout::Prisma, &["20270101000000_a/migration.sql"], "20270101000001_add_users/migration.sql"),
        (Layout::Diesel, &["00000000000000_diesel_initial_setup/up.sql"], "2026-11-22-035500_add_users/up.sql"),
        (
            Layout::Diesel,
            &["2027-01-01-000000_a/up.sql", "2027-01-01-000000_a/down.sql"],
            "2027-01-01-000001_add_users/up.sql 2027-01-01-000001_add_users/down.sql",
        ),
        (Layout::Diesel, &["20260101000000_a/up.sql"], "20261122035500_add_users/up.sql"),
    ] {
        assert_eq!(paths(layout, present), expected, "{layout} {present:?}");
    }
}

#[test]
fn texts_hold_what_the_layout_needs() {
    let text = |layout, what| {
        let files = new(what, layout, &["1_a.sql"]).unwrap();
        files.into_iter().map(|(path, text)| format!("{path}:\n{text}")).collect::<Vec<_>>().concat()
    };
    let both = New { down: true, ..OUTSIDE };
    let one = "-- One statement only: several in one message share a transaction.\n";
    assert_eq!(
        text(Layout::Migrate, both),
        "2_add_users.sql:\n-- add users\n-- migrate: no-transaction\n\
         2_add_users.down.sql:\n-- Takes back: add users\n-- migrate: no-transaction\n"
    );
    assert_eq!(
        text(Layout::Sqlx, both),
        format!(
            "2_add_users.up.sql:\n-- no-transaction\n-- add users\n{one}\
             2_add_users.down.sql:\n-- no-transaction\n-- Takes back: add users\n{one}"
        )
    );
    assert_eq!(text(Layout::GolangMigrate, OUTSIDE), format!("2_add_users.up.sql:\n-- add users\n{one}"));
    assert_eq!(text(Layout::Dbmate, ADD), "2_add_users.sql:\n-- migrate:up\n-- add users\n\n-- migrate:down\n");
    assert_eq!(
        text(Layout::Dbmate, OUTSIDE),
        "2_add_users.sql:\n-- migrate:up transaction:false\n-- add users\n\n-- migrate:down transaction:false\n"
    );
    assert_eq!(
        text(Layout::Goose, OUTSIDE),
        "2_add_users.sql:\n-- +goose NO TRANSACTION\n-- +goose Up\n-- add users\n\n-- +goose Down\n"
    );
    assert_eq!(
        text(Layout::Atlas, OUTSIDE),
        "2_add_users.sql:\n-- atlas:txmode none\n\n-- add users\n-- Run atlas migrate hash when this file is finished.\n"
    );
    let files = new(OUTSIDE, Layout::Flyway, &["V1__a.sql"]).unwrap();
    assert_eq!(files[1], ("V2__add_users.sql.conf".into(), "executeInTransaction=false\n".into()));
    let files = new(both, Layout::Diesel, &["1_a/up.sql"]).unwrap();
    let paths: Vec<_> = files.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["2_add_users/up.sql", "2_add_users/down.sql", "2_add_users/metadata.toml"]);
    assert_eq!(files[2].1, "run_in_transaction = false\n");
    assert_eq!(new(BACK, Layout::Prisma, &[]).unwrap()[1].0, "20261122035500_add_users/down.sql");
}

#[test]
fn a_new_migration_is_read_as_it_was_meant() {
    for layout in Layout::ALL.into_iter().filter(|layout| *layout != Layout::Drizzle && *layout != Layout::Atlas) {
        for what in [ADD, BACK, OUTSIDE] {
            let Ok(files) = new(what, layout, &[]) else { continue };
            let written: Vec<_> =
                files.iter().map(|(path, text)| (path.as_str(), format!("{text}SELECT 1;\n"))).collect();
            let conf = |path: &str| !path.rsplit('/').next().is_some_and(|file| file.to_lowercase().ends_with(".sql"));
            let written = written.iter().map(|(path, text)| {
                (*path, if conf(path) { text.trim_end_matches("SELECT 1;\n") } else { text.as_str() })
            });
            let folder = read(&Sources::embedded("f", written), layout, &Options::default()).unwrap();
            let [file] = &folder.files[..] else { panic!("{layout}") };
            assert_eq!(file.name.replace('_', " "), "add users", "{layout}");
            assert!(!what.down || file.down.is_some(), "{layout}");
            assert!(!what.no_transaction || file.up.sending != crate::Sending::Transaction, "{layout}");
        }
    }
}

#[test]
fn what_a_layout_has_no_place_for_is_refused() {
    let refused = |what, layout, present: &[&str]| new(what, layout, present).unwrap_err().to_string();
    for name in ["", " _- "] {
        let what = New { name, ..ADD };
        let expected = format!("{name:?}: a migration needs a name: say what it does");
        assert_eq!(refused(what, Layout::Migrate, &[]), expected);
    }
    for name in ["a/b", "a.b", "it's", "a;b"] {
        let what = New { name, ..ADD };
        let reason = "the name of a migration is made of letters and digits, with blanks, - or _ between its words";
        assert_eq!(refused(what, Layout::Sqlx, &[]), format!("{name:?}: {reason}"));
    }
    let long = "a".repeat(151);
    let what = New { name: &long, ..ADD };
    assert_eq!(refused(what, Layout::Sqlx, &[]), format!("{long:?}: the name is longer than 150 bytes"));
    assert_eq!(
        refused(OUTSIDE, Layout::Refinery, &[]),
        "\"add users\": refinery runs every file in a transaction, and has no directive against that"
    );
    assert_eq!(
        refused(BACK, Layout::Supabase, &[]),
        "\"add users\": Supabase has no way back: a new migration has to undo it"
    );
    assert_eq!(
        refused(ADD, Layout::Drizzle, &[]),
        "\"add users\": Drizzle's own generator writes the journal, too: run drizzle-kit generate --custom"
    );
    assert_eq!(
        refused(ADD, Layout::Dbmate, &["9_a.sql"]),
        "10_add_users: dbmate orders by names: it would come before 9_a.sql"
    );
}

#[test]
fn after_the_last_number_there_is_none() {
    for (layout, last) in
        [(Layout::Migrate, "V9223372036854775807__a.sql"), (Layout::Sqlx, "9223372036854775807_a.sql")]
    {
        let error = new(ADD, layout, &[last]).unwrap_err().to_string();
        assert!(error.ends_with(": no version comes after this one"), "{layout}: {error}");
    }
    assert_eq!(paths(Layout::Migrate, &["V9223372036854775806__a.sql"]), "V9223372036854775807__add_users.sql");
}
