//! Every look at the server works as the least privileged role that may run it, or says what it lacks.

use std::path::Path;
use std::process::Command;

use migrate::CancellationToken;
use migrate::db::Database;
use migrate::engine::{Error, Lacks, Migrator, Set, UpOptions};

use crate::harness::{Program, TestDatabase, special_server, with_database};

/// The same database as another role. Its password is its name.
fn as_role(url: &str, role: &str) -> String {
    let (_, rest) = url.split_once('@').expect("a URL with a user");
    format!("postgres://{role}:{role}@{rest}")
}

fn program(url: &str) -> Program {
    Program::new().env("DATABASE_URL", url)
}

/// What only looks. A dry run is what an operator of the same rights would execute.
const LOOKS: [&[&str]; 9] = [
    &["status"],
    &["status", "--check"],
    &["verify"],
    &["verify", "rollup"],
    &["rollup", "status"],
    &["up", "--dry-run"],
    &["repair", "list"],
    &["repair", "runs"],
    &["repair", "codex-cache", "--cutoff", "2026-01-01T00:00:00Z"],
];

#[tokio::test]
async fn an_ordinary_owner_sees_what_it_may_of_pg_cron_and_is_told_that_nobody_ticks() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("script/server");
    if !Command::new(script).args(["has", "pg_cron"]).status().is_ok_and(|status| status.success()) {
        eprintln!("not tested: the server programs used here have no pg_cron");
        return;
    }
    let options = ["--set", "shared_preload_libraries=pg_cron", "--set", "cron.use_background_workers=on"];
    let (home, _) = special_server("cron-owner", &options);
    let server = TestDatabase { name: "postgres".to_owned(), url: home.clone() };
    server.batch("CREATE ROLE plain LOGIN PASSWORD 'plain'; CREATE EXTENSION pg_cron").await;
    server.batch("CREATE DATABASE elsewhere OWNER plain").await;

    // pg_cron keeps its jobs here, or in a database that the role knows nothing of.
    server.batch("GRANT CREATE ON DATABASE postgres TO plain; GRANT ALL ON SCHEMA public TO plain").await;
    for (database, here) in [("postgres", true), ("elsewhere", false)] {
        let url = as_role(&with_database(&home, database), "plain");
        let up = program(&url).args(["up"]).run().expect(0);
        assert!(up.stderr.contains("nothing seems to call the hourly rollup"), "{database}: {}", up.stderr);
        for look in LOOKS {
            program(&url).args(look.iter().copied()).run().expect(0);
        }
        let status = program(&url).args(["rollup", "status"]).run().expect(0);
        assert!(status.stdout.contains("nobody"), "{}", status.stdout);
        assert_eq!(status.stdout.contains("which this role cannot see"), here, "{}", status.stdout);
    }

    // With the right to look, it sees its own jobs and no others, and says so.
    server.batch("GRANT USAGE ON SCHEMA cron TO plain").await;
    let url = as_role(&home, "plain");
    let schedule =
        "SELECT cron.schedule('rollup_task_usage_hourly', '*/5 * * * *', 'SELECT rollup_task_usage_hourly()')";
    server.batch(schedule).await;
    let status = program(&url).args(["rollup", "status"]).run().expect(0);
    assert!(status.stdout.contains("which this role cannot see"), "{}", status.stdout);
    TestDatabase { name: "postgres".to_owned(), url: url.clone() }.batch(schedule).await;
    let status = program(&url).args(["rollup", "status"]).run().expect(0);
    assert!(status.stdout.contains("pg_cron job 2"), "{}", status.stdout);
    assert_eq!(program(&url).args(["up"]).run().expect(0).told(), "");
}

#[tokio::test]
async fn whoever_may_only_read_can_look_at_everything() {
    let database = TestDatabase::at_version(104, 100, 3).await;
    let reader = format!("reader_{}", database.name);
    database
        .batch(&format!(
            "CREATE ROLE {reader} LOGIN PASSWORD '{reader}';
             GRANT USAGE ON SCHEMA migrate TO {reader};
             GRANT SELECT ON ALL TABLES IN SCHEMA public, migrate TO {reader}"
        ))
        .await;
    let url = as_role(&database.url, &reader);
    for look in LOOKS {
        let looked = program(&url).args(look.iter().copied()).run();
        let (pending, dry_run) = (look.contains(&"--check"), look.contains(&"--dry-run"));
        // What it may not do is said by the dry run of it.
        let expected = if pending {
            3
        } else if dry_run {
            7
        } else {
            0
        };
        if looked.status.code() != Some(expected) {
            panic!("{look:?}: {:?}\n{}\n{}", looked.status.code(), looked.stdout, looked.stderr);
        }
    }
    // Without any right at all, it is told what to do about it.
    let revoke = format!(
        "REVOKE ALL ON ALL TABLES IN SCHEMA public, migrate FROM {reader};
         REVOKE ALL ON SCHEMA migrate FROM {reader}"
    );
    database.batch(&revoke).await;
    for look in LOOKS.into_iter().filter(|look| look[..] != ["repair", "list"]) {
        let looked = program(&url).args(look.iter().copied()).run().expect(7);
        assert!(looked.stderr.contains("GRANT"), "{look:?}: {}", looked.stderr);
    }
    database.batch(&format!("DROP OWNED BY {reader}; DROP ROLE {reader}")).await;
}

#[tokio::test]
async fn a_new_version_that_changes_a_table_of_somebody_else_is_refused_in_the_dry_run() {
    let database = TestDatabase::empty().await;
    let role = format!("app_{}", database.name);
    database
        .batch(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD '{role}';
             GRANT CREATE ON DATABASE {} TO {role};
             GRANT ALL ON SCHEMA public TO {role}",
            database.name
        ))
        .await;
    let set = Set::builder("shop")
        .migration("V1__tables", "CREATE TABLE account (n int); CREATE TABLE invoice (n int);")
        .migration("V2__account_note", "ALTER TABLE account ADD note text;")
        .migration("V3__invoice_note", "ALTER TABLE invoice ADD note text;")
        .described_by(
            "V1\n+ table account = permanent\n+ table invoice = permanent\n\
             V2\n+ column account.note = text\n\
             V3\n+ column invoice.note = text",
        )
        .owned_like("account")
        .build()
        .unwrap();
    let target = Database::from_url(&as_role(&database.url, &role)).unwrap();
    let migrator = Migrator::new(set, target, CancellationToken::new(), |_| {});
    migrator.up(&UpOptions { target: Some(2.into()), ..UpOptions::default() }).await.unwrap();
    database.batch("ALTER TABLE invoice OWNER TO postgres").await;
    let error = migrator.preview(&UpOptions::default()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Ownership { object, lacks: Lacks::Object, .. } if object == "table invoice"),
        "{error}"
    );
    database.batch(&format!("ALTER TABLE invoice OWNER TO {role}")).await;
    migrator.preview(&UpOptions::default()).await.unwrap();
    database.batch(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}")).await;
}
