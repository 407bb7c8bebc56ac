//! A repair beside an application that writes at random: no row is ever reduced twice, and no wrong one is left.
//!
//! `REPAIR_SEED=…` repeats the choices of an earlier run, though not what the sessions make of each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_postgres::Client;

use super::overcounted;
use crate::harness::{Dice, seed};

/// What the application does, each in one transaction with what is then true (`truth`: the input tokens that a row really
/// stands for). `{n}` is random.
const WRITES: [&str; 7] = [
    // A task reports again, by a program that counts right.
    "WITH picked AS (SELECT id FROM truth ORDER BY md5(id::text || {n}) LIMIT 2),
          reported AS (
              INSERT INTO task_usage (task_id, provider, model, input_tokens, cache_read_tokens, updated_at)
              SELECT task_id, provider, model, 100 + {n} % 1000, 40, now() FROM task_usage WHERE id IN (SELECT id FROM picked)
              ON CONFLICT (task_id, provider, model) DO UPDATE SET
                  input_tokens = excluded.input_tokens, cache_read_tokens = excluded.cache_read_tokens, updated_at = now()
              RETURNING id, input_tokens
          )
     UPDATE truth t SET input = r.input_tokens FROM reported r WHERE r.id = t.id",
    // A new row.
    "WITH written AS (
         INSERT INTO task_usage (task_id, provider, model, input_tokens, cache_read_tokens, updated_at)
         SELECT t.id, 'codex', 'new-{n}', 100 + {n} % 1000, 40, now()
         FROM agent_task_queue t ORDER BY md5(t.id::text || {n}) LIMIT 1
         ON CONFLICT DO NOTHING
         RETURNING id, input_tokens
     )
     INSERT INTO truth SELECT id, input_tokens FROM written",
    // Output is corrected, and updated_at stays as it was.
    "UPDATE task_usage SET output_tokens = output_tokens + 1
     WHERE id IN (SELECT id FROM truth ORDER BY md5(id::text || {n}) LIMIT 3)",
    // A row goes.
    "WITH gone AS (DELETE FROM task_usage WHERE id = (SELECT id FROM truth ORDER BY md5(id::text || {n}) LIMIT 1) RETURNING id)
     DELETE FROM truth WHERE id IN (SELECT id FROM gone)",
    // A row is touched, and says so: from now on it counts as written correctly. Its application has looked at it.
    "WITH touched AS (
         UPDATE task_usage SET updated_at = now()
         WHERE id = (SELECT id FROM truth ORDER BY md5(id::text || {n}) LIMIT 1)
         RETURNING id, input_tokens
     )
     UPDATE truth t SET input = u.input_tokens FROM touched u WHERE u.id = t.id",
    // Somebody holds rows for a while.
    "BEGIN; SELECT FROM task_usage WHERE id IN (SELECT id FROM truth ORDER BY md5(id::text || {n}) LIMIT 20) FOR UPDATE;
     SELECT pg_sleep(0.3); COMMIT",
    // A task changes hands.
    "UPDATE agent_task_queue SET agent_id = (SELECT id FROM agent ORDER BY md5(id::text || {n}) LIMIT 1)
     WHERE id = (SELECT id FROM agent_task_queue ORDER BY md5(id::text || {n}) LIMIT 1)",
];

async fn write(session: Client, mut dice: Dice, stop: Arc<AtomicBool>) -> u64 {
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        let statement = dice.one_of(&WRITES).replace("{n}", &dice.below(1_000_000).to_string());
        match session.batch_execute(&statement).await {
            Ok(()) => written += 1,
            // Two of them may lock each other out; that is between them, and never the repair's doing.
            Err(error) if error.code().is_some_and(|code| code.code() == "40P01") => {
                let detail = error.as_db_error().and_then(|error| error.detail()).unwrap_or_default().to_owned();
                let _ = session.batch_execute("ROLLBACK").await;
                let ours = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'migrate%' AND datname = current_database()";
                for row in session.query(ours, &[]).await.expect("the question is valid") {
                    let ours = format!("rocess {} ", row.get::<_, i32>(0));
                    assert!(
                        !format!("{detail} ").replace([';', '.'], " ").contains(&ours),
                        "a deadlock with the repair: {detail}"
                    );
                }
            }
            Err(error) => panic!("{statement}: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(dice.below(4))).await;
    }
    written
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_an_application_no_row_is_reduced_twice_and_none_is_left() {
    let seed = seed("REPAIR_SEED");
    for round in 0..4 {
        let mut dice = Dice::new(seed + round);
        let database = overcounted(1500).await;
        database
            .batch(
                "CREATE TABLE truth AS
                 SELECT id, CASE WHEN provider = 'codex' AND cache_read_tokens > 0 AND input_tokens > 0
                                 THEN greatest(input_tokens - cache_read_tokens, 0) ELSE input_tokens END AS input
                 FROM task_usage;
                 ALTER TABLE truth ADD PRIMARY KEY (id)",
            )
            .await;
        let cutoff: String = database.value("SELECT to_json(now()) #>> '{}'").await;
        let repair = || database.program().args(["repair", "codex-cache", "--cutoff", &cutoff, "--execute"]);
        let stop = Arc::new(AtomicBool::new(false));
        let mut sessions = Vec::new();
        for _ in 0..3 {
            let dice = Dice::new(dice.next());
            sessions.push(tokio::spawn(write(database.session().await, dice, Arc::clone(&stop))));
        }
        let batch_size = dice.one_of(&["5", "20", "60"]).to_string();
        let program = repair().args(["--batch-size", &batch_size, "--sleep-between-batches", "10ms"]);
        let repaired = tokio::task::spawn_blocking(move || program.run()).await.unwrap().expect(0);
        stop.store(true, Ordering::Relaxed);
        let mut written = 0;
        for session in sessions {
            written += session.await.expect("the application's writes succeed");
        }
        println!("round {round}: batches of {batch_size}, {written} writes beside it\n{}", repaired.stdout);

        let wrong: i64 = database
            .value("SELECT count(*) FROM task_usage u FULL JOIN truth t USING (id) WHERE u.input_tokens IS DISTINCT FROM t.input")
            .await;
        assert_eq!(wrong, 0, "rows do not say what is true");
        let again = repair().run().expect(0);
        assert_eq!(again.stdout, "nothing to repair: no row meets the condition\n");
        database
            .batch("SELECT rollup_task_usage_hourly_window(now() - interval '1 hour', now() + interval '1 second')")
            .await;
        database.assert_parity().await;
    }
}
