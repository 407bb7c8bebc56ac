//! The platform's set laid over a folder like the platform's own: some 450 files, numbers that repeat, concurrent indexes,
//! ways back. The folder is made here; names up to v0.3.5 are those of the releases in `fixtures/`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::{Dice, Program, TestDatabase, release, seed};

const KILLS: u32 = 30;
const REPLICAS: usize = 16;

/// What the set has of its own for a file of this name.
const OURS: [(&str, &str); 18] = [
    ("032_task_usage", include_str!("../../migrations/platform/V32__task_usage.sql")),
    ("072_task_usage_updated_at", include_str!("../../migrations/platform/V72__task_usage_updated_at.sql")),
    ("073_task_usage_daily_rollup", include_str!("../../migrations/platform/V73__task_usage_daily_rollup.sql")),
    ("074_task_usage_updated_at_index", include_str!("../../migrations/platform/V74__task_usage_updated_at_index.sql")),
    ("075_task_usage_created_at_index", include_str!("../../migrations/platform/V75__task_usage_created_at_index.sql")),
    ("076_task_usage_pgcron_extension", include_str!("../../migrations/platform/V76__task_usage_pgcron_extension.sql")),
    (
        "077_task_usage_daily_invalidation",
        include_str!("../../migrations/platform/V77__task_usage_daily_invalidation.sql"),
    ),
    (
        "078_task_usage_created_at_legacy_index",
        include_str!("../../migrations/platform/V78__task_usage_created_at_legacy_index.sql"),
    ),
    ("081_runtime_timezone", include_str!("../../migrations/platform/V81__runtime_timezone.sql")),
    ("082_rollup_runtime_timezone", include_str!("../../migrations/platform/V82__rollup_runtime_timezone.sql")),
    ("084_task_usage_dashboard_rollup", include_str!("../../migrations/platform/V84__task_usage_dashboard_rollup.sql")),
    ("101_task_usage_hourly_schema", include_str!("../../migrations/platform/V101__task_usage_hourly_schema.sql")),
    ("102_task_usage_hourly_pipeline", include_str!("../../migrations/platform/V102__task_usage_hourly_pipeline.sql")),
    ("103_drop_legacy_daily_rollups", include_str!("../../migrations/platform/V103__drop_legacy_daily_rollups.sql")),
    ("104_drop_runtime_timezone", include_str!("../../migrations/platform/V104__drop_runtime_timezone.sql")),
    (
        "213_task_usage_authoritative_cost",
        include_str!("../../migrations/platform/V213__task_usage_authoritative_cost.sql"),
    ),
    (
        "243_workspace_teardown_dirty_trigger_guard",
        include_str!("../../migrations/platform/V243__workspace_teardown_dirty_trigger_guard.sql"),
    ),
    (
        "272_rollup_task_usage_hourly_xact_lock",
        include_str!("../../migrations/platform/V272__rollup_task_usage_hourly_xact_lock.sql"),
    ),
];

/// The names of the files up to v0.3.5, from the ledgers of the releases.
fn released() -> BTreeSet<String> {
    let releases = [
        include_str!("fixtures/releases/v0.2.13.sql"),
        include_str!("fixtures/releases/v0.2.30.sql"),
        include_str!("fixtures/releases/v0.3.4.sql"),
        include_str!("fixtures/releases/v0.3.8-stuck.sql"),
        include_str!("fixtures/releases/v0.3.5.sql"),
    ];
    let is_name =
        |text: &&str| text.len() > 4 && text[..3].bytes().all(|c| c.is_ascii_digit()) && text.as_bytes()[3] == b'_';
    let names = releases.iter().flat_map(|release| release.split('\'')).filter(is_name);
    names.filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')).map(str::to_owned).collect()
}

/// The files of the folder by name: what is applied, and what takes it back.
fn files() -> BTreeMap<String, (String, String)> {
    let mut files = BTreeMap::new();
    let first = include_str!("fixtures/releases/v0.2.13.sql");
    let tables = first.split_once("-- 2.").expect("the ledger comes first").1;
    let (before, rest) = tables.split_once("-- 4. Usage").expect("the fixture has a usage section");
    let (_, after) = rest.split_once("-- 5.").expect("and one behind it");
    let (after, on_usage) = after.split_once("CREATE VIEW issue_usage").expect("a view of usage");
    let drop_all = "DROP SCHEMA public CASCADE; CREATE SCHEMA public;".to_owned();
    for name in released() {
        let column = format!("added_by_{}", &name[..3]);
        let up = match name.as_str() {
            "001_init" => format!("-- 2.{before}\n-- 5.{after}"),
            "054_add_starter_content_state_to_users" => format!("CREATE VIEW issue_usage{on_usage}"),
            // Usual where the tool does not wrap.
            name if name.len() % 5 == 0 => {
                format!("BEGIN;\nALTER TABLE users ADD COLUMN IF NOT EXISTS {column} int;\nCOMMIT;\n")
            }
            _ => format!("ALTER TABLE users ADD COLUMN IF NOT EXISTS {column} int;\n"),
        };
        let down = if name == "001_init" {
            drop_all.clone()
        } else {
            format!("ALTER TABLE users DROP COLUMN IF EXISTS {column};")
        };
        files.insert(name, (up, down));
    }
    let tables = ["users", "workspace", "member", "project", "issue", "comment", "skill", "inbox_item"];
    let mut indexes = 0;
    for number in 106..=405_usize {
        let table = tables[number % tables.len()];
        if number % 15 == 0 {
            let up = format!("CREATE TABLE note_{number} (id bigint PRIMARY KEY, text text NOT NULL DEFAULT '');\n");
            files.insert(format!("{number}_note"), (up, format!("DROP TABLE note_{number};")));
            let up = format!("INSERT INTO note_{number} SELECT n FROM generate_series(1, 50) n;\n");
            files.insert(format!("{number}_note_rows"), (up, format!("TRUNCATE note_{number};")));
        } else if number % 2 == 0 || indexes < 20 {
            indexes += 1;
            let up = format!("CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_{table}_{number} ON {table} (id);\n");
            files.insert(
                format!("{number}_{table}_index"),
                (up, format!("DROP INDEX CONCURRENTLY IF EXISTS idx_{table}_{number};")),
            );
        } else {
            let up = format!("ALTER TABLE {table} ADD COLUMN c{number} int NOT NULL DEFAULT {number};\n");
            files.insert(
                format!("{number}_{table}_column"),
                (up, format!("ALTER TABLE {table} DROP COLUMN c{number};")),
            );
        }
    }
    let (_, unbind) = release::LATER[2];
    files.insert("251_agent_runtime_unbind".to_owned(), (unbind.concat(), String::new()));
    // What is replaced is never run.
    for (name, _) in OURS {
        files.insert(name.to_owned(), ("SELECT 1 / 0;\n".to_owned(), String::new()));
    }
    assert!(files.len() > 440 && indexes >= 150, "{} files, {indexes} indexes", files.len());
    files
}

/// The folder on disk, one for the process.
fn folder() -> PathBuf {
    static FOLDER: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("overlay-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            for (name, (up, down)) in files() {
                std::fs::write(folder.join(format!("{name}.up.sql")), up).unwrap();
                if !down.is_empty() {
                    std::fs::write(folder.join(format!("{name}.down.sql")), down).unwrap();
                }
            }
            folder
        })
        .clone()
}

fn program(database: &TestDatabase) -> Program {
    let folder = folder();
    database.program().args(["--set", "platform", "--dir", folder.to_str().unwrap()])
}

/// The platform's server calls itself ready when every file's name stands in its ledger.
async fn assert_ready(database: &TestDatabase) {
    let rows = database.rows("SELECT version FROM public.schema_migrations", &[]).await;
    let recorded: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let missing: Vec<String> = files().into_keys().filter(|name| !recorded.contains(name)).collect();
    assert!(missing.is_empty(), "not in the ledger: {missing:?}");
    let invalid: i64 = database.value("SELECT count(*) FROM pg_index WHERE NOT indisvalid").await;
    assert_eq!(invalid, 0);
    program(database).args(["status", "--check"]).run().expect(0);
    program(database).args(["verify"]).run().expect(0);
    database.assert_parity().await;
}

fn snapshot(database: &TestDatabase) -> String {
    database.program().args(["snapshot"]).run().expect(0).stdout
}

#[tokio::test]
async fn from_nothing_the_schema_is_that_of_a_plain_run() {
    let database = TestDatabase::empty().await;
    let up = program(&database).args(["up"]).run().expect(0);
    assert!(up.stdout.contains("done: the database is at version"), "{}", up.stdout);
    assert_ready(&database).await;
    let again = program(&database).args(["up"]).run().expect(0);
    assert!(again.stdout.contains("nothing to do"), "{}", again.stdout);

    // One message a file, in the order of the names, as psql would send them.
    let plain = TestDatabase::empty().await;
    let session = plain.session().await;
    for (name, (up, _)) in files() {
        let ours = OURS.iter().find(|(own, _)| *own == name).map(|(_, text)| *text);
        session.batch_execute(ours.unwrap_or(&up)).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    }
    session.batch_execute(include_str!("../../migrations/platform/R__usage_pipeline.sql")).await.unwrap();
    assert_eq!(snapshot(&database), snapshot(&plain));
}

#[tokio::test]
async fn from_every_release_the_ledger_becomes_complete_and_no_token_is_lost() {
    for (name, lived) in
        [("v0.2.13", true), ("v0.2.30", true), ("v0.3.4", true), ("v0.3.8-stuck", true), ("v0.3.5", true)]
    {
        let database = TestDatabase::empty().await;
        release::build(&database, name, lived).await;
        let up = program(&database).args(["up"]).run();
        assert_eq!(up.status.code(), Some(0), "{name}:\n{}\n{}", up.stdout, up.stderr);
        assert_ready(&database).await;
    }
}

#[tokio::test]
async fn killed_at_any_moment_the_next_run_goes_on() {
    let seed = seed("KILL_SEED");
    let mut dice = Dice::new(seed);
    let undisturbed = TestDatabase::empty().await;
    let started = std::time::Instant::now();
    program(&undisturbed).args(["up"]).run().expect(0);
    let whole = u64::try_from(started.elapsed().as_millis()).unwrap();
    let database = TestDatabase::empty().await;
    let mut hits = 0;
    for _ in 0..KILLS {
        let mut runner = program(&database).args(["up"]).start();
        tokio::time::sleep(Duration::from_millis(40 + dice.below(whole / 12))).await;
        hits += u32::from(runner.is_running());
        if runner.is_running() {
            runner.signal("KILL");
        }
        let _ = runner.wait();
    }
    assert!(hits > KILLS / 3, "KILL_SEED={seed}: {hits} kills hit a run");
    let up = program(&database).args(["up"]).run();
    assert_eq!(up.status.code(), Some(0), "KILL_SEED={seed}:\n{}\n{}", up.stdout, up.stderr);
    assert_ready(&database).await;
    assert_eq!(snapshot(&database), snapshot(&undisturbed), "KILL_SEED={seed}");
}

#[tokio::test]
async fn of_sixteen_replicas_one_does_the_work() {
    let database = TestDatabase::empty().await;
    release::build(&database, "v0.3.4", true).await;
    let replicas: Vec<_> = (0..REPLICAS).map(|_| program(&database).args(["up"]).start()).collect();
    let ended: Vec<_> = replicas.into_iter().map(|replica| replica.wait().expect(0)).collect();
    let worked = ended.iter().filter(|ended| ended.stdout.contains("done: the database is at version")).count();
    assert_eq!(worked, 1);
    assert_ready(&database).await;
}
