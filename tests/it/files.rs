//! Migration files as people write them: byte order marks, line ends of any kind, bodies of routines, settings.

use migrate::CancellationToken;
use migrate::db::Database;
use migrate::engine::{Error, Event, Migration, Migrator, Mode, Repeatable, Set, SetBuilder, UpOptions};

use crate::harness::TestDatabase;

async fn up(database: &TestDatabase, set: SetBuilder) -> Result<(), Error> {
    let target = Database::from_url(&database.url).unwrap();
    let migrator = Migrator::new(set.build()?, target, CancellationToken::new(), |_: Event| {});
    migrator.up(&UpOptions::default()).await.map(drop)
}

#[tokio::test]
async fn a_byte_order_mark_is_ignored_but_for_the_checksum() {
    let table = "\u{feff}CREATE TABLE a (n int);";
    let index = "\u{feff}-- migrate: no-transaction\r\nCREATE INDEX CONCURRENTLY IF NOT EXISTS a_n ON a (n);";
    let view = "\u{feff}-- migrate: since 1\r-- migrate: revision 1\rCREATE OR REPLACE VIEW v AS SELECT n FROM a;";
    let database = TestDatabase::empty().await;
    let repeatable = Repeatable::new("R__view", view);
    let set = Set::builder("marked").migration("V1__a", table).migration("V2__i", index).repeatable(repeatable);
    up(&database, set).await.unwrap();
    assert!(database.value::<bool>("SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_n'::regclass").await);
    assert!(database.value::<bool>("SELECT to_regclass('v') IS NOT NULL").await);
    for (version, name, text) in [(1, "V1__a", table), (2, "V2__i", index)] {
        let recorded: String =
            database.value(&format!("SELECT checksum FROM migrate.history_marked WHERE version = {version}")).await;
        let expected = migrate::refinery::Migration::unapplied(name, text).unwrap().checksum();
        assert_eq!(recorded, expected.to_string());
    }

    let wrong = Set::builder("wrong").migration("V1__a", "\u{feff}\rSELECT 1;\r\nSELECT no_such_column");
    let error = up(&database, wrong).await.unwrap_err();
    assert!(matches!(&error, Error::Migration { line: Some(3), .. }), "{error}");
}

#[tokio::test]
async fn directives_end_with_any_kind_of_line() {
    for newline in ["\n", "\r\n", "\r"] {
        let text = format!("-- Why.{newline}-- migrate: no-transaction{newline}VACUUM");
        let migration = Migration::new("V1__a", &text).unwrap();
        assert!(matches!(migration.mode(), Mode::NoTransaction { .. }), "{newline:?}");
        assert_eq!(migration.mode().indexes().count(), 0, "{newline:?}");
    }
}

#[tokio::test]
async fn routines_and_rules_with_statements_inside_are_applied() {
    let database = TestDatabase::empty().await;
    let set = Set::builder("bodies")
        .migration(
            "V1__bodies",
            "CREATE TABLE a (n int);
             CREATE FUNCTION f(n int) RETURNS int LANGUAGE sql
             BEGIN ATOMIC
                 SELECT 1 AS end;
                 SELECT CASE n WHEN 1 THEN 2 ELSE 3 END;
             END;
             CREATE PROCEDURE p() BEGIN ATOMIC INSERT INTO a VALUES (1); INSERT INTO a VALUES (2); END;
             CREATE RULE r AS ON DELETE TO a DO ALSO (INSERT INTO a VALUES (3); NOTIFY n);
             CALL p();",
        )
        .migration(
            "V2__one",
            "-- migrate: no-transaction\nCREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC SELECT 1; END;",
        );
    up(&database, set).await.unwrap();
    assert_eq!(database.value::<i32>("SELECT f(1)").await, 2);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM a").await, 2);
}

#[tokio::test]
async fn a_setting_of_one_file_does_not_change_how_the_next_is_read() {
    let database = TestDatabase::empty().await;
    let off = "SET standard_conforming_strings = off; SET client_encoding = 'LATIN1';";
    let hidden = r"SELECT '\'; COMMIT; --';";
    let set = Set::builder("settings")
        .migration("V1__a", &format!(r"{off} CREATE TABLE a (t text); INSERT INTO a VALUES ('\')"))
        .migration("V2__b", &format!(r"INSERT INTO a VALUES ('\'); INSERT INTO a VALUES ('é;'); {off}"))
        .migration("V3__c", r"-- migrate: no-transaction
            COMMENT ON TABLE a IS '\'")
        .migration("V4__d", off)
        .repeatable(Repeatable::new(
            "R__a",
            "-- migrate: since 1\n-- migrate: revision 1\nCREATE OR REPLACE VIEW v AS SELECT '\\'::text AS t, ';' AS u;",
        ));
    up(&database, set).await.unwrap();
    let texts: String = database.value("SELECT string_agg(t, ' ') FROM a").await;
    assert_eq!(texts, r"\ \ é;");
    assert_eq!(database.value::<String>("SELECT t FROM v").await, r"\");
    // Read as it is run: the file ends its transaction.
    let ends = Set::builder("ends").migration("V1__a", hidden);
    assert!(matches!(up(&database, ends).await.unwrap_err(), Error::Set(_)));
}

#[tokio::test]
async fn a_file_for_psql_is_refused_with_its_line() {
    let database = TestDatabase::empty().await;
    let set = Set::builder("dump").migration("V1__a", "CREATE TABLE a (n int);\n\nCOPY a (n) FROM stdin;\n1\n\\.\n");
    let error = up(&database, set).await.unwrap_err().to_string();
    assert!(error.starts_with("line 3 of V1__a.sql: COPY FROM STDIN cannot be used"), "{error}");
    let set = Set::builder("dump").migration("V1__a", "CREATE TABLE a (n int);\n\\copy a FROM 'a.csv'\n");
    let error = up(&database, set).await.unwrap_err().to_string();
    assert_eq!(error, "line 2 of V1__a.sql: only psql understands \\copy a FROM 'a.csv'; a migration holds SQL alone");
}
