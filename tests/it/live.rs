//! An upgrade of a database that is in use: nothing fails, and nobody waits for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::harness::{TestDatabase, all_versions, release};

/// As an application does it: one task after the other, each with its usage, a correction now and then, a look at a page.
const STATEMENTS: [(&str, &str); 7] = [
    (
        "a task",
        "INSERT INTO agent_task_queue (agent_id, runtime_id, issue_id)
         SELECT a.id, a.runtime_id, (SELECT i.id FROM issue i WHERE i.workspace_id = a.workspace_id ORDER BY random() LIMIT 1)
         FROM agent a ORDER BY random() LIMIT 1",
    ),
    (
        "usage",
        "INSERT INTO task_usage (task_id, provider, model, input_tokens, output_tokens)
         SELECT t.id, 'claude', 'live-' || (random() * 3)::int, 100, 10
         FROM agent_task_queue t ORDER BY t.created_at DESC OFFSET (random() * 20)::int LIMIT 1
         ON CONFLICT (task_id, provider, model) DO UPDATE SET input_tokens = excluded.input_tokens + task_usage.input_tokens",
    ),
    (
        "a correction",
        "UPDATE task_usage SET output_tokens = output_tokens + 1
         WHERE id = (SELECT id FROM task_usage ORDER BY created_at DESC OFFSET (random() * 200)::int LIMIT 1)",
    ),
    ("a runtime", "UPDATE agent_runtime SET status = 'online' WHERE id = (SELECT id FROM agent_runtime ORDER BY random() LIMIT 1)"),
    (
        "an issue",
        "UPDATE issue SET project_id = (SELECT p.id FROM project p WHERE p.workspace_id = issue.workspace_id ORDER BY random() LIMIT 1)
         WHERE id = (SELECT id FROM issue ORDER BY random() LIMIT 1)",
    ),
    (
        "a delete",
        "DELETE FROM agent_task_queue
         WHERE id = (SELECT id FROM agent_task_queue ORDER BY created_at DESC OFFSET 150 + (random() * 50)::int LIMIT 1)",
    ),
    (
        "a page",
        "SELECT DATE(u.created_at), u.model, sum(u.input_tokens) FROM task_usage u
         JOIN agent_task_queue t ON t.id = u.task_id JOIN agent a ON a.id = t.agent_id
         WHERE u.created_at > now() - interval '7 days' GROUP BY 1, 2",
    ),
];

/// What a session saw: statements, and the longest wait of each kind.
async fn use_it(session: Client, stop: Arc<AtomicBool>) -> (u64, Vec<(Duration, &'static str)>) {
    let mut statements = 0;
    let mut longest = vec![(Duration::ZERO, ""); STATEMENTS.len()];
    while !stop.load(Ordering::Relaxed) {
        for (at, (what, statement)) in STATEMENTS.iter().enumerate() {
            let asked = Instant::now();
            session.execute(*statement, &[]).await.unwrap_or_else(|error| panic!("{what} failed: {error:?}"));
            longest[at] = longest[at].max((asked.elapsed(), what));
            statements += 1;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    (statements, longest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_is_in_use_nothing_fails_and_nobody_waits_for_long() {
    for from in ["v0.2.13", "v0.3.4"] {
        let database = TestDatabase::empty().await;
        release::build(&database, from, true).await;
        if from == "v0.3.4" {
            database.write_usage(30_000, 200).await;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let mut sessions = Vec::new();
        for _ in 0..4 {
            sessions.push(tokio::spawn(use_it(database.session().await, Arc::clone(&stop))));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let program = database.program().args(["up"]);
        let started = Instant::now();
        let up = tokio::task::spawn_blocking(move || program.run()).await.unwrap().expect(0);
        let took = started.elapsed();
        tokio::time::sleep(Duration::from_millis(500)).await;
        stop.store(true, Ordering::Relaxed);
        let (mut statements, mut longest) = (0, Vec::new());
        for session in sessions {
            let (count, waits) = session.await.expect("no statement of the application failed");
            statements += count;
            longest.extend(waits);
        }
        longest.sort();
        let (wait, what) = *longest.last().unwrap();
        println!(
            "from {from}: upgraded in {:.2} s beside {statements} statements of 4 sessions; the longest wait was {} ms, of {what}",
            took.as_secs_f64(),
            wait.as_millis()
        );
        println!("{}", up.stderr);
        assert!(wait < Duration::from_secs(2), "{what} waited {wait:?}");
        assert_eq!(database.versions().await, all_versions());
        database
            .batch("SELECT rollup_task_usage_hourly_window(watermark_at, now() + interval '10 years') FROM task_usage_hourly_rollup_state")
            .await;
        database.assert_parity().await;
    }
}
