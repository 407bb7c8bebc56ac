use super::read;
use crate::reading::tests::{named, sources};
use crate::{File, Options, Sending, Version};

fn refused(paths: &[&str]) -> String {
    read(&named(paths), &Options::default()).unwrap_err().to_string()
}

#[test]
fn versions_are_ordered_by_their_numbers_and_recorded_as_written() {
    let paths = ["V1.10__b.sql", "V1_9__a_b.sql", "sub/V002__x.sql", "V3.sql", "V20260131.1200.00__t.sql"];
    let found = read(&named(&paths), &Options::default()).unwrap();
    let about = |file: &File| (file.entry.clone(), file.described_as.clone(), file.up.path.clone());
    assert_eq!(
        found.files.iter().map(about).collect::<Vec<_>>(),
        [
            ("1.9".into(), "a b".into(), "V1_9__a_b.sql".into()),
            ("1.10".into(), "b".into(), "V1.10__b.sql".into()),
            ("002".into(), "x".into(), "sub/V002__x.sql".into()),
            ("3".into(), String::new(), "V3.sql".into()),
            ("20260131.1200.00".into(), "t".into(), "V20260131.1200.00__t.sql".into()),
        ]
    );
    assert_eq!((found.files[0].version, found.files[2].version), (Version::dotted([1, 9]), Version::dotted([2])));
    assert_eq!(found.files[0].name, "a_b");
}

#[test]
fn the_checksum_is_that_of_the_lines() {
    let files = [("V1__a.sql", "SELECT 1;\n"), ("V2__b.sql", "\u{feff}SELECT 1;\r\nSELECT 2;\r\n")];
    let found = read(&sources(&files), &Options::default()).unwrap();
    let sum = |at: usize| found.files[at].checksum.as_ref().unwrap();
    assert!(sum(0).recorded == "78787420" && sum(1).recorded == "-1665099012");
}

#[test]
fn repeatables_follow_in_the_order_of_their_descriptions() {
    let files = [("R__b.sql", "SELECT '${x}';\n"), ("x/R__a_c.sql", "SELECT 1;\n"), ("V1__a.sql", "SELECT '${x}';")];
    let options = Options { placeholders: [("x".into(), "1".into())].into(), ..Options::default() };
    let found = read(&sources(&files), &options).unwrap();
    let about: Vec<_> = found.repeatables.iter().map(|one| (&*one.described_as, &*one.up.path)).collect();
    assert_eq!(about, [("a c", "x/R__a_c.sql"), ("b", "R__b.sql")]);
    let crc = |text| crate::checksum::crc32_lines(text).to_string();
    let b = &found.repeatables[1];
    let sum = b.checksum.as_ref().unwrap();
    assert!(sum.recorded == crc("SELECT '1';\n") && sum.also == [crc("SELECT '${x}';\n")]);
    assert_eq!((b.name.as_str(), &*b.up.text), ("b", "SELECT '1';\n"));
    // A version counts as it is written.
    assert!(found.files[0].checksum.as_ref().unwrap().recorded == crc("SELECT '${x}';"));
    assert_eq!(read(&named(&["R__a.sql"]), &Options::default()).unwrap().repeatables.len(), 1);
}

#[test]
fn baselines_stand_beside_their_version_and_undo_is_its_way_back() {
    let found = read(&named(&["B2__base.sql", "U2__x.sql", "V1__a.sql", "V2.0__b.sql"]), &Options::default()).unwrap();
    let about = |file: &File| (file.entry.clone(), file.is_baseline, file.down.as_ref().map(|down| down.path.clone()));
    assert_eq!(
        found.files.iter().map(about).collect::<Vec<_>>(),
        [("1".into(), false, None), ("2.0".into(), false, Some("U2__x.sql".into())), ("2".into(), true, None),]
    );
}

#[test]
fn callbacks_and_what_its_conf_switches_off_are_left_out() {
    let files = [
        ("V1__a.sql", "SELECT 1"),
        ("V2__b.sql", "SELECT ${unknown}"),
        ("V2__b.sql.conf", "shouldExecute=false"),
        ("V3__c.sql", "CREATE TABLE ${t} ()"),
        ("V3__c.sql.conf", "executeInTransaction=false\nplaceholderReplacement=false"),
        ("beforeMigrate.sql", ""),
        ("afterEachMigrate__grants.sql", "SELECT ${x}"),
    ];
    let found = read(&sources(&files), &Options::default()).unwrap();
    let callback = "it is a callback, which only Flyway runs";
    assert_eq!(
        found.left_out,
        [
            ("V2__b.sql".into(), "V2__b.sql.conf says shouldExecute=false".into()),
            ("afterEachMigrate__grants.sql".into(), callback.into()),
            ("beforeMigrate.sql".to_owned(), callback.to_owned()),
        ]
    );
    assert_eq!(found.files[1].up.sending, Sending::Statements);
    assert_eq!(&*found.files[1].up.text, "CREATE TABLE ${t} ()");
}

#[test]
fn names_that_flyway_would_skip_are_refused() {
    let forms = "it reads V<version>__<name>.sql, R__<name>.sql, B<version>__<name>.sql and U<version>__<name>.sql";
    for (path, why) in [
        ("V1__a.SQL", "the ending is written in small letters"),
        ("v1__a.sql", "the name begins with none of its letters"),
        ("1__a.sql", "the name begins with none of its letters"),
        ("beforeMigrated.sql", "the name begins with none of its letters"),
        ("Readme.sql", "two underscores follow the R at once"),
        ("R1__a.sql", "two underscores follow the R at once"),
        ("V__a.sql", "a version follows the letter"),
        ("Users.sql", "a version follows the letter"),
        ("Vé.sql", "a version follows the letter"),
    ] {
        assert_eq!(refused(&[path]), format!("{path}: Flyway would skip it: {why}; {forms}"));
    }
    let form = "numbers with dots between them, and two underscores before the name, as in V1.2__add_users.sql";
    for (path, version) in [
        ("V1_add_users.sql", "1_add_users"),
        ("V1..2__a.sql", "1..2"),
        ("V1.__a.sql", "1."),
        ("V1-2__a.sql", "1-2"),
        ("V18446744073709551616__a.sql", "18446744073709551616"),
    ] {
        assert_eq!(refused(&[path]), format!("{path}: {version} is no version of Flyway: expected {form}"));
    }
}

#[test]
fn what_there_is_twice_or_alone_is_refused() {
    assert_eq!(refused(&["V1__a.sql", "V1.0__b.sql"]), "version 1.0 is repeated: V1.0__b.sql and V1__a.sql");
    assert_eq!(refused(&["B01__b.sql", "B1__a.sql"]), "version 01 is repeated: B01__b.sql and B1__a.sql");
    assert_eq!(refused(&["U1.0__b.sql", "U1__a.sql", "V1__a.sql"]), "version 1 is repeated: U1.0__b.sql and U1__a.sql");
    assert_eq!(
        refused(&["R__a_b.sql", "x/R__a b.sql"]),
        "x/R__a b.sql: its description is that of R__a_b.sql, too: Flyway tells them apart by it"
    );
    assert_eq!(refused(&["B3__b.sql", "U3__a.sql"]), "U3__a.sql: it undoes version 3, of which there is no V file");
    assert_eq!(refused(&["R__a.sql", "U3__a.sql"]), "U3__a.sql: it undoes version 3, of which there is no V file");
    assert_eq!(
        refused(&["V1__a.sql", "V1__b.sql.conf"]),
        "V1__b.sql.conf: it has settings for a file that does not exist"
    );
    assert_eq!(refused(&[]), "migrations holds no migration");
    assert_eq!(refused(&["beforeMigrate.sql"]), "migrations holds no migration");
    let empty = read(&sources(&[("V1__a.sql", " \n")]), &Options::default());
    assert_eq!(empty.unwrap_err().to_string(), "V1__a.sql is empty");
}

#[test]
fn a_long_description_is_cut_as_it_is_recorded() {
    let path = format!("V1__{}.sql", "ä".repeat(201));
    let found = read(&named(&[&path]), &Options::default()).unwrap();
    assert_eq!(found.files[0].described_as, format!("{}...", "ä".repeat(197)));
}
