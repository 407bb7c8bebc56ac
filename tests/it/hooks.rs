//! What the engine promises to hooks, and what hooks promise to the engine.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use migrate::CancellationToken;
use migrate::db::{Connector, Database};
use migrate::engine::{
    Boundary, Error, Event, Forecast, Hook, HookContext, HookError, Migration, Migrator, Outcome, Set, Step, UpOptions,
};
use migrate::platform;

use crate::harness::{TestDatabase, latest};

/// Does what its SQL says.
struct SqlHook {
    plan: &'static str,
    run: &'static str,
}

#[async_trait]
impl Hook for SqlHook {
    fn name(&self) -> &'static str {
        "sql-hook"
    }

    async fn plan(&self, cx: &HookContext) -> Result<Forecast, HookError> {
        cx.connect().await?.batch(self.plan).await?;
        Ok(Forecast::work("run its SQL"))
    }

    async fn run(&self, cx: &HookContext) -> Result<Outcome, HookError> {
        cx.connect().await?.batch(self.run).await?;
        Ok(Outcome::new("ran its SQL"))
    }
}

type Events = Arc<Mutex<Vec<Event>>>;

fn migrator(database: &TestDatabase, set: Set) -> (Migrator, Events) {
    let events = Events::default();
    let sink = Arc::clone(&events);
    let target = Database::from_url(&database.url).unwrap();
    let migrator = Migrator::new(set, target, CancellationToken::new(), move |event| sink.lock().unwrap().push(event));
    (migrator, events)
}

fn set_with(hook: SqlHook) -> Set {
    Set::builder("hooked")
        .migration("V1__a", "CREATE TABLE a (n int)")
        .migration("V2__b", "DO $$ BEGIN RAISE NOTICE 'hello from %', 'V2'; END $$; CREATE TABLE b (n int)")
        .before(2, hook)
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_hook_that_fails_stops_the_run_and_the_next_run_tries_again() {
    let database = TestDatabase::empty().await;
    let (broken, _) = migrator(&database, set_with(SqlHook { plan: "", run: "SELECT 1 / 0" }));
    let error = broken.up(&UpOptions::default()).await.unwrap_err();
    assert!(matches!(&error, Error::Hook { boundary: Boundary::Before(version), .. } if *version == 2), "{error}");
    assert_eq!(error.to_string(), "hook sql-hook before version 2 failed: division by zero (SQLSTATE 22012)");
    let b: bool = database.value("SELECT to_regclass('b') IS NOT NULL").await;
    assert!(!b);

    let (mended, _) = migrator(&database, set_with(SqlHook { plan: "", run: "INSERT INTO a VALUES (1)" }));
    let summary = mended.up(&UpOptions::default()).await.unwrap();
    assert_eq!((summary.version, summary.migrations, summary.hooks), (2.into(), 1, 1));
    let states: Vec<String> = database
        .rows("SELECT state FROM migrate.hook_run WHERE finished_at IS NOT NULL ORDER BY id", &[])
        .await
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(states, ["failed", "done"]);
}

#[tokio::test]
async fn a_hook_can_be_run_by_itself() {
    let database = TestDatabase::empty().await;
    let connector = Connector::new(Database::from_url(&database.url).unwrap(), CancellationToken::new());
    let cx = HookContext::alone("sql-hook", connector);
    let hook = SqlHook { plan: "", run: "CREATE TABLE made (n int)" };
    assert!(hook.plan(&cx).await.unwrap().work);
    hook.run(&cx).await.unwrap();

    let connection = cx.connect().await.unwrap();
    assert_eq!(cx.load_state::<i32>(&connection).await.unwrap(), None);
    cx.save_state(&connection, &7).await.unwrap();
    assert_eq!(cx.load_state::<i32>(&connection).await.unwrap(), Some(7));
    cx.clear_state(&connection).await.unwrap();
    assert_eq!(cx.load_state::<i32>(&connection).await.unwrap(), None);
    let made: bool =
        database.value("SELECT to_regclass('made') IS NOT NULL AND to_regnamespace('migrate') IS NULL").await;
    assert!(made);
}

#[tokio::test]
async fn a_forecast_cannot_write() {
    let database = TestDatabase::empty().await;
    let (first, _) = migrator(&database, set_with(SqlHook { plan: "", run: "SELECT 1" }));
    first.up(&UpOptions { target: Some(1.into()), ..UpOptions::default() }).await.unwrap();
    let (writing, _) = migrator(&database, set_with(SqlHook { plan: "INSERT INTO a VALUES (1)", run: "" }));
    let error = writing.preview(&UpOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("read-only transaction (SQLSTATE 25006)"), "{error}");
    let rows: i64 = database.value("SELECT count(*) FROM a").await;
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn what_the_server_says_on_the_side_is_passed_on() {
    let database = TestDatabase::empty().await;
    let (migrator, events) = migrator(&database, set_with(SqlHook { plan: "", run: "SELECT 1" }));
    migrator.up(&UpOptions::default()).await.unwrap();
    let events = events.lock().unwrap();
    let notices: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Notice(notice) => Some(notice.message.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(notices, ["hello from V2"]);
}

#[tokio::test]
async fn a_preview_names_exactly_the_steps_that_a_run_takes() {
    let database = TestDatabase::at_version(84, 500, 60).await;
    let (migrator, events) = migrator(&database, platform::platform().unwrap());
    let preview = migrator.preview(&UpOptions::default()).await.unwrap();
    let planned: Vec<String> = preview
        .steps
        .iter()
        .map(|step| match step {
            Step::Baseline { versions } => format!("baseline {}", versions.len()),
            Step::Adopt { versions, .. } => format!("adopt {}", versions.len()),
            Step::Hook { hook, boundary, .. } => format!("{} {boundary}", hook.name()),
            Step::Repeat { repeatable, .. } => repeatable.file(),
            Step::Apply { migration, .. } => format!("V{}", migration.version()),
        })
        .collect();
    migrator.up(&UpOptions::default()).await.unwrap();
    let taken: Vec<String> = events
        .lock()
        .unwrap()
        .iter()
        .filter_map(|event| match event {
            Event::Adopted { versions, .. } => Some(format!("adopt {}", versions.len())),
            Event::HookFinished { hook, boundary, .. } => Some(format!("{hook} {boundary}")),
            Event::RepeatableApplied { name, .. } => Some(format!("R__{name}.sql")),
            Event::MigrationApplied { version, .. } => Some(format!("V{version}")),
            _ => None,
        })
        .collect();
    assert_eq!(planned, taken);
    assert_eq!(
        planned[..6],
        ["V101", "V102", "R__usage_pipeline.sql", "hourly-backfill before version 103", "V103", "V104"]
    );
}

/// Every hook of every set, on a database of every version at and below its boundary: it can be planned, and
/// where it is its turn, run twice.
#[tokio::test]
async fn every_hook_bears_every_database_it_can_meet() {
    for set in migrate::product().contents().map(|content| content.set().unwrap()) {
        let name = set.name().to_owned();
        let boundaries = set.migrations().iter().map(Migration::version);
        for before in boundaries.filter(|version| !set.hooks_before(*version).is_empty()) {
            let database = TestDatabase::empty().await;
            let (migrator, _) = migrator(&database, set.clone());
            let previous = set.migrations().iter().map(Migration::version).filter(|version| *version < before).max();
            if let Some(previous) = previous {
                migrator.up(&UpOptions { target: Some(previous), ..UpOptions::default() }).await.unwrap();
                // The migration behind the hook fails once; the hook comes again.
                let history = format!("migrate.history_{}", name.replace('-', "_"));
                database.batch(&format!("ALTER TABLE {history} ADD CONSTRAINT once CHECK (version <> {before})")).await;
                migrator.preview(&UpOptions { target: Some(before), ..UpOptions::default() }).await.unwrap();
                let failed =
                    migrator.up(&UpOptions { target: Some(before), ..UpOptions::default() }).await.unwrap_err();
                assert!(matches!(failed, Error::Migration { .. }), "{name} {before}: {failed}");
                database.batch(&format!("ALTER TABLE {history} DROP CONSTRAINT once")).await;
            }
            let again = migrator.up(&UpOptions { target: Some(before), ..UpOptions::default() }).await.unwrap();
            assert_eq!(again.hooks, set.hooks_before(before).len(), "{name} {before}");
        }
    }
}

#[tokio::test]
async fn an_unknown_hook_or_target_is_wrong_usage() {
    let database = TestDatabase::empty().await;
    let up = database.program().args(["up", "--skip-hook", "nonsense"]).run().expect(2);
    let names = platform::platform().unwrap().hook_names().join(", ");
    assert_eq!(up.stderr, format!("error: there is no hook \"nonsense\": this set has {names}\n"));
    let up = database.program().args(["up", "--target", "9999"]).run().expect(2);
    assert_eq!(up.stderr, format!("error: there is no version 9999: the latest is {}\n", latest()));
    database.program().args(["up", "--target", "0"]).run().expect(2);
}

#[tokio::test]
async fn a_set_can_ask_for_a_newer_server() {
    let database = TestDatabase::empty().await;
    let set = Set::builder("future").minimum_server(99).migration("V1__a", "SELECT 1").build().unwrap();
    let (migrator, _) = migrator(&database, set);
    let error = migrator.up(&UpOptions::default()).await.unwrap_err();
    assert!(matches!(error, Error::ServerTooOld { minimum: 99, .. }), "{error}");
}
