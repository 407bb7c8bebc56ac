//! The set `usage-events`: its migrations beside writers, and its way back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use migrate::CancellationToken;
use migrate::db::{Connector, Database};
use migrate::engine::{Description, Objects, objects};
use migrate::usage_events::usage_events;
use tokio_postgres::Client;

use crate::harness::{Program, TestDatabase};

/// Three keys and two models, an hour apart.
const ROWS: &str = "
    INSERT INTO usage_events (key_id, model, timestamp, tokens_in, tokens_out, cost_estimate)
    SELECT ('00000000-0000-0000-0000-00000000000' || n % 3)::uuid, 'model-' || n % 2,
           timestamptz '2026-01-01 00:00Z' + n * interval '1 hour', n, n * 2, n * 0.01
    FROM generate_series(1, $rows) n";

/// A row with a window, as the application writes it from V3 on.
fn window(key: u8, user: &str) -> String {
    format!(
        "INSERT INTO usage_events (key_id, model, timestamp, window_start, window_end, openai_user_id, tokens_in)
         VALUES ('00000000-0000-0000-0000-00000000000{key}', 'm', '2026-02-01Z', '2026-02-01Z', '2026-02-02Z', '{user}', 1)"
    )
}

const INDEX: &str = "SELECT indexdef FROM pg_indexes WHERE indexname = 'usage_admin_bucket_idx'";
pub const INDEXES: &str =
    "SELECT string_agg(indexname, ' ' ORDER BY indexname) FROM pg_indexes WHERE tablename = 'usage_events'";
pub const BUILDING: &str =
    "SELECT EXISTS (SELECT FROM pg_stat_progress_create_index WHERE datname = current_database())";
const COLUMNS: &str = "SELECT count(*) FROM pg_attribute
     WHERE attrelid = 'usage_events'::regclass AND attnum > 0 AND NOT attisdropped";

pub fn of(database: &TestDatabase) -> Program {
    database.program().args(["--set", "usage-events"])
}

async fn at(version: i64, rows: u32) -> TestDatabase {
    let database = TestDatabase::empty().await;
    of(&database).args(["up", "--target", "2"]).run().expect(0);
    database.batch(&ROWS.replace("$rows", &rows.to_string())).await;
    if version > 2 {
        of(&database).args(["up", "--target", &version.to_string()]).run().expect(0);
    }
    database
}

async fn objects_of(database: &TestDatabase) -> Objects {
    let set = usage_events().expect("the set is sound");
    let connector =
        Connector::new(Database::from_url(&database.url).expect("a URL"), CancellationToken::new()).read_only();
    let connection = connector.connect("test").await.expect("a session");
    let objects = objects(&connection, &set).await.expect("they can be listed");
    connection.close().await;
    objects
}

#[tokio::test]
async fn the_description_is_what_a_fresh_chain_leaves() {
    let database = TestDatabase::empty().await;
    let mut description = Description::default();
    let mut before = Objects::new();
    for version in [1_i64, 2, 3] {
        of(&database).args(["up", "--target", &version.to_string()]).run().expect(0);
        let after = objects_of(&database).await;
        description.add(version.into(), &before, &after);
        before = after;
    }
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/usage_events.objects");
    let (written, made) = (std::fs::read_to_string(&file).expect("it can be read"), description.to_string());
    if std::env::var_os("WRITE_OBJECTS").is_some() {
        std::fs::write(&file, made).expect("it can be written");
    } else {
        assert!(written == made, "run script/objects: migrations/usage_events.objects is out of date");
        of(&database).args(["verify"]).run().expect(0);
    }
}

#[tokio::test]
async fn the_windows_come_and_go_and_the_rows_stay() {
    let database = at(2, 500).await;
    let digest = "SELECT md5(string_agg(u::text, ',' ORDER BY id)) FROM
                  (SELECT id, key_id, model, timestamp, tokens_in, tokens_out, cost_estimate FROM usage_events) u";
    let (rows, schema): (String, String) =
        (database.value(digest).await, of(&database).args(["snapshot"]).run().expect(0).stdout);
    let file: u32 = database.value("SELECT pg_relation_filenode('usage_events')").await;

    of(&database).args(["up"]).run().expect(0);
    let index: String = database.value(INDEX).await;
    assert!(
        index.ends_with(
            "(key_id, model, window_start, window_end, project_id, openai_user_id, openai_api_key_id, service_tier, batch) \
             NULLS NOT DISTINCT WHERE (window_start IS NOT NULL)"
        ),
        "{index}"
    );
    assert_eq!(database.value::<i64>(COLUMNS).await, 7 + 19);
    assert_eq!(database.value::<String>(digest).await, rows);
    assert_eq!(database.value::<u32>("SELECT pg_relation_filenode('usage_events')").await, file, "it was rewritten");
    of(&database).args(["verify"]).run().expect(0);
    let windows = of(&database).args(["snapshot"]).run().expect(0).stdout;

    of(&database).args(["down", "--execute", "--lose-data"]).run().expect(0);
    assert_eq!(of(&database).args(["snapshot"]).run().expect(0).stdout, schema);
    assert_eq!(database.value::<String>(digest).await, rows);
    of(&database).args(["verify"]).run().expect(0);
    of(&database).args(["up"]).run().expect(0);
    assert_eq!(of(&database).args(["snapshot"]).run().expect(0).stdout, windows);
    of(&database).args(["down", "--to", "0", "--execute", "--lose-data"]).run().expect(0);
    assert!(database.value::<bool>("SELECT to_regclass('usage_events') IS NULL").await);
}

#[tokio::test]
async fn the_way_back_refuses_rows_that_would_collide_and_changes_nothing() {
    let database = at(3, 10).await;
    for (key, user) in [(1, "a"), (1, "b"), (1, "c"), (2, "a"), (2, "b")] {
        database.batch(&window(key, user)).await;
    }
    let before = of(&database).args(["snapshot"]).run().expect(0).stdout;
    let refused = of(&database).args(["down", "--execute", "--lose-data"]).run().expect(7);
    let said = &refused.stderr;
    assert!(said.contains("V3__usage_event_windows.down.sql refused to run, and changed nothing"), "{said}");
    assert!(said.contains("refusing to take the windows away: 5 rows would collide in 2 keys"), "{said}");
    assert!(said.contains("3 rows: key_id 00000000-0000-0000-0000-000000000001, model m, timestamp"), "{said}");
    assert_eq!(of(&database).args(["snapshot"]).run().expect(0).stdout, before);
    database.batch("DELETE FROM usage_events WHERE openai_user_id > 'a'").await;
    let losing = of(&database).args(["down", "--execute"]).run().expect(7);
    assert!(losing.stderr.contains("drops column public.usage_events.openai_user_id, which holds data"), "{losing:?}");
    of(&database).args(["down", "--execute", "--lose-data"]).run().expect(0);
}

#[tokio::test]
async fn a_colliding_row_that_comes_during_the_way_back_stops_it_and_leaves_nothing_behind() {
    let database = at(3, 10).await;
    database.batch(&window(1, "a")).await;
    let writer = database.session().await;
    writer.batch_execute(&format!("BEGIN; {}", window(1, "b"))).await.unwrap();
    let down = of(&database).args(["down", "--execute", "--lose-data"]).start();
    // It has found nothing that collides, and waits for the writer.
    database.wait_until(BUILDING).await;
    writer.batch_execute("COMMIT").await.unwrap();
    let failed = down.wait().expect(1);
    assert!(failed.stderr.contains("could not create unique index \"usage_admin_bucket_idx_old\""), "{failed:?}");
    assert!(failed.stderr.contains("is duplicated"), "{failed:?}");
    // An invalid unique index would go on refusing what the application writes.
    assert_eq!(database.value::<String>(INDEXES).await, "usage_admin_bucket_idx usage_events_pkey");
    database.batch(&window(1, "c")).await;
    of(&database).args(["verify"]).run().expect(0);
    of(&database).args(["down", "--execute", "--lose-data"]).run().expect(7);
}

#[tokio::test]
async fn a_killed_build_of_the_new_index_leaves_the_old_one_in_force() {
    let database = at(2, 1000).await;
    // A build waits for older snapshots; the columns do not.
    let reader = database.session().await;
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT").await.unwrap();
    let runner = of(&database).args(["up"]).start();
    database.wait_until(BUILDING).await;
    runner.signal("KILL");
    let _ = runner.wait();
    database
        .wait_until("SELECT NOT EXISTS (SELECT FROM pg_stat_progress_create_index WHERE datname = current_database())")
        .await;
    reader.batch_execute("COMMIT").await.unwrap();
    assert_eq!(
        database.value::<String>(INDEXES).await,
        "usage_admin_bucket_idx usage_admin_bucket_idx_new usage_events_pkey"
    );
    let upsert =
        "INSERT INTO usage_events (key_id, model, timestamp) SELECT key_id, model, timestamp FROM usage_events LIMIT 1
                  ON CONFLICT (key_id, model, timestamp) DO UPDATE SET tokens_in = 1";
    database.batch(upsert).await;
    of(&database).args(["status", "--check"]).run().expect(3);
    let up = of(&database).args(["up"]).run().expect(0);
    assert!(up.stdout.contains("dropped usage_admin_bucket_idx_new"), "{}", up.stdout);
    assert_eq!(database.value::<String>(INDEXES).await, "usage_admin_bucket_idx usage_events_pkey");
    of(&database).args(["verify"]).run().expect(0);
}

#[tokio::test]
async fn a_run_that_was_killed_behind_the_build_continues_with_its_index() {
    let database = at(3, 100).await;
    // What a kill between steps 2 and 3 leaves.
    database
        .batch(
            "DELETE FROM migrate.history_usage_events WHERE version = 3;
             ALTER INDEX usage_admin_bucket_idx RENAME TO usage_admin_bucket_idx_new;
             CREATE UNIQUE INDEX usage_admin_bucket_idx ON usage_events (key_id, model, timestamp)",
        )
        .await;
    let built: u32 = database.value("SELECT 'usage_admin_bucket_idx_new'::regclass::oid").await;
    of(&database).args(["up"]).run().expect(0);
    assert_eq!(database.value::<u32>("SELECT 'usage_admin_bucket_idx'::regclass::oid").await, built);
    of(&database).args(["verify"]).run().expect(0);
}

#[tokio::test]
async fn a_database_with_the_table_is_taken_over_at_its_version() {
    let database = at(2, 10).await;
    database.batch("DROP SCHEMA migrate CASCADE").await;
    of(&database).args(["up", "--baseline", "2"]).run().expect(0);
    of(&database).args(["verify"]).run().expect(0);
    assert_eq!(database.value::<i64>(COLUMNS).await, 7 + 19);
}

/// Writes as an application that knows both keys, and returns how many rows, and the longest wait.
async fn write(session: Client, key: u8, stop: Arc<AtomicBool>) -> (u64, Duration) {
    let old = "INSERT INTO usage_events (key_id, model, timestamp, tokens_in)
               VALUES ($1::text::uuid, 'live', timestamptz '2026-03-01Z' + $2 * interval '1 second', 1)
               ON CONFLICT (key_id, model, timestamp) DO UPDATE SET tokens_in = excluded.tokens_in";
    let new = "INSERT INTO usage_events (key_id, model, timestamp, window_start, window_end, tokens_in)
               SELECT $1::text::uuid, 'live', s, s, s + interval '1 second', 1
               FROM (SELECT timestamptz '2026-03-01Z' + $2 * interval '1 second' AS s) w
               ON CONFLICT (key_id, model, window_start, window_end, project_id, openai_user_id, openai_api_key_id,
                            service_tier, batch) WHERE window_start IS NOT NULL
               DO UPDATE SET tokens_in = excluded.tokens_in";
    let key = format!("00000000-0000-0000-0000-0000000000f{key}");
    let (mut rows, mut longest, mut has_windows) = (0_u64, Duration::ZERO, false);
    while !stop.load(Ordering::Relaxed) {
        let asked = Instant::now();
        #[allow(clippy::cast_precision_loss, reason = "seconds")]
        let second = (rows % 5000) as f64;
        match session.execute(if has_windows { new } else { old }, &[&key, &second]).await {
            Ok(_) => rows += 1,
            Err(error) if !has_windows && error.code().is_some_and(|code| code.code() == "42P10") => has_windows = true,
            Err(error) => panic!("{error:?}"),
        }
        longest = longest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(has_windows, "the new index never came");
    (rows, longest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_writer_waits_for_half_a_second_while_the_windows_come() {
    let rows = std::env::var("USAGE_EVENTS_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(200_000);
    let database = at(2, rows).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for key in 0..4 {
        writers.push(tokio::spawn(write(database.session().await, key, Arc::clone(&stop))));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    // A long reader, such as a report: the catalog changes must step back for it, again and again.
    let reader = database.session().await;
    reader.batch_execute("BEGIN; SELECT count(*) FROM usage_events").await.unwrap();
    let program = of(&database).args(["up"]);
    let up = tokio::task::spawn_blocking(move || program.run());
    tokio::time::sleep(Duration::from_secs(2)).await;
    reader.batch_execute("COMMIT").await.unwrap();
    let up = up.await.unwrap().expect(0);
    assert!(up.stderr.contains("gave way after try"), "{}", up.stderr);
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        let (written, longest) = writer.await.expect("no statement failed");
        println!("{written} rows written, the longest wait {longest:?}");
        assert!(longest < Duration::from_millis(500), "a writer waited {longest:?}");
    }
    of(&database).args(["verify"]).run().expect(0);
}
