//! Keeping the distance to a streaming replica: a real standby, of a server of its own.

use std::time::{Duration, Instant};

use crate::harness::{
    Program, TestDatabase, session, special_server, standby_of, start_special_server_again, with_database,
};

#[tokio::test]
async fn while_a_replica_is_behind_nothing_is_written() {
    let (primary, folder) = special_server("primary", &[]);
    let standby = standby_of(&folder, "standby");
    start_special_server_again(&folder);
    let database = TestDatabase::on_server(&primary, "lagging").await;
    database.program().args(["up", "--target", "84"]).run().expect(0);
    database.write_usage(600, 100).await;
    database.program().args(["up"]).run().expect(0);
    let streaming = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming' AND replay_lsn >= pg_current_wal_lsn())";
    database.wait_until(streaming).await;
    let replica = session(&standby).await;
    // On the replica itself one can look, and not write.
    let there = with_database(&standby, "lagging");
    let on_replica = || {
        Program::new().env("DATABASE_URL", &there).args(["repair", "codex-cache", "--cutoff", "2026-01-01T00:00:00Z"])
    };
    on_replica().run().expect(0);
    let refused = on_replica().args(["--execute"]).run().expect(7);
    assert!(refused.stderr.contains("this server is a standby"), "{}", refused.stderr);
    let cutoff: String = database.value("SELECT to_json(now()) #>> '{}'").await;
    let repair =
        || database.program().args(["repair", "codex-cache", "--cutoff", &cutoff, "--execute", "--batch-size", "10"]);
    let applied = "SELECT count(*) FROM migrate.repair_change WHERE applied_at IS NOT NULL";

    // The replica stops replaying. After a second or so, the repair waits for it.
    replica.batch_execute("SELECT pg_wal_replay_pause()").await.unwrap();
    let running = repair().args(["--max-lag", "1s", "--sleep-between-batches", "150ms"]).start();
    database.wait_until("SELECT to_regclass('migrate.repair_change') IS NOT NULL").await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let before: i64 = database.value(applied).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(database.value::<i64>(applied).await, before, "it goes on although the replica is behind");
    let all: i64 = database.value("SELECT count(*) FROM migrate.repair_change").await;
    assert!(before < all, "{before} of {all}");
    // Nothing is open meanwhile, or the wait would hold up everybody else.
    let open: i64 = database
        .value(
            "SELECT count(*) FROM pg_stat_activity
             WHERE application_name = 'migrate: repair' AND datname = current_database() AND state LIKE 'idle in transaction%'",
        )
        .await;
    assert_eq!(open, 0);

    replica.batch_execute("SELECT pg_wal_replay_resume()").await.unwrap();
    let repaired = running.wait().expect(0);
    assert!(repaired.stderr.contains("waiting for replica "), "{}", repaired.stderr);
    assert!(repaired.stderr.contains(" behind"), "{}", repaired.stderr);

    // Without the limit, and with one that has time, nobody waits.
    replica.batch_execute("SELECT pg_wal_replay_pause()").await.unwrap();
    database.program().args(["repair", "undo", "1", "--execute"]).run().expect(0);
    let started = Instant::now();
    repair().args(["--max-lag", "1s", "--max-runtime", "2s", "--sleep-between-batches", "100ms"]).run().expect(8);
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    replica.batch_execute("SELECT pg_wal_replay_resume()").await.unwrap();
    repair().args(["--max-lag", "5s"]).run().expect(0);
    // Also where there is a history to write to, the replica is named before anything is tried.
    let refused =
        Program::new().env("DATABASE_URL", &there).args(["repair", "hourly-rollup", "--execute"]).run().expect(7);
    assert!(refused.stderr.contains("this server is a standby"), "{}", refused.stderr);
    database.assert_parity().await;
}
