//! Every look at the server works as the least privileged role that may run it, or says what it lacks.

use std::path::Path;
use std::process::Command;

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
        assert!(up.stderr.contains("nobody seems to call the hourly rollup"), "{database}: {}", up.stderr);
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
    assert_eq!(program(&url).args(["up"]).run().expect(0).stderr, "");
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
