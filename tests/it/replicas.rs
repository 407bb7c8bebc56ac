//! Many replicas of a service whose entrypoint runs `migrate up`, all at the same moment.

use std::time::Duration;

use crate::harness::{Dice, Finished, TestDatabase, all_versions, release, seed};

const REPLICAS: usize = 16;

/// A database of v0.3.4 whose walk takes about a second.
async fn busy() -> TestDatabase {
    let database = TestDatabase::empty().await;
    release::build(&database, "v0.3.4", true).await;
    database.write_usage(20_000, 200).await;
    database
}

async fn assert_upgraded(database: &TestDatabase) {
    assert_eq!(database.versions().await, all_versions());
    database.assert_parity().await;
    let verified = database.program().args(["verify"]).run();
    assert_eq!(verified.status.code(), Some(0), "{}", verified.stdout);
}

fn did_the_work(ended: &Finished) -> bool {
    ended.stdout.contains("done: the database is at version")
}

#[tokio::test]
async fn sixteen_at_once_and_one_does_the_work() {
    let database = busy().await;
    // They all begin while a reader keeps V103 from its end, so that none is late.
    let reader = database.session().await;
    reader.batch_execute("BEGIN; SELECT count(*) FROM issue").await.unwrap();
    let replicas: Vec<_> = (0..REPLICAS).map(|_| database.program().args(["up"]).start()).collect();
    database
        .wait_until(
            "SELECT count(*) >= 16 FROM pg_stat_activity
             WHERE application_name = 'migrate: lock' AND datname = current_database()",
        )
        .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    reader.batch_execute("COMMIT").await.unwrap();
    let ended: Vec<_> = replicas.into_iter().map(|replica| replica.wait().expect(0)).collect();
    assert_eq!(ended.iter().filter(|ended| did_the_work(ended)).count(), 1);
    for waiter in ended.iter().filter(|ended| !did_the_work(ended)) {
        assert!(waiter.stdout.contains("nothing to do: the database is at version"), "{}", waiter.stdout);
        assert!(
            waiter.stderr.contains("waiting for the migration lock, held by pid")
                && waiter.stderr.contains("\"migrate: lock\""),
            "{}",
            waiter.stderr
        );
    }
    assert_upgraded(&database).await;
}

#[tokio::test]
async fn sixteen_at_once_of_which_some_are_killed() {
    let seed = seed("KILL_SEED");
    let mut dice = Dice::new(seed);
    let database = busy().await;
    let mut replicas: Vec<_> = (0..REPLICAS).map(|_| database.program().args(["up"]).start()).collect();
    let mut killed = 0;
    for round in 0..8 {
        tokio::time::sleep(Duration::from_millis(dice.below(250))).await;
        // Now and then whoever has the lock, by name; else anybody.
        let victim = usize::try_from(dice.below(replicas.len() as u64)).unwrap();
        if round % 2 == 0 {
            let sessions = database
                .rows(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks
                     WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid() AND objsubid = 1
                       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
                    &[],
                )
                .await;
            println!("ended {} sessions that held a lock", sessions.len());
        }
        if replicas[victim].is_running() {
            replicas[victim].signal("KILL");
            killed += 1;
        }
        let _ = replicas.swap_remove(victim).wait();
    }
    println!("killed {killed} of {REPLICAS}");
    let mut lost = 0;
    for survivor in replicas {
        let ended = survivor.wait();
        match ended.status.code() {
            Some(0) => {}
            // Its session was ended from outside, and it says so.
            Some(6) => {
                assert!(ended.stderr.contains("the connection to the server was lost"), "{}", ended.stderr);
                lost += 1;
            }
            other => panic!("KILL_SEED={seed}: {other:?}\n{}\n{}", ended.stdout, ended.stderr),
        }
    }
    assert!(lost <= 4, "KILL_SEED={seed}: {lost} lost their session");
    database.program().args(["up"]).run().expect(0);
    assert_upgraded(&database).await;
}

#[tokio::test]
async fn an_older_program_that_holds_the_lock_for_its_session_is_waited_for_by_all() {
    let database = busy().await;
    let older = database.session().await;
    older
        .batch_execute("SET application_name TO 'server v0.3.4'; SELECT pg_advisory_lock(7244554146635925501)")
        .await
        .unwrap();
    let pid: i32 = older.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let replicas: Vec<_> = (0..REPLICAS).map(|_| database.program().args(["up"]).start()).collect();
    database
        .wait_until(
            "SELECT count(*) >= 16 FROM pg_stat_activity WHERE application_name = 'migrate: lock'
                     AND datname = current_database()",
        )
        .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!database.value::<bool>("SELECT to_regnamespace('migrate') IS NOT NULL").await);
    // A program that goes away takes its session lock along.
    database.batch(&format!("SELECT pg_terminate_backend({pid})")).await;
    let ended: Vec<_> = replicas.into_iter().map(|replica| replica.wait().expect(0)).collect();
    let named = format!("waiting for the migration lock, held by pid {pid} \"server v0.3.4\"");
    assert!(ended.iter().all(|ended| ended.stderr.contains(&named)), "{}", ended[0].stderr);
    assert_eq!(ended.iter().filter(|ended| did_the_work(ended)).count(), 1);
    assert_upgraded(&database).await;
}

#[tokio::test]
async fn what_looks_wrong_while_another_run_is_at_work_is_looked_at_again() {
    // Another run holds the lock and is in the middle of something: for whoever looks now, an index is recorded and missing.
    let database = busy().await;
    let other = database.session().await;
    other.batch_execute("SELECT pg_advisory_lock(7244554146635925501)").await.unwrap();
    database.batch("DROP INDEX idx_task_usage_created_at").await;
    let replica = database.program().args(["up"]).start();
    tokio::time::sleep(Duration::from_millis(500)).await;
    database.batch("CREATE INDEX idx_task_usage_created_at ON task_usage (created_at)").await;
    other.batch_execute("SELECT pg_advisory_unlock(7244554146635925501)").await.unwrap();
    replica.wait().expect(0);
    assert_upgraded(&database).await;
}

#[tokio::test]
async fn replicas_that_meet_on_an_empty_database_do_not_take_each_other_for_strangers() {
    for _ in 0..4 {
        let database = TestDatabase::empty().await;
        let replicas: Vec<_> = (0..REPLICAS)
            .map(|number| {
                std::thread::sleep(Duration::from_millis(number as u64 % 5 * 7));
                database.program().args(["up"]).start()
            })
            .collect();
        for replica in replicas {
            replica.wait().expect(0);
        }
        assert_eq!(database.versions().await, all_versions());
    }
}
