//! Machines that vanish without a word: no FIN, no RST, nothing. On a real network, between two real machines as far as
//! the kernel is concerned.

use std::time::{Duration, Instant};

use crate::harness::{Machine, Program, Running, TestDatabase, special_server, with_authority};

/// What the documentation promises, and a moment for the server to act on it.
const GONE_WITHIN: Duration = Duration::from_secs(33);

const SESSIONS: &str = "SELECT count(*) FROM pg_stat_activity WHERE client_addr = '{there}'";

/// A run on the other machine in the middle of its walk, whose every bucket takes its time; only there.
async fn walking_on(machine: &Machine, name: &str) -> (TestDatabase, Running) {
    let (url, _) = special_server(name, &["--set", "listen_addresses=0.0.0.0"]);
    let database = TestDatabase::on_server(&url, "vanished").await;
    database
        .batch(
            "COPY (SELECT 'host all all 198.18.0.0/15 scram-sha-256') TO PROGRAM 'cat >> pg_hba.conf';
             SELECT pg_reload_conf()",
        )
        .await;
    database.program().args(["up", "--target", "84"]).run().expect(0);
    database.write_usage(1000, 60).await;
    database.program().args(["up", "--target", "102"]).run().expect(0);
    database
        .batch(&format!(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN IF inet_client_addr() = '{}' THEN PERFORM pg_sleep(0.03); END IF; RETURN NEW; END $$;
             CREATE TRIGGER slow BEFORE INSERT ON task_usage_hourly FOR EACH ROW EXECUTE FUNCTION slow()",
            machine.there
        ))
        .await;
    let port = url.rsplit_once('/').and_then(|(server, _)| server.rsplit_once(':')).expect("a port").1.to_owned();
    let from_there = with_authority(&database.url, None, Some(&format!("{}:{port}", machine.here)));
    let runner = Program::on(machine).env("DATABASE_URL", &from_there).args(["up"]).start();
    database
        .wait_until(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'
                            AND query LIKE '%rollup_task_usage_hourly_window(%' AND pid <> pg_backend_pid())",
        )
        .await;
    (database, runner)
}

#[tokio::test]
async fn the_lock_of_a_machine_that_vanished_is_free_within_half_a_minute() {
    let Some(machine) = Machine::new() else { return };
    let (database, runner) = walking_on(&machine, "vanished").await;
    machine.cut();
    let cut = Instant::now();
    runner.signal("KILL");
    let _ = runner.wait();
    let sessions = SESSIONS.replace("{there}", &machine.there);
    assert!(database.value::<i64>(&sessions).await >= 3, "the server cannot know yet");

    let second = database.program().args(["up", "--lock-wait", "40s"]).start();
    let gone = async |which: &str| {
        while database.value::<i64>(&format!("{sessions} {which}")).await > 0 {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        cut.elapsed()
    };
    let took = gone("AND application_name IN ('migrate: lock', 'migrate: up')").await;
    println!("the lock was free after {took:?}");
    assert!(took > Duration::from_secs(10), "the server knew after {took:?}, so the machine did not vanish silently");
    assert!(took < GONE_WITHIN, "it took {took:?}");
    // The session of the walk may have sent an answer meanwhile, and waited as long again for its receipt.
    let took = gone("").await;
    println!("all sessions were gone after {took:?}");
    assert!(took < 2 * GONE_WITHIN, "it took {took:?}");
    let second = tokio::task::spawn_blocking(|| second.wait()).await.unwrap().expect(0);
    assert!(second.stderr.contains("waiting for the migration lock, held by pid"), "{}", second.stderr);
    database.assert_parity().await;
}

#[tokio::test]
async fn a_run_survives_a_network_that_is_gone_for_a_quarter_of_a_minute() {
    let Some(machine) = Machine::new() else { return };
    let (database, runner) = walking_on(&machine, "blip").await;
    machine.cut();
    tokio::time::sleep(Duration::from_secs(16)).await;
    machine.mend();
    let ended = tokio::task::spawn_blocking(|| runner.wait()).await.unwrap();
    ended.expect(0);
    database.assert_parity().await;
}

#[tokio::test]
async fn a_server_that_vanished_ends_the_run_within_half_a_minute() {
    let Some(machine) = Machine::new() else { return };
    let (_database, runner) = walking_on(&machine, "unreached").await;
    machine.cut();
    let cut = Instant::now();
    let ended = tokio::task::spawn_blocking(|| runner.wait()).await.unwrap();
    let took = cut.elapsed();
    let ended = ended.expect(6);
    assert!(ended.stderr.contains("the connection to the server was lost"), "{}", ended.stderr);
    assert!(ended.stderr.contains("has not answered for half a minute"), "{}", ended.stderr);
    assert!(took < GONE_WITHIN, "it took {took:?}: {}", ended.stderr);
    println!("ended after {took:?}");
}
