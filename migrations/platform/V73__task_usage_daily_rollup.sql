-- migrate: formerly 12767803948122514291
--
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

-- Without an identity, a table that is published lets nobody delete from it.
ALTER TABLE task_usage_daily REPLICA IDENTITY FULL;

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

-- 3. The window: every date with usage changed in [p_from, p_to) becomes what its raw rows add up to.
CREATE OR REPLACE FUNCTION rollup_task_usage_daily_window(p_from timestamptz, p_to timestamptz)
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
SET jit TO off
AS $$
DECLARE
    v_dates   date[];
    v_buckets bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(4242, 1);

    SELECT array_agg(DISTINCT (c.created_at AT TIME ZONE 'UTC')::date)
    INTO v_dates
    FROM (
        SELECT u.created_at FROM task_usage u WHERE u.updated_at >= p_from AND u.updated_at < p_to
        UNION ALL
        SELECT u.created_at FROM task_usage u
        WHERE u.updated_at IS NULL AND u.created_at >= p_from AND u.created_at < p_to
    ) c
    WHERE isfinite(c.created_at);

    DELETE FROM task_usage_daily d WHERE d.bucket_date = ANY (v_dates);

    INSERT INTO task_usage_daily (
        bucket_date, workspace_id, runtime_id, provider, model,
        input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, event_count
    )
    SELECT
        d.bucket_date,
        a.workspace_id,
        t.runtime_id,
        u.provider,
        u.model,
        sum(u.input_tokens),
        sum(u.output_tokens),
        sum(u.cache_read_tokens),
        sum(u.cache_write_tokens),
        count(*)
    FROM unnest(v_dates) AS d (bucket_date)
    JOIN task_usage u
        ON u.created_at >= d.bucket_date::timestamp AT TIME ZONE 'UTC'
        AND u.created_at < (d.bucket_date + 1)::timestamp AT TIME ZONE 'UTC'
    JOIN agent_task_queue t ON t.id = u.task_id
    JOIN agent a ON a.id = t.agent_id
    WHERE t.runtime_id IS NOT NULL
    GROUP BY d.bucket_date, a.workspace_id, t.runtime_id, u.provider, u.model;
    GET DIAGNOSTICS v_buckets = ROW_COUNT;

    RETURN v_buckets;
END
$$;

-- 4. The tick: at most a day of history per call, five minutes behind the clock, one at a time.
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
