//! Ctrl-C and SIGTERM: a clean end within two seconds, and nothing left on the server.

use std::time::{Duration, Instant};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{TestDatabase, with_authority};

const LEFT: &str = "
    SELECT (SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name LIKE 'migrate%')
         + (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
         = 0";

/// A database whose walk takes its time: every bucket that is written sleeps.
async fn slow_walk() -> TestDatabase {
    let database = TestDatabase::at_version(102, 3000, 60).await;
    database
        .batch(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
             AS $$ BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END $$;
             CREATE TRIGGER slow BEFORE INSERT ON task_usage_hourly FOR EACH ROW EXECUTE FUNCTION slow()",
        )
        .await;
    database
}

#[tokio::test]
async fn sigterm_in_the_middle_of_a_slice_ends_it_on_the_server() {
    let database = slow_walk().await;
    let runner = database.in_the_walk().await;
    let asked = Instant::now();
    runner.signal("TERM");
    let ended = runner.wait().expect(143);
    assert!(asked.elapsed() < Duration::from_secs(2), "it took {:?}", asked.elapsed());
    assert!(ended.stderr.contains("interrupted"), "{}", ended.stderr);
    database.wait_until(LEFT).await;
    assert!(asked.elapsed() < Duration::from_secs(2), "the server took {:?}", asked.elapsed());
    let state: String = database.value("SELECT state FROM migrate.hook_run ORDER BY id DESC LIMIT 1").await;
    assert_eq!(state, "interrupted");

    database.batch("DROP TRIGGER slow ON task_usage_hourly").await;
    database.program().args(["up"]).run().expect(0);
    database.assert_parity().await;
}

#[tokio::test]
async fn ctrl_c_exits_with_130() {
    let database = slow_walk().await;
    let runner = database.in_the_walk().await;
    runner.signal("INT");
    runner.wait().expect(130);
    database.wait_until(LEFT).await;
}

#[tokio::test]
async fn a_killed_run_leaves_the_server_within_seconds() {
    let database = slow_walk().await;
    let runner = database.in_the_walk().await;
    runner.signal("KILL");
    let _ = runner.wait();
    let killed = Instant::now();
    database.wait_until(LEFT).await;
    assert!(killed.elapsed() < Duration::from_secs(5), "the server took {:?}", killed.elapsed());
}

#[tokio::test]
async fn sigterm_while_waiting_for_the_lock_ends_the_wait() {
    let database = TestDatabase::empty().await;
    let holder = database.session().await;
    holder.batch_execute("SELECT pg_advisory_lock(7244554146635925501)").await.unwrap();
    let runner = database.program().args(["up"]).start();
    database
        .wait_until(
            "SELECT EXISTS (SELECT FROM pg_stat_activity
                            WHERE datname = current_database() AND application_name = 'migrate: lock')",
        )
        .await;
    let asked = Instant::now();
    runner.signal("TERM");
    runner.wait().expect(143);
    assert!(asked.elapsed() < Duration::from_secs(2), "it took {:?}", asked.elapsed());
}

#[tokio::test]
async fn sigterm_in_the_middle_of_a_migration_rolls_it_back() {
    let database = TestDatabase::at_version(84, 0, 0).await;
    // V101 cannot go on while this is uncommitted.
    let writer = database.session().await;
    writer.batch_execute("BEGIN; CREATE TABLE task_usage_hourly ()").await.unwrap();
    let runner = database.program().args(["up"]).start();
    database
        .wait_until(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                            AND application_name = 'migrate: up' AND query LIKE '%Tables of the hourly rollup%')",
        )
        .await;
    runner.signal("TERM");
    runner.wait().expect(143);
    writer.batch_execute("ROLLBACK").await.unwrap();
    database.wait_until(LEFT).await;
    assert_eq!(database.versions().await.last(), Some(&84));
    database.program().args(["up"]).run().expect(0);
}

/// Passes bytes on, until it is told to stop doing so without closing anything.
async fn freezing_proxy(server: String) -> (String, Arc<AtomicBool>) {
    async fn pass_on(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, frozen: Arc<AtomicBool>) {
        let mut buffer = vec![0; 65536];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            while frozen.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            if to.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let frozen = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&frozen);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (client_read, client_write) = client.into_split();
            let (server_read, server_write) = TcpStream::connect(&server).await.unwrap().into_split();
            tokio::spawn(pass_on(client_read, server_write, Arc::clone(&flag)));
            tokio::spawn(pass_on(server_read, client_write, Arc::clone(&flag)));
        }
    });
    (address, frozen)
}

#[tokio::test]
async fn sigterm_ends_the_program_also_when_the_server_does_not_answer_any_more() {
    let database = slow_walk().await;
    let server = database.url.split(['@', '/']).nth(3).unwrap().to_owned();
    let (address, frozen) = freezing_proxy(server).await;
    let through_proxy = with_authority(&database.url, None, Some(&address));
    let runner = database.program().env("DATABASE_URL", &through_proxy).args(["up"]).start();
    database
        .wait_until(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'
                            AND query LIKE '%rollup_task_usage_hourly_window(%' AND pid <> pg_backend_pid())",
        )
        .await;
    frozen.store(true, Ordering::SeqCst);
    let asked = Instant::now();
    runner.signal("TERM");
    let ended = tokio::task::spawn_blocking(|| runner.wait()).await.unwrap();
    assert_eq!(ended.status.code(), Some(143), "{}", ended.stderr);
    assert!(asked.elapsed() < Duration::from_secs(2), "it took {:?}", asked.elapsed());
}
