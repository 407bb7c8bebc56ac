-- Daily buckets follow the time zone of their runtime.
--
-- Why      See V81: a day on a runtime's page is the day of the people who look at it.
-- After    Dates that are rebuilt from now on are cut in the runtime's zone. History is not rebuilt: older buckets
--          stay UTC days until something in them changes.
--          Where an older program has applied V77, its window does not call these functions, and its days stay as it
--          cuts them; V103 drops all of it.
-- Cost     Two functions are replaced.
-- Retry    One transaction.

-- 0. Everything goes where task_usage is, and the functions stay there, whatever search path their callers have.
SELECT set_config('search_path', c.relnamespace::regnamespace || ', pg_temp', true)
FROM pg_class c
WHERE c.oid = 'task_usage'::regclass;

-- 1. A row can count a day earlier or later than in UTC. All three dates are rebuilt, so that nothing depends on a
--    runtime that may be gone.
CREATE OR REPLACE FUNCTION task_usage_daily_dates(p_created_at timestamptz)
RETURNS SETOF date
LANGUAGE sql
IMMUTABLE STRICT
AS $$
    SELECT (p_created_at AT TIME ZONE 'UTC')::date + n FROM generate_series(-1, 1) n
$$;

-- 2. The zones reach from UTC-12 to UTC+14; the scan is that much wider than the day, then cut to it.
CREATE OR REPLACE FUNCTION task_usage_daily_of(p_date date)
RETURNS TABLE (
    bucket_date        date,
    workspace_id       uuid,
    runtime_id         uuid,
    provider           text,
    model              text,
    input_tokens       bigint,
    output_tokens      bigint,
    cache_read_tokens  bigint,
    cache_write_tokens bigint,
    event_count        bigint
)
LANGUAGE sql
STABLE
SET search_path FROM CURRENT
SET enable_seqscan TO off
SET enable_nestloop TO on
SET enable_hashjoin TO off
SET enable_mergejoin TO off
SET max_parallel_workers_per_gather TO 0
SET jit TO off
AS $$
    SELECT
        p_date,
        a.workspace_id,
        t.runtime_id,
        u.provider,
        u.model,
        sum(u.input_tokens)::bigint,
        sum(u.output_tokens)::bigint,
        sum(u.cache_read_tokens)::bigint,
        sum(u.cache_write_tokens)::bigint,
        count(*)
    FROM task_usage u
    JOIN agent_task_queue t ON t.id = u.task_id
    JOIN agent a ON a.id = t.agent_id
    JOIN agent_runtime r ON r.id = t.runtime_id
    WHERE u.created_at >= p_date::timestamp AT TIME ZONE 'UTC' - interval '14 hours'
      AND u.created_at < (p_date + 1)::timestamp AT TIME ZONE 'UTC' + interval '12 hours'
      AND (u.created_at AT TIME ZONE r.timezone)::date = p_date
    GROUP BY a.workspace_id, t.runtime_id, u.provider, u.model
$$;
