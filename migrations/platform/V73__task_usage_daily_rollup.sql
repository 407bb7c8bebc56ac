-- Token usage by day, runtime, provider and model.
--
-- Why      A runtime's page adds up months of usage; it must not read every row for that.
-- After    task_usage_daily is empty and the watermark stands at 1970. Whoever schedules the tick fills it, a day of
--          history per call.
-- Cost     New objects only.
-- Retry    One transaction.

-- 0. Everything goes where task_usage is, and the functions stay there, whatever search path their callers have.
SELECT set_config('search_path', c.relnamespace::regnamespace || ', pg_temp', true)
FROM pg_class c
WHERE c.oid = 'task_usage'::regclass;

-- 1. The buckets.
CREATE TABLE task_usage_daily (
    bucket_date        date NOT NULL,
    workspace_id       uuid NOT NULL,
    runtime_id         uuid NOT NULL,
    provider           text NOT NULL,
    model              text NOT NULL,
    input_tokens       bigint NOT NULL DEFAULT 0,
    output_tokens      bigint NOT NULL DEFAULT 0,
    cache_read_tokens  bigint NOT NULL DEFAULT 0,
    cache_write_tokens bigint NOT NULL DEFAULT 0,
    event_count        bigint NOT NULL DEFAULT 0,
    updated_at         timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT uq_task_usage_daily_key UNIQUE (bucket_date, workspace_id, runtime_id, provider, model)
);

CREATE INDEX idx_task_usage_daily_runtime_date ON task_usage_daily (runtime_id, bucket_date DESC);

-- 2. How far the rollup has come: one row, always.
CREATE TABLE task_usage_rollup_state (
    id                   smallint PRIMARY KEY DEFAULT 1,
    watermark_at         timestamptz NOT NULL DEFAULT 'epoch',
    last_run_started_at  timestamptz,
    last_run_finished_at timestamptz,
    last_run_rows        bigint,
    last_error           text,
    CONSTRAINT task_usage_rollup_state_single_row CHECK (id = 1)
);

INSERT INTO task_usage_rollup_state (id) VALUES (1);

-- 3. The dates whose buckets a row recorded at p_created_at can count in.
CREATE OR REPLACE FUNCTION task_usage_daily_dates(p_created_at timestamptz)
RETURNS SETOF date
LANGUAGE sql
IMMUTABLE STRICT
AS $$
    SELECT (p_created_at AT TIME ZONE 'UTC')::date
$$;

-- 4. What the raw rows of one date add up to. Joins are pinned to index lookups, so that the rows of the date alone
--    decide the cost, whatever the statistics say.
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
    WHERE u.created_at >= p_date::timestamp AT TIME ZONE 'UTC'
      AND u.created_at < (p_date + 1)::timestamp AT TIME ZONE 'UTC'
      AND t.runtime_id IS NOT NULL
    GROUP BY a.workspace_id, t.runtime_id, u.provider, u.model
$$;

-- 5. One date: the stored buckets become what the raw rows add up to.
CREATE OR REPLACE FUNCTION task_usage_daily_rebuild(p_date date)
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
SET jit TO off
AS $$
DECLARE
    v_buckets bigint;
BEGIN
    WITH recomputed AS MATERIALIZED (
        SELECT r.* FROM task_usage_daily_of(p_date) r
    ),
    written AS (
        INSERT INTO task_usage_daily AS d (
            bucket_date, workspace_id, runtime_id, provider, model,
            input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, event_count
        )
        SELECT r.* FROM recomputed r
        ON CONFLICT ON CONSTRAINT uq_task_usage_daily_key DO UPDATE SET
            input_tokens       = excluded.input_tokens,
            output_tokens      = excluded.output_tokens,
            cache_read_tokens  = excluded.cache_read_tokens,
            cache_write_tokens = excluded.cache_write_tokens,
            event_count        = excluded.event_count,
            updated_at         = excluded.updated_at
        RETURNING 1
    ),
    deleted AS (
        DELETE FROM task_usage_daily d
        WHERE d.bucket_date = p_date
          AND NOT EXISTS (
              SELECT FROM recomputed r
              WHERE r.workspace_id = d.workspace_id
                AND r.runtime_id = d.runtime_id
                AND r.provider = d.provider
                AND r.model = d.model
          )
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM written) + (SELECT count(*) FROM deleted)
    INTO v_buckets;

    RETURN v_buckets;
END
$$;

-- 6. The window: every date with usage changed in [p_from, p_to).
CREATE OR REPLACE FUNCTION rollup_task_usage_daily_window(p_from timestamptz, p_to timestamptz)
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
SET jit TO off
AS $$
DECLARE
    v_dates   date[];
    v_date    date;
    v_buckets bigint := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(4242, 1);

    SELECT array_agg(DISTINCT d.bucket_date)
    INTO v_dates
    FROM (
        SELECT u.created_at FROM task_usage u WHERE u.updated_at >= p_from AND u.updated_at < p_to
        UNION ALL
        SELECT u.created_at FROM task_usage u
        WHERE u.updated_at IS NULL AND u.created_at >= p_from AND u.created_at < p_to
    ) c
    CROSS JOIN LATERAL task_usage_daily_dates(c.created_at) AS d (bucket_date)
    WHERE isfinite(c.created_at);

    FOREACH v_date IN ARRAY coalesce(v_dates, '{}') LOOP
        v_buckets := v_buckets + task_usage_daily_rebuild(v_date);
    END LOOP;

    RETURN v_buckets;
END
$$;

-- 7. The tick: at most a day of history per call, five minutes behind the clock, one at a time.
CREATE OR REPLACE FUNCTION rollup_task_usage_daily()
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_from timestamptz;
    v_to   timestamptz;
    v_rows bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(4242) THEN
        RETURN 0;
    END IF;

    SELECT s.watermark_at INTO STRICT v_from FROM task_usage_rollup_state s WHERE s.id = 1 FOR UPDATE;
    v_to := least(
        now() - interval '5 minutes',
        interval '1 day' + least(
            (SELECT min(u.updated_at) FROM task_usage u WHERE u.updated_at >= v_from),
            (SELECT min(u.created_at) FROM task_usage u WHERE u.updated_at IS NULL AND u.created_at >= v_from)
        )
    );
    v_rows := rollup_task_usage_daily_window(v_from, v_to);

    UPDATE task_usage_rollup_state
    SET watermark_at         = greatest(watermark_at, v_to),
        last_run_started_at  = now(),
        last_run_finished_at = clock_timestamp(),
        last_run_rows        = v_rows,
        last_error           = NULL
    WHERE id = 1;

    RETURN v_rows;
END
$$;
