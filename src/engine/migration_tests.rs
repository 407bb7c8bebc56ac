//! What a migration takes from its file.

use super::*;
use crate::mode::ConcurrentIndex;

fn index_of(sql: &str) -> Result<Option<ConcurrentIndex>, SetError> {
    let migration = Migration::new("V1__index.sql", &format!("-- migrate: no-transaction\n{sql}"))?;
    match migration.mode {
        Mode::NoTransaction { statements } => Ok(statements[0].index.clone()),
        _ => panic!("{sql}: the directive was not seen"),
    }
}

#[test]
fn the_index_is_read_from_the_statement() {
    let plain = index_of("CREATE INDEX CONCURRENTLY IF NOT EXISTS Idx_A ON things (a);").unwrap().unwrap();
    assert_eq!(plain, ConcurrentIndex { name: "idx_a".into(), schema: None, path: Vec::new(), table: "things".into() });

    let quoted =
        index_of("create unique index concurrently /* x */ if not exists \"Idx A\" -- y\n on only app.\"Things\" (a)");
    let quoted = quoted.unwrap().unwrap();
    assert_eq!(
        quoted,
        ConcurrentIndex { name: "Idx A".into(), schema: Some("app".into()), path: Vec::new(), table: "Things".into() }
    );

    let plain = |name: &str, schema: Option<&str>, table: &str| ConcurrentIndex {
        name: name.into(),
        schema: schema.map(str::to_owned),
        path: Vec::new(),
        table: table.into(),
    };
    let statement = |rest: &str| index_of(&format!("CREATE INDEX CONCURRENTLY IF NOT EXISTS {rest} (a)"));
    assert_eq!(statement("Ä_I ON d.S.\"T\"").unwrap(), Some(plain("Ä_i", Some("s"), "T")));
    let long = "i".repeat(70);
    assert_eq!(statement(&format!("{long} ON t")).unwrap(), Some(plain(&long[..63], None, "t")));

    assert_eq!(index_of("VACUUM things").unwrap(), None);
}

/// The set of a folder in this layout, of one file.
fn read(layout: Layout, name: &str, text: &str, options: &migrate_layout::Options) -> Result<Migration, SetError> {
    let sources = migrate_layout::Sources::embedded("f", [(name, text)]);
    let folder = migrate_layout::read(&sources, layout, options)?;
    Migration::from_file(folder.files.into_iter().next().unwrap(), layout)
}

#[test]
fn the_values_of_flyways_placeholders_do_not_count_in_the_checksum() {
    let checksum = |value: &str, text: &str| {
        let placeholders = [("a".to_owned(), value.to_owned())].into();
        let options = migrate_layout::Options { placeholders, ..Default::default() };
        let migration = read(Layout::Flyway, "V1__a.sql", text, &options).unwrap();
        (migration.sql().to_owned(), migration.checksum())
    };
    let (one, two) = (checksum("1", "SELECT ${a};"), checksum("2", "SELECT ${a};"));
    assert_eq!((one.0.as_str(), two.0.as_str()), ("SELECT 1;", "SELECT 2;"));
    assert_eq!(one.1, two.1);
    assert_ne!(one.1, checksum("1", "SELECT ${a} ;").1);
}

#[test]
fn a_transaction_that_the_file_does_not_end_is_refused() {
    let of = |text: &str| read(Layout::GolangMigrate, "1_a.up.sql", text, &migrate_layout::Options::default());
    for open in ["BEGIN", "START TRANSACTION", "BEGIN; SELECT 1; COMMIT; BEGIN", "BEGIN; COMMIT AND CHAIN"] {
        let error = of(&format!("SELECT 1;\n{open};\nCREATE TABLE t (n int);")).unwrap_err();
        assert!(matches!(error, SetError::LeftOpen { line: 2, .. }), "{open}: {error}");
    }
    for ended in ["BEGIN; SELECT 1; COMMIT", "BEGIN; ROLLBACK", "BEGIN; COMMIT AND NO CHAIN; BEGIN; END"] {
        assert!(of(&format!("{ended};")).is_ok(), "{ended}");
    }
}

#[test]
fn an_index_is_looked_for_along_the_path_that_its_file_sets() {
    let path = |before: &str| {
        let sql = format!("{before};\nCREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a);");
        let migration = Migration::new("V1__index.sql", &format!("-- migrate: no-transaction\n{sql}")).unwrap();
        migration.mode().indexes().next().unwrap().path.clone()
    };
    assert_eq!(path("SET search_path TO app, \"My Own\", '$user', public"), ["app", "My Own", "public"]);
    assert_eq!(path("SET SESSION search_path = 'app'"), ["app"]);
    assert_eq!(path("SELECT pg_catalog.set_config('search_path', 'app, \"b\"', false)"), ["app", "b"]);
    for other in ["SELECT 1", "SET search_path TO DEFAULT", "SET search_path TO app; RESET search_path"] {
        assert!(path(other).is_empty(), "{other}");
    }
}

#[test]
fn a_file_without_transaction_must_bear_a_second_run() {
    let error = index_of("CREATE INDEX CONCURRENTLY idx_a ON things (a)").unwrap_err();
    assert!(matches!(error, SetError::NotRepeatable { .. }), "{error}");
    let error = index_of("DROP INDEX CONCURRENTLY idx_a").unwrap_err();
    assert!(matches!(error, SetError::NotRepeatable { .. }), "{error}");
    assert_eq!(index_of("DROP INDEX CONCURRENTLY IF EXISTS idx_a").unwrap(), None);
    let error = index_of("VACUUM a; VACUUM b;").unwrap_err();
    assert!(matches!(error, SetError::NotOneStatement { found: 2, second: Some(2), .. }), "{error}");
    let error = index_of("").unwrap_err();
    assert!(matches!(error, SetError::NotOneStatement { found: 0, second: None, .. }), "{error}");
    for nameless in ["ON things (a)", "U&\"a\" ON things (a)", "a things (a)"] {
        let error = index_of(&format!("CREATE INDEX CONCURRENTLY IF NOT EXISTS {nameless}")).unwrap_err();
        assert!(matches!(error, SetError::NotRepeatable { line: 2, .. }), "{error}");
    }
    let error = index_of("BEGIN").unwrap_err();
    assert!(matches!(error, SetError::TransactionControl { line: 2, .. }), "{error}");
}

#[test]
fn statements_around_a_concurrent_index_share_transactions() {
    let steps = |sql: &str| {
        let migration = Migration::new("V1__index.sql", &format!("-- migrate: no-transaction\n{sql}"))?;
        let Mode::NoTransaction { statements } = migration.mode else { panic!("{sql}") };
        Ok::<_, SetError>(statements.into_iter().map(|step| (step.sql, step.in_transaction)).collect::<Vec<_>>())
    };
    let build = "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)";
    let add = "ALTER TABLE t ADD COLUMN IF NOT EXISTS a int, ALTER b DROP NOT NULL";
    let swap = "DROP INDEX h;\nALTER INDEX i RENAME TO h";
    assert_eq!(
        steps(&format!("{add}; DO $$ BEGIN END $$;\n{build};\n{swap};")).unwrap(),
        [(add, true), ("DO $$ BEGIN END $$", false), (build, false), (swap, true)].map(|(sql, own)| (sql.into(), own))
    );
    // What runs again after a kill must bear it; the last transaction is recorded with what it does.
    for once in [
        "ALTER TABLE t ADD a int",
        "ALTER TABLE t ADD COLUMN a int",
        "ALTER TABLE t ADD COLUMN IF NOT EXISTS a int, ADD b int",
        "ALTER TABLE t DROP COLUMN a",
        "ALTER TABLE t RENAME a TO b",
        "CREATE TABLE u ()",
        "DROP INDEX h",
        "ALTER INDEX h RENAME TO i",
    ] {
        let error = steps(&format!("{once};\n{build};")).unwrap_err();
        assert!(matches!(error, SetError::NotRepeatable { line: 2, .. }), "{once}: {error}");
        steps(&format!("{build};\n{once};")).unwrap();
    }
    let error = steps(&format!("SELECT 1;\n{};", build.replace("IF NOT EXISTS ", ""))).unwrap_err();
    assert!(matches!(error, SetError::NotRepeatable { line: 3, .. }), "{error}");
}

#[test]
fn a_file_can_vouch_for_its_earlier_form() {
    let earlier = Migration::new("V1__a", "SELECT 1").unwrap().checksum();
    let now = Migration::new("V1__a", &format!("-- migrate: formerly {earlier}\nSELECT 1 WHERE true")).unwrap();
    assert!(now.was_recorded_as(Some(earlier)) && now.was_recorded_as(Some(now.checksum())));
    assert!(!now.was_recorded_as(Some(1)) && !now.was_recorded_as(None));
    let error = Migration::new("V1__a", "-- migrate: formerly yesterday\nSELECT 1").unwrap_err();
    assert!(matches!(error, SetError::Directive { .. }), "{error}");
}

#[test]
fn a_misspelt_directive_is_an_error() {
    let error = Migration::new("V1__a", "--\r-- migrate: no-transactions\nSELECT 1").unwrap_err();
    let expected = "line 2 of V1__a.sql: unknown directive \"no-transactions\"; known: no-transaction, formerly <checksum>, \
         rewrites <table>";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_file_can_say_whose_rows_it_changes() {
    let text = "-- migrate: rewrites t\n-- migrate: rewrites u\nUPDATE t SET n = 1";
    assert_eq!(Migration::new("V1__a", text).unwrap().rewrites(), ["t", "u"]);
}
