//! What is read from the words of a way back.

use super::*;

fn taken(sql: &str) -> Vec<What> {
    of(&Script::own("a.down.sql", sql)).taken.into_iter().map(|taken| taken.what).collect()
}

fn table(name: &str) -> What {
    What::Table(name.to_owned())
}

fn column(table: &str, column: &str) -> What {
    What::Column { table: table.to_owned(), column: column.to_owned() }
}

fn rows(table: &str, cascades: bool) -> What {
    What::Rows { table: table.to_owned(), cascades }
}

fn unclear(what: &str) -> What {
    What::Unclear(what.to_owned())
}

#[test]
fn tables_columns_and_rows_are_read_from_the_words() {
    assert_eq!(
        taken("drop table if exists A, s.\"B b\", d.s.c cascade"),
        [table("a"), table("s.\"B b\""), table("s.c")]
    );
    assert_eq!(
        taken(
            "ALTER TABLE IF EXISTS ONLY s.t DROP COLUMN IF EXISTS a, DROP b CASCADE, DROP CONSTRAINT c, ALTER d DROP NOT NULL"
        ),
        [column("s.t", "a"), column("s.t", "b")]
    );
    assert_eq!(taken("ALTER TABLE t ADD CHECK (a IN (1, 2)), DROP \"constraint\""), [column("t", "constraint")]);
    assert_eq!(taken("TRUNCATE TABLE ONLY a, b * RESTART IDENTITY CASCADE"), [rows("a", true), rows("b", true)]);
    assert_eq!(taken("TRUNCATE a"), [rows("a", false)]);
    assert_eq!(taken("DELETE FROM ONLY a WHERE x = 1"), [rows("a", false)]);
    assert_eq!(taken("WITH d AS (DELETE FROM s.a RETURNING x) SELECT count(*) FROM d"), [rows("s.a", false)]);
    assert_eq!(taken("DROP SCHEMA a, b CASCADE"), [What::Schema("a".into()), What::Schema("b".into())]);
    assert_eq!(taken("DROP EXTENSION IF EXISTS hstore"), [What::Extension("hstore".into())]);
}

#[test]
fn what_takes_nothing_away_is_left_out() {
    for harmless in [
        "DROP INDEX CONCURRENTLY IF EXISTS i",
        "DROP VIEW v CASCADE",
        "DROP FUNCTION f(int)",
        "DROP TYPE mood",
        "ALTER TABLE t ALTER COLUMN a TYPE bigint",
        "ALTER TABLE t DROP CONSTRAINT c CASCADE",
        "CREATE TRIGGER x AFTER DELETE ON t EXECUTE FUNCTION f()",
        "CREATE TABLE a (b int REFERENCES c ON DELETE CASCADE)",
        "INSERT INTO t VALUES (1)",
        "SELECT setval('a', coalesce(max(id), 1)) FROM t",
        "GRANT DELETE ON t TO r",
    ] {
        assert_eq!(taken(harmless), [], "{harmless}");
    }
}

#[test]
fn what_cannot_be_told_is_said() {
    assert_eq!(taken("DO $$BEGIN DROP TABLE a; END$$"), [unclear("runs a DO block")]);
    assert_eq!(taken("CALL p()"), [unclear("calls a procedure")]);
    assert_eq!(taken("SELECT app.purge()"), [unclear("calls a function")]);
    assert_eq!(taken("EXECUTE remove (1)"), [unclear("runs EXECUTE remove (1) …")]);
    assert_eq!(taken("DROP OWNED BY r"), [unclear("drops all that a role owns")]);
    assert_eq!(taken("DROP TYPE mood CASCADE"), [unclear("drops a type with CASCADE, and the columns of it")]);
    assert_eq!(taken("ALTER TABLE t ALTER a TYPE int USING 0"), [unclear("computes the values of a column of t anew")]);
    let moved = "alters a schema, after which names mean something else";
    assert_eq!(taken("ALTER SCHEMA a RENAME TO b; DROP TABLE b.c"), [unclear(moved), table("b.c")]);
    for code in ["VALUES (purge())", "CREATE OR REPLACE RULE r AS ON INSERT TO t DO ALSO DELETE FROM u"] {
        assert_eq!(taken(code), [unclear("makes or runs code")], "{code}");
    }
    assert_eq!(taken("DROP TABLE U&\"a\""), [unclear("drops a table whose name cannot be read")]);
}

#[test]
fn a_changed_search_path_makes_bare_names_unclear() {
    let moved = "drops something by a name whose schema the file has changed";
    assert_eq!(taken("SET LOCAL search_path TO app; DROP TABLE a; DROP TABLE s.b"), [unclear(moved), table("s.b")]);
    assert_eq!(taken("SELECT set_config('search_path', 'app', false); TRUNCATE a"), [unclear(moved)]);
}

#[test]
fn a_file_that_renames_is_known() {
    assert!(of(&Script::own("a", "ALTER TABLE a RENAME TO b; DROP TABLE b")).renames);
    assert!(of(&Script::own("a", "ALTER TABLE a SET SCHEMA b")).renames);
    assert!(!of(&Script::own("a", "ALTER TABLE a DROP b")).renames);
}

#[test]
fn each_statement_has_its_line() {
    let lines: Vec<_> =
        of(&Script::own("a", "-- why\nDROP TABLE a;\n\nDROP TABLE b;")).taken.iter().map(|t| t.line).collect();
    assert_eq!(lines, [2, 4]);
}
