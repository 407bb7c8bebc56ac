//! Databases as the platform's own migrator left them, brought up: every release, with usage that has seen life and
//! without, and the states people were stuck in. `script/test --all-servers` plays this on every major version.

use std::collections::BTreeMap;
use std::time::Instant;

use tokio::sync::OnceCell;

use migrate::db::{Connector, Database};
use migrate::engine::{Description, Migration, Objects, Set, objects};
use migrate::{CancellationToken, platform};

use crate::harness::{TestDatabase, all_versions, latest, release};

/// Whether a cell of the matrix has usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usage {
    Lived,
    None,
}

async fn objects_of(database: &TestDatabase) -> Objects {
    let set = platform::platform().expect("the set is sound");
    let connector =
        Connector::new(Database::from_url(&database.url).expect("a URL"), CancellationToken::new()).read_only();
    let connection = connector.connect("test").await.expect("a session");
    let objects = objects(&connection, &set).await.expect("they can be listed");
    connection.close().await;
    objects
}

/// The columns that a version adds, changes or drops on a table that it finds.
fn changed_columns(set: &Set) -> Vec<String> {
    let of_version = |version| {
        let objects = set.description().after(&[version]);
        let finds = |column: &&str| {
            column.split_once('.').is_some_and(|(table, _)| !objects.contains_key(format!("table {table}").as_str()))
        };
        let columns = objects.keys().filter_map(|object| object.strip_prefix("column "));
        columns.filter(finds).map(str::to_owned).collect::<Vec<_>>()
    };
    all_versions().into_iter().flat_map(of_version).collect()
}

/// For each table that is neither the pipeline's own nor rewritten by a version that says so, an expression over its columns,
/// but for those that the chain itself changes.
async fn tables(database: &TestDatabase) -> BTreeMap<String, String> {
    let set = platform::platform().expect("the set is sound");
    let rewritten: Vec<&str> = set.migrations().iter().flat_map(Migration::rewrites).map(String::as_str).collect();
    let rows = database
        .rows(
            "SELECT c.oid::regclass::text, string_agg(format('t.%I', a.attname), ', ' ORDER BY a.attnum)
             FROM pg_class c
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             WHERE c.relkind = 'r'
               AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'task_usage'::regclass)
               AND c.relname !~ '^(task_usage_.*|schema_migrations)$'
               AND c.relname || '.' || a.attname <> ALL ($1::text[])
               AND c.relname <> ALL ($2::text[])
             GROUP BY c.oid",
            &[&changed_columns(&set), &rewritten],
        )
        .await;
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// A checksum over every row of these tables, where it lies and which transaction wrote it included.
async fn contents(database: &TestDatabase, tables: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut contents = BTreeMap::new();
    for (table, columns) in tables {
        let sum: String = database
            .value(&format!(
                "SELECT count(*) || ' ' || coalesce(md5(string_agg(
                     format('%s %s %s', t.ctid, t.xmin, ROW({columns})), ',' ORDER BY t.ctid)), '')
                 FROM {table} t"
            ))
            .await;
        contents.insert(table.clone(), sum);
    }
    contents
}

/// The versions that the older migrator's ledger records, of ours.
async fn recorded(database: &TestDatabase) -> Vec<String> {
    let rows = database.rows("SELECT version FROM public.schema_migrations ORDER BY 1", &[]).await;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Brings a database up and checks everything that must hold afterwards.
async fn upgrade(name: &str, database: &TestDatabase, usage: Usage) {
    let set = platform::platform().expect("the set is sound");
    let before = objects_of(database).await;
    let tables = tables(database).await;
    let contents_before = contents(database, &tables).await;
    let had_updated_at = before.contains_key("column task_usage.updated_at");
    let ledger_before = recorded(database).await;

    let preview = database.program().args(["up", "--dry-run"]).run().expect(0);
    assert!(preview.stdout.contains("adopt V1 to V"), "{name}: {}", preview.stdout);
    assert_eq!(recorded(database).await, ledger_before, "{name}: a dry run writes nothing");
    assert!(!database.value::<bool>("SELECT to_regnamespace('migrate') IS NOT NULL").await, "{name}");

    let started = Instant::now();
    let up = database.program().args(["up", "--format", "json"]).run().expect(0);
    println!("{name}, {usage:?}: {:.2} s", started.elapsed().as_secs_f64());

    // Everything is recorded, by us and in the older ledger.
    assert_eq!(database.versions().await, all_versions(), "{name}");
    let adopted: Vec<i64> = up.events("adopted")[0]["versions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|version| version["version"].as_i64().expect("a number"))
        .collect();
    let ledger = recorded(database).await;
    for migration in set.migrations().iter().filter(|migration| migration.version() > 1) {
        let entry = format!("{:03}_{}", migration.version(), migration.name());
        assert!(ledger.contains(&entry), "{name}: {entry} is not recorded");
    }
    assert!(ledger_before.iter().all(|entry| ledger.contains(entry)), "{name}: entries are gone");

    // What we applied is what a fresh database has; everything else is as it was.
    let fresh = fresh().await;
    let after = objects_of(database).await;
    let description = Description::parse(include_str!("../../migrations/platform.objects")).expect("it can be read");
    let applied: Vec<_> = all_versions().into_iter().filter(|version| !adopted.contains(version)).collect();
    let mut ours = description.after(&applied);
    // What the repeatable file makes, it makes everywhere.
    let made = database.rows("SELECT jsonb_object_keys(made) FROM migrate.repeatable", &[]).await;
    let made: Vec<String> = made.iter().map(|row| row.get(0)).collect();
    for object in &made {
        assert_eq!(after.get(object), fresh.get(object), "{name}: {object}");
        assert!(fresh.contains_key(object), "{name}: {object}");
        ours.entry(object).or_insert((102.into(), Some("as in a fresh database")));
    }
    for (object, (version, definition)) in &ours {
        assert_eq!(fresh.contains_key(*object), definition.is_some(), "{name}: {object} of V{version}");
        assert_eq!(after.get(*object), fresh.get(*object), "{name}: {object} of V{version}");
    }
    // Indexes and columns that an older program has made in the same way are the same, too.
    for (object, (version, definition)) in description.after(&all_versions()) {
        if version.as_number().is_some_and(|version| (72..101).contains(&version)) && definition.is_some() {
            assert_eq!(after.get(object), fresh.get(object), "{name}: {object} of V{version}");
        }
    }
    let legacy = |object: &str| {
        let of_legacy = [
            "task_usage_daily",
            "task_usage_dashboard",
            "task_usage_rollup_state",
            "_dirty_rollup",
            "_dirty_dashboard",
        ];
        applied.contains(&103) && of_legacy.iter().any(|part| object.contains(part))
            || applied.contains(&103) && object.contains("task_usage_rollup_lag_seconds")
    };
    for object in before.keys().chain(after.keys()).filter(|object| !ours.contains_key(object.as_str())) {
        if legacy(object) {
            assert!(!after.contains_key(object), "{name}: {object} is still there");
        } else {
            assert_eq!(before.get(object), after.get(object), "{name}: {object} is not ours to touch");
        }
    }
    for (table, content) in contents(database, &tables).await {
        assert!(
            contents_before[&table] == content,
            "{name}: rows of {table} have changed; if a version is to do that, write into it: -- migrate: rewrites {table}"
        );
    }
    if !had_updated_at {
        let stamped: i64 = database.value("SELECT count(*) FROM task_usage WHERE updated_at IS NOT NULL").await;
        assert_eq!(stamped, 0, "{name}: old rows keep updated_at NULL");
    }

    // The hours are what the raw rows add up to: all that is not younger than five minutes, or will be with the next tick.
    let verified = database.program().args(["verify"]).run().expect(0);
    assert!(verified.stdout.contains("as they should be"), "{}", verified.stdout);
    caught_up(database).await;
    database.assert_parity().await;

    // And that is all.
    let ledger_after = recorded(database).await;
    let again = database.program().args(["up"]).run().expect(0);
    assert!(again.stdout.starts_with("nothing to do"), "{name}: {}", again.stdout);
    assert_eq!(objects_of(database).await, after, "{name}");
    assert_eq!(recorded(database).await, ledger_after, "{name}");
    database.program().args(["status", "--check"]).run().expect(0);
}

/// Rolls up what is younger than the watermark, as the next ticks would.
async fn caught_up(database: &TestDatabase) {
    database
        .batch("SELECT rollup_task_usage_hourly_window(watermark_at, now() + interval '10 years') FROM task_usage_hourly_rollup_state")
        .await;
}

/// What a fresh database has at the end of the chain. Looked at once.
async fn fresh() -> &'static Objects {
    static FRESH: OnceCell<Objects> = OnceCell::const_new();
    FRESH.get_or_init(|| async { objects_of(&TestDatabase::at_version(latest(), 0, 0).await).await }).await
}

/// A release, with usage or without.
async fn old(release_name: &str, usage: Usage) -> TestDatabase {
    let database = TestDatabase::empty().await;
    release::build(&database, release_name, usage == Usage::Lived).await;
    database
}

#[tokio::test]
async fn from_v0_2_13() {
    for usage in [Usage::Lived, Usage::None] {
        upgrade("v0.2.13", &old("v0.2.13", usage).await, usage).await;
    }
}

#[tokio::test]
async fn from_v0_2_30() {
    for usage in [Usage::Lived, Usage::None] {
        upgrade("v0.2.30", &old("v0.2.30", usage).await, usage).await;
    }
}

#[tokio::test]
async fn from_v0_3_4() {
    for usage in [Usage::Lived, Usage::None] {
        upgrade("v0.3.4", &old("v0.3.4", usage).await, usage).await;
    }
}

#[tokio::test]
async fn from_v0_3_5() {
    for usage in [Usage::Lived, Usage::None] {
        upgrade("v0.3.5", &old("v0.3.5", usage).await, usage).await;
    }
}

#[tokio::test]
async fn from_a_refused_103() {
    for usage in [Usage::Lived, Usage::None] {
        upgrade("103 refused", &old("v0.3.8-stuck", usage).await, usage).await;
    }
}

#[tokio::test]
async fn from_an_older_programs_half_finished_walk() {
    for usage in [Usage::Lived, Usage::None] {
        let database = old("v0.3.8-stuck", usage).await;
        database.batch("SELECT rollup_task_usage_hourly_window('epoch', now() - interval '120 days')").await;
        upgrade("half-finished walk", &database, usage).await;
    }
}

#[tokio::test]
async fn from_an_interrupted_concurrent_index() {
    for usage in [Usage::Lived, Usage::None] {
        let database = TestDatabase::empty().await;
        release::build_until_074(&database, usage == Usage::Lived).await;
        release::interrupt_index(&database, "idx_task_usage_updated_at", "updated_at").await;
        upgrade("interrupted index", &database, usage).await;
    }
}

#[tokio::test]
async fn dashboards_that_stayed_at_zero_are_filled_by_one_run() {
    // An empty database passed the guard, and nobody has ever called the rollup.
    let database = old("v0.3.5", Usage::None).await;
    release::live_on(&database).await;
    database.batch("TRUNCATE task_usage_hourly; UPDATE task_usage_hourly_rollup_state SET watermark_at = 'epoch', last_run_finished_at = NULL, last_run_started_at = NULL").await;
    database.program().args(["verify"]).run().expect(4);
    let up = database.program().args(["up"]).run().expect(0);
    assert!(up.stderr.contains("migrate rollup watch"), "{}", up.stderr);
    assert_eq!(database.versions().await, all_versions());
    let verified = database.program().args(["verify"]).run().expect(0);
    let history = format!("history: {} versions, 16 of them adopted", all_versions().len());
    assert!(verified.stdout.contains(&history), "{}", verified.stdout);
    caught_up(&database).await;
    database.assert_parity().await;
}

#[tokio::test]
async fn the_description_is_what_a_fresh_chain_leaves() {
    let database = TestDatabase::empty().await;
    let mut description = Description::default();
    let mut before = Objects::new();
    for version in all_versions() {
        database.program().args(["up", "--target", &version.to_string()]).run().expect(0);
        let after = objects_of(&database).await;
        description.add(version.into(), &before, &after);
        before = after;
    }
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/platform.objects");
    let (written, made) = (std::fs::read_to_string(&file).expect("it can be read"), description.to_string());
    if std::env::var_os("WRITE_OBJECTS").is_some() {
        std::fs::write(&file, made).expect("it can be written");
    } else {
        let differing = written.lines().zip(made.lines()).find(|(written, made)| written != made);
        assert!(
            written == made,
            "run script/objects: migrations/platform.objects is out of date, first at {differing:?}"
        );
    }
}
