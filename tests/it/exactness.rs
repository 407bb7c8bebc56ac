//! The rollup is exact under any write: random sequences of all of them, from several sessions at once, some rolled
//! back, some committing late, with windows and ticks in between; then it is compared with the raw usage.
//!
//! `script/exactness` runs thousands of sequences. A failing one prints its seed, and `EXACTNESS_SEED` repeats it.
//!
//! The test's own teeth are tested, too: faults are put back into the pipeline, and each must be found.

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::harness::{Clock, server_with_a_clock};
use world::{Stage, World};

/// How many sequences every run of the tests makes.
const SEQUENCES: u64 = 200;

/// How many sequences a fault may survive before the test counts as blind to it.
const BLIND_AFTER: u64 = 4000;

/// How many sequences run side by side, each on its own server, whose clock it moves.
const WORKERS: usize = 2;

/// A URL, and the clock.
type Server = (String, Clock);

fn servers(name: &str) -> Vec<Server> {
    (0..WORKERS).map(|number| server_with_a_clock(&format!("{name}-{number}"))).collect()
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rollup_is_exact_after_any_sequence_of_writes() {
    let (first, count) = match variable("EXACTNESS_SEED") {
        Some(seed) => (seed, 1),
        None => (now(), variable("EXACTNESS_SEQUENCES").unwrap_or(SEQUENCES)),
    };
    println!("sequences {first} to {}", first + count - 1);
    let found = search(&servers("exactness"), &[], first, count).await;
    if let Some((seed, story)) = found {
        panic!(
            "a sequence has left the rollup wrong; repeat it with\n    EXACTNESS_SEED={seed} script/exactness\n{story}"
        );
    }
}

/// Runs sequences until one leaves the rollup wrong: its seed, and what it did. The pipeline is changed beforehand.
async fn search(servers: &[Server], changes: Changes, first: u64, count: u64) -> Option<(u64, String)> {
    let next = Arc::new(AtomicU64::new(first));
    let mut workers = tokio::task::JoinSet::new();
    let enough = usize::try_from(count).unwrap_or(WORKERS).min(WORKERS);
    for server in servers.iter().take(enough) {
        let (server, clock) = server.clone();
        let next = Arc::clone(&next);
        workers.spawn(async move {
            let mut worlds = Vec::new();
            for stage in Stage::ALL {
                worlds.push(World::new(stage, changes, &server, clock.clone()).await);
            }
            loop {
                let seed = next.fetch_add(1, Ordering::SeqCst);
                if seed >= first + count {
                    return None;
                }
                let world = usize::try_from(seed % 3).expect("a small number");
                if let Err(story) = worlds[world].play(seed).await {
                    // The others need not go on.
                    next.store(u64::MAX / 2, Ordering::SeqCst);
                    return Some((seed, story));
                }
            }
        });
    }
    let mut found = None;
    while let Some(ended) = workers.join_next().await {
        found = found.or(ended.expect("a worker does not panic"));
    }
    found
}

/// Changes of the pipeline's text: what there is, and what stands there instead.
type Changes = &'static [(&'static str, &'static str)];

/// Faults to be found. The intervals are those that the sequences run with.
const FAULTS: [(&str, Changes); 16] = [
    (
        "a watermark ahead of the clock is believed (SPEC 11.17)",
        &[("v_ahead := v_from > pg_catalog.now();", "v_ahead := false;")],
    ),
    (
        "usage that is written behind the watermark is not reported",
        &[("AND (s.watermark_at OPERATOR(pg_catalog.>) NEW.updated_at", "AND (false")],
    ),
    (
        "reports dated by a clock that was ahead are held back until then",
        &[("           OR d.enqueued_at > pg_catalog.now()\n", "\n")],
    ),
    (
        "a correction that keeps updated_at is not reported (SPEC 11.15)",
        &[(
            "IF NEW.updated_at OPERATOR(pg_catalog.=) pg_catalog.now()",
            "IF (NEW.updated_at OPERATOR(pg_catalog.=) pg_catalog.now() OR NEW.updated_at IS NOT DISTINCT FROM OLD.updated_at)",
        )],
    ),
    (
        "the queue is drained by a second statement (SPEC 11.5)",
        &[
            (
                "DELETE FROM task_usage_hourly_invalidation d
        WHERE d.enqueued_at < p_before
           OR d.enqueued_at > pg_catalog.now()
        RETURNING d.bucket_hour, d.task_id, d.issue_id, d.agent_id",
                "SELECT d.* FROM task_usage_hourly_invalidation d WHERE d.enqueued_at < p_before",
            ),
            (
                "RETURN CASE WHEN v_hours IS NULL THEN 0 ELSE task_usage_hourly_rebuild(v_hours) END;",
                "DECLARE
        v_buckets bigint := CASE WHEN v_hours IS NULL THEN 0 ELSE task_usage_hourly_rebuild(v_hours) END;
    BEGIN
        DELETE FROM task_usage_hourly_invalidation d WHERE d.enqueued_at < p_to OR d.enqueued_at > now();
        RETURN v_buckets;
    END;",
            ),
        ],
    ),
    (
        "a delete is looked up through a task and agent that are gone already (SPEC 11.10)",
        &[(
            "FROM removed r WHERE pg_catalog.isfinite(r.created_at);",
            "FROM removed r JOIN agent_task_queue t ON t.id = r.task_id JOIN agent a ON a.id = t.agent_id;",
        )],
    ),
    (
        "the watermark passes transactions that are still writing",
        &[(
            "RETURN least(pg_catalog.now() - interval '20 milliseconds', v_oldest);",
            "RETURN now() - interval '20 milliseconds';",
        )],
    ),
    (
        "an import is not reported",
        &[(
            "IF NEW.updated_at OPERATOR(pg_catalog.=) pg_catalog.now()",
            "IF (TG_OP = 'INSERT' OR NEW.updated_at OPERATOR(pg_catalog.=) pg_catalog.now())",
        )],
    ),
    (
        "an agent in another workspace is not reported",
        &[("WHEN (OLD.workspace_id IS DISTINCT FROM NEW.workspace_id)", "WHEN (false)")],
    ),
    (
        "an issue in another project is not reported",
        &[("WHEN (OLD.project_id IS DISTINCT FROM NEW.project_id)", "WHEN (false)")],
    ),
    (
        "a function that the platform puts under BEFORE triggers returns NULL",
        &[(
            "RETURN OLD;\n                END IF;\n                RETURN NEW;",
            "RETURN NULL;\n                END IF;\n                RETURN NULL;",
        )],
    ),
    ("the cost is ignored", &[("SELECT pg_catalog.count(*) = 6", "SELECT pg_catalog.count(*) = 7")]),
    (
        "reports are not handed over to the platform's window",
        &[("IF pg_catalog.pg_trigger_depth() > 1", "IF pg_catalog.pg_trigger_depth() > 0")],
    ),
    (
        "a bucket that does not fit is not listed",
        &[("WHERE r.too_large IS NOT NULL\n        ORDER BY 1", "WHERE false\n        ORDER BY 1")],
    ),
    (
        "a bucket that fits again stays listed",
        &[("WHERE k.bucket_hour = ANY ($1)\n          AND NOT EXISTS", "WHERE false\n          AND NOT EXISTS")],
    ),
    (
        "a bucket left without usage stays",
        &[(
            "DELETE FROM task_usage_hourly h\n        WHERE h.ctid",
            "DELETE FROM task_usage_hourly h\n        WHERE false AND h.ctid",
        )],
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_put_back_into_the_pipeline_are_found() {
    let only = std::env::var("EXACTNESS_FAULT").ok();
    let servers = servers("faults");
    for (what, changes) in FAULTS.iter().filter(|(what, _)| only.as_ref().is_none_or(|only| what.contains(only))) {
        let first = now();
        let Some((seed, story)) = search(&servers, changes, first, BLIND_AFTER).await else {
            panic!("{BLIND_AFTER} sequences from {first} on are blind to this: {what}");
        };
        println!("found after {} sequences: {what}", seed - first + 1);
        if only.is_some() {
            println!("{story}");
        }
    }
}
