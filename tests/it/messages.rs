//! What is said when something is in the way that the operator can do something about, and what must not depend on how a server
//! or a database is set up.

use crate::harness::{TestDatabase, release, with_authority};

#[tokio::test]
async fn a_read_only_default_is_named_before_anything_is_tried() {
    let database = TestDatabase::empty().await;
    let set = format!("ALTER DATABASE {} SET default_transaction_read_only = on", database.name);
    database.batch(&set).await;
    for args in [&["up"][..], &["up", "--dry-run"]] {
        let up = database.program().args(args.iter().copied()).run().expect(7);
        assert!(up.stderr.contains("are read-only (default_transaction_read_only)"), "{}", up.stderr);
        assert!(up.stderr.contains("?options=-cdefault_transaction_read_only%3Doff"), "{}", up.stderr);
    }
    let url = format!("{}?options=-cdefault_transaction_read_only%3Doff", database.url);
    database.program().env("DATABASE_URL", &url).args(["up"]).run().expect(0);
    let tick = database.program().args(["rollup", "tick"]).run().expect(7);
    assert!(tick.stderr.contains("default_transaction_read_only"), "{}", tick.stderr);
    database.program().args(["status"]).run().expect(0);
    database.program().args(["verify"]).run().expect(0);
}

#[tokio::test]
async fn a_history_row_that_was_deleted_is_put_back_by_the_statement_proposed() {
    let database = TestDatabase::at_version(104, 20, 2).await;
    database.batch("DELETE FROM migrate.history_platform WHERE version = 74").await;
    let up = database.program().args(["up"]).run().expect(4);
    let (_, rest) = up.stderr.split_once("put it back: ").expect("a statement");
    let (statement, _) = rest.split_once(';').expect("its end");
    database.batch(statement).await;
    database.program().args(["up"]).run().expect(0);
    database.program().args(["verify", "history"]).run().expect(0);
}

/// As `pg_dump -n public` and a restore leave it: everything, but not the history.
#[tokio::test]
async fn a_backup_without_the_history_is_recognised_by_status_too() {
    let database = TestDatabase::at_version(104, 20, 2).await;
    database.batch("DROP SCHEMA migrate CASCADE").await;
    for args in [&["up"][..], &["up", "--dry-run"], &["status"], &["status", "--check"]] {
        let refused = database.program().args(args.iter().copied()).run().expect(7);
        assert!(refused.stderr.contains("nothing records how it came to be"), "{}", refused.stderr);
        assert!(refused.stderr.contains("restore the schema migrate as well"), "{}", refused.stderr);
    }
}

#[tokio::test]
async fn a_schema_of_our_name_that_is_somebody_elses_is_said_to_be_so() {
    let database = TestDatabase::empty().await;
    let (ours, theirs) = (format!("ours_{}", database.name), format!("theirs_{}", database.name));
    database
        .batch(&format!(
            "CREATE ROLE {ours} LOGIN PASSWORD 'ours'; CREATE ROLE {theirs};
             GRANT CREATE ON DATABASE {0} TO {ours}; GRANT ALL ON SCHEMA public TO {ours};
             CREATE SCHEMA migrate AUTHORIZATION {theirs};
             CREATE TABLE migrate.birds (flock text); ALTER TABLE migrate.birds OWNER TO {theirs}",
            database.name
        ))
        .await;
    let url = with_authority(&database.url, Some(&format!("{ours}:ours")), None);
    for args in [&["up"][..], &["up", "--dry-run"]] {
        let up = database.program().env("DATABASE_URL", &url).args(args.iter().copied()).run().expect(7);
        assert!(up.stderr.contains(&format!("{theirs} owns it, and it holds birds")), "{}", up.stderr);
        assert!(!up.stderr.contains("ALL TABLES"), "{}", up.stderr);
    }
    database.batch("ALTER SCHEMA migrate RENAME TO migration_of_birds").await;
    database.program().env("DATABASE_URL", &url).args(["up", "--set", "platform"]).run().expect(0);
    database.batch(&format!("DROP OWNED BY {ours}, {theirs} CASCADE; DROP ROLE {ours}, {theirs}")).await;
}

#[tokio::test]
async fn a_database_without_an_encoding_may_hold_any_byte_in_a_name() {
    let server = crate::harness::server_url();
    let admin = crate::harness::session(&server).await;
    let name = format!("migrate_test_ascii_{}", std::process::id());
    let create = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'");
    admin.batch_execute(&create).await.unwrap();
    let database = TestDatabase { url: crate::harness::with_database(&server, &name), name };
    database.program().args(["up"]).run().expect(0);
    database.write_usage(20, 1).await;
    database
        .batch("UPDATE task_usage SET provider = 'codex', model = convert_from('\\x6dff80', 'SQL_ASCII') || id")
        .await;
    let verified = database.program().args(["verify", "rollup", "-v"]).run();
    assert_ne!(verified.status.code(), Some(1), "{}", verified.stderr);
    database.program().args(["verify", "rollup", "--fix"]).run();
    database.program().args(["verify", "rollup"]).run();
    for args in [&["rollup", "tick"][..], &["rollup", "status"], &["up"]] {
        database.program().args(args.iter().copied()).run().expect(0);
    }
    let repair = ["repair", "codex-cache", "--cutoff", "2026-11-01T00:00:00Z"];
    database.program().args(repair).run().expect(0);
}

/// What the server says of its objects depends on these; what we make of it must not.
#[tokio::test]
async fn no_setting_of_a_database_is_taken_for_drift_or_keeps_an_old_one_from_being_taken_over() {
    const SETTINGS: [&str; 7] = [
        "standard_conforming_strings = off",
        "quote_all_identifiers = on",
        "DateStyle = 'SQL, DMY'",
        "IntervalStyle = 'iso_8601'",
        "bytea_output = 'escape'",
        "extra_float_digits = -15",
        "transform_null_equals = on",
    ];
    let old = TestDatabase::empty().await;
    release::build(&old, "v0.3.4", true).await;
    let settled = TestDatabase::at_version(272, 20, 2).await;
    for setting in SETTINGS {
        for database in [&settled, &old] {
            database.batch(&format!("ALTER DATABASE {} SET {setting}", database.name)).await;
        }
    }
    settled.program().args(["verify"]).run().expect(0);
    settled.program().args(["up"]).run().expect(0);
    old.program().args(["up"]).run().expect(0);
    old.program().args(["verify"]).run().expect(0);
}
