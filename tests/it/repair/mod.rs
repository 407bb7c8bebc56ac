//! `migrate repair`: what changes, what does not, and what an operator is told.

mod concurrency;
mod game;
mod kill;
mod memory;
mod output;
mod property;
mod rebuild;
mod replica;
mod rows;
mod rule;
mod undo;

use crate::harness::{Finished, Program, TestDatabase, latest};

/// When ingestion was fixed, in these tests: later than all usage that is there, unless a test says otherwise.
const CUTOFF: &str = "2026-02-01T12:00:00Z";

/// A year of usage of which about half is overcounted, and a third carries a cost, rolled up, at the present version.
async fn overcounted(rows: u32) -> TestDatabase {
    let database = TestDatabase::at_version(latest(), rows, 200).await;
    database
        .batch(
            "UPDATE task_usage SET cost_usd_ticks = 1000 + input_tokens WHERE md5(id::text) < '5';
             SELECT rollup_task_usage_hourly_window(now() - interval '1 second', now() + interval '1 second')",
        )
        .await;
    database
        .batch("CREATE TABLE original AS SELECT id, input_tokens, cache_read_tokens, updated_at FROM task_usage")
        .await;
    database
}

impl TestDatabase {
    /// `migrate repair codex-cache`, with all usage that is there up to now from before the fix.
    async fn codex_cache(&self) -> Program {
        let cutoff: String = self.value("SELECT to_json(now()) #>> '{}'").await;
        self.program().args(["repair", "codex-cache", "--cutoff", &cutoff])
    }

    async fn repair(&self) -> Finished {
        self.codex_cache().await.args(["--execute"]).run()
    }

    /// Fails unless every row says what it should: corrected exactly once, or as it was.
    async fn assert_corrected_once(&self) {
        let wrong: i64 = self
            .value(
                "SELECT count(*)
                 FROM task_usage u JOIN original o USING (id)
                 WHERE u.input_tokens IS DISTINCT FROM CASE
                     WHEN u.provider = 'codex' AND o.cache_read_tokens > 0 AND o.input_tokens > 0
                     THEN greatest(o.input_tokens - o.cache_read_tokens, 0)
                     ELSE o.input_tokens END",
            )
            .await;
        assert_eq!(wrong, 0);
    }

    /// Fails unless the journal holds every change there has been, each once, as it was and as it is.
    async fn assert_journal_complete(&self) {
        let differing: i64 = self
            .value(
                "WITH changed AS (
                     SELECT u.id::text AS key, o.input_tokens AS was, u.input_tokens AS is, o.updated_at AS was_at,
                            u.updated_at AS is_at
                     FROM task_usage u JOIN original o USING (id)
                     WHERE u.input_tokens <> o.input_tokens OR u.updated_at IS DISTINCT FROM o.updated_at
                 ),
                 journalled AS (
                     SELECT c.key, (c.before ->> 'input_tokens')::bigint, (c.after ->> 'input_tokens')::bigint,
                            (c.before ->> 'updated_at')::timestamptz, (c.after ->> 'updated_at')::timestamptz
                     FROM migrate.repair_change c JOIN migrate.repair_run r ON r.id = c.run_id
                     WHERE c.applied_at IS NOT NULL AND r.repair <> 'undo' AND r.state <> 'undone'
                 )
                 SELECT count(*) FROM ((TABLE changed EXCEPT ALL TABLE journalled)
                                       UNION ALL (TABLE journalled EXCEPT ALL TABLE changed)) d",
            )
            .await;
        assert_eq!(differing, 0, "changes and journal differ");
    }

    /// Everything that a repair may change, as one value.
    async fn fingerprint(&self) -> String {
        self.value(
            "SELECT md5(string_agg(concat_ws('/', id, input_tokens, output_tokens, updated_at, created_at), ',' ORDER BY id))
             FROM task_usage",
        )
        .await
    }

    /// The hourly rollup as one value.
    async fn rollup_fingerprint(&self) -> String {
        self.value(
            "SELECT md5(string_agg(h::text, ',' ORDER BY h::text))
             FROM (SELECT bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model, input_tokens,
                          output_tokens, cache_read_tokens, cache_write_tokens, task_count, event_count,
                          to_jsonb(b) ->> 'cost_usd_ticks',
                          coalesce(to_jsonb(b) ->> 'uncosted_input_tokens', input_tokens::text),
                          coalesce(to_jsonb(b) ->> 'uncosted_output_tokens', output_tokens::text)
                   FROM task_usage_hourly b) h",
        )
        .await
    }

    /// States of all runs, in order.
    async fn run_states(&self) -> Vec<String> {
        self.rows("SELECT state FROM migrate.repair_run ORDER BY id", &[]).await.iter().map(|row| row.get(0)).collect()
    }
}
