-- Usage of twelve months for the benchmarks, as an application would have left it: in the order of time, without
-- statistics. For a database at version 72, before there are indexes on times, which are then built in one go.
--
-- Set before it runs:  SET bench.rows = '1000000';    how many usage rows, one a task
--                      SET bench.per_bucket = '50';   how many of them share a bucket; 1 for nearly a bucket a row
--                      SET bench.codex = '0.25';      which part of them is of Codex; the rest is of Claude
--
-- 100 workspaces with 2,000 agents, of which the busiest does some 2 % of all work and the laziest next to none; 20,000
-- issues, most of them in projects. The older 40 % of the rows have updated_at NULL, as rows from before version 72.

INSERT INTO workspace (name, slug)
SELECT 'Workspace ' || n, 'workspace-' || n FROM generate_series(1, 100) n;

INSERT INTO project (workspace_id, title)
SELECT w.id, 'Project ' || n FROM workspace w, generate_series(1, 10) n;

INSERT INTO agent_runtime (workspace_id, daemon_id, name, runtime_mode, provider)
SELECT w.id, 'daemon-' || n, 'Runtime ' || n, 'local', (ARRAY['claude', 'codex'])[n]
FROM workspace w, generate_series(1, 2) n;

INSERT INTO agent (workspace_id, name, runtime_mode, runtime_id)
SELECT r.workspace_id, r.name || ' agent ' || n, 'local', r.id FROM agent_runtime r, generate_series(1, 10) n;

INSERT INTO issue (workspace_id, project_id, title, creator_type, creator_id, number)
SELECT p.workspace_id, CASE WHEN n % 6 > 0 THEN p.id END, 'Issue ' || n, 'member', gen_random_uuid(), n
FROM project p, generate_series(1, 20) n;

SELECT setseed(0.5);

-- Whose work it was is decided bucket by bucket, or nearly so.
CREATE TEMP TABLE planned AS
WITH agents AS (
    SELECT array_agg(a.id ORDER BY a.name, a.workspace_id) AS ids, array_agg(a.runtime_id ORDER BY a.name, a.workspace_id) AS runtimes
    FROM agent a
),
issues AS (
    SELECT array_agg(i.id) AS ids FROM issue i
),
buckets AS (
    SELECT
        n,
        1 + floor(power(random(), 2) * 2000)::int AS agent_n,
        1 + floor(random() * 20000)::int AS issue_n,
        1 + floor(random() * 4)::int AS model_n
    FROM generate_series(0, ceil(current_setting('bench.rows')::float8 / current_setting('bench.per_bucket')::int)::bigint - 1) n
)
SELECT
    gen_random_uuid() AS task_id,
    gen_random_uuid() AS usage_id,
    a.ids[b.agent_n] AS agent_id,
    CASE WHEN b.n % 97 > 0 THEN a.runtimes[b.agent_n] END AS runtime_id,
    CASE WHEN b.n % 11 > 0 THEN i.ids[b.issue_n] END AS issue_id,
    (ARRAY['haiku', 'opus', 'sonnet', 'gpt'])[b.model_n] AS model,
    s.at
FROM buckets b
CROSS JOIN agents a
CROSS JOIN issues i
CROSS JOIN LATERAL (
    SELECT date_trunc('hour', now()) - interval '365 days'
           + floor(b.n * 8760 / ceil(current_setting('bench.rows')::float8 / current_setting('bench.per_bucket')::int))
           * interval '1 hour' AS hour
) h
CROSS JOIN LATERAL (
    SELECT h.hour + random() * interval '1 hour' AS at FROM generate_series(1, current_setting('bench.per_bucket')::int)
) s
ORDER BY s.at;

INSERT INTO agent_task_queue (id, agent_id, runtime_id, issue_id, status, created_at)
SELECT task_id, agent_id, runtime_id, issue_id, 'completed', at FROM planned;

INSERT INTO task_usage (
    id, task_id, provider, model, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, created_at, updated_at
)
SELECT
    usage_id, task_id, CASE WHEN random() < current_setting('bench.codex')::float8 THEN 'codex' ELSE 'claude' END, model,
    (random() * 10000)::int, (random() * 1000)::int, (random() * 5000)::int, (random() * 500)::int,
    at,
    CASE WHEN at >= now() - interval '219 days' THEN at END
FROM planned;

DROP TABLE planned;
