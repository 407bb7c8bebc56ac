-- migrate: formerly 9625347535045093854
--
-- Token usage by UTC day, agent, project and model.
--
-- Why      The workspace dashboard asks by agent and project, which the daily table of the runtimes does not know.
-- After    task_usage_dashboard_daily is empty and its watermark stands at 1970. Whoever schedules the tick fills it,
--          a day of history per call. Triggers report what a window by time does not see.
-- Cost     New objects; CREATE TRIGGER takes SHARE ROW EXCLUSIVE on task_usage, agent_task_queue and issue for an
--          instant.
-- Retry    One transaction.

-- 0. Everything goes where task_usage is, and the functions stay there, whatever search path their callers have.
SELECT set_config('search_path', c.relnamespace::regnamespace || ', pg_temp', true)
FROM pg_class c
WHERE c.oid = 'task_usage'::regclass;

-- 1. The buckets. Usage outside any project has project_id NULL.
CREATE TABLE task_usage_dashboard_daily (
    bucket_date        date NOT NULL,
    workspace_id       uuid NOT NULL,
    agent_id           uuid NOT NULL,
    project_id         uuid,
    model              text NOT NULL,
    input_tokens       bigint NOT NULL DEFAULT 0,
    output_tokens      bigint NOT NULL DEFAULT 0,
    cache_read_tokens  bigint NOT NULL DEFAULT 0,
    cache_write_tokens bigint NOT NULL DEFAULT 0,
    task_count         bigint NOT NULL DEFAULT 0,
    event_count        bigint NOT NULL DEFAULT 0,
    updated_at         timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT uq_task_usage_dashboard_daily_key UNIQUE NULLS NOT DISTINCT
        (bucket_date, workspace_id, agent_id, project_id, model)
);

-- Without an identity, a table that is published lets nobody delete from it.
ALTER TABLE task_usage_dashboard_daily REPLICA IDENTITY FULL;

CREATE INDEX idx_task_usage_dashboard_daily_workspace_date
    ON task_usage_dashboard_daily (workspace_id, bucket_date DESC);

-- 2. How far the rollup has come: one row, always.
CREATE TABLE task_usage_dashboard_rollup_state (
    id                   smallint PRIMARY KEY DEFAULT 1,
    watermark_at         timestamptz NOT NULL DEFAULT 'epoch',
    last_run_started_at  timestamptz,
    last_run_finished_at timestamptz,
    last_run_rows        bigint,
    last_error           text,
    CONSTRAINT task_usage_dashboard_rollup_state_single_row CHECK (id = 1)
);

INSERT INTO task_usage_dashboard_rollup_state (id) VALUES (1);

-- 3. The queue: a date, or a task or issue whose dates are looked up when the report is drained.
CREATE TABLE task_usage_dashboard_dirty (
    bucket_date date,
    task_id     uuid,
    issue_id    uuid,
    enqueued_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT task_usage_dashboard_dirty_names_one CHECK (num_nonnulls(bucket_date, task_id, issue_id) = 1)
);

-- Without an identity, a table that is published lets nobody delete from it.
ALTER TABLE task_usage_dashboard_dirty REPLICA IDENTITY FULL;

CREATE INDEX idx_task_usage_dashboard_dirty_enqueued_at ON task_usage_dashboard_dirty (enqueued_at);

-- 4. What the raw rows of one UTC date add up to. Joins are pinned to index lookups, so that the rows of the date
--    alone decide the cost, whatever the statistics say.
CREATE OR REPLACE FUNCTION task_usage_dashboard_daily_of(p_date date)
RETURNS TABLE (
    bucket_date        date,
    workspace_id       uuid,
    agent_id           uuid,
    project_id         uuid,
    model              text,
    input_tokens       bigint,
    output_tokens      bigint,
    cache_read_tokens  bigint,
    cache_write_tokens bigint,
    task_count         bigint,
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
        t.agent_id,
        i.project_id,
        u.model,
        sum(u.input_tokens)::bigint,
        sum(u.output_tokens)::bigint,
        sum(u.cache_read_tokens)::bigint,
        sum(u.cache_write_tokens)::bigint,
        count(DISTINCT u.task_id),
        count(*)
    FROM task_usage u
    JOIN agent_task_queue t ON t.id = u.task_id
    JOIN agent a ON a.id = t.agent_id
    LEFT JOIN issue i ON i.id = t.issue_id
    WHERE u.created_at >= p_date::timestamp AT TIME ZONE 'UTC'
      AND u.created_at < (p_date + 1)::timestamp AT TIME ZONE 'UTC'
      AND t.runtime_id IS NOT NULL
    GROUP BY a.workspace_id, t.agent_id, i.project_id, u.model
$$;

-- 5. One date: the stored buckets become what the raw rows add up to.
CREATE OR REPLACE FUNCTION task_usage_dashboard_daily_rebuild(p_date date)
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
SET jit TO off
AS $$
DECLARE
    c_none    CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
    v_buckets bigint;
BEGIN
    WITH recomputed AS MATERIALIZED (
        SELECT r.* FROM task_usage_dashboard_daily_of(p_date) r
    ),
    written AS (
        INSERT INTO task_usage_dashboard_daily AS d (
            bucket_date, workspace_id, agent_id, project_id, model,
            input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, task_count, event_count
        )
        SELECT r.* FROM recomputed r
        ON CONFLICT ON CONSTRAINT uq_task_usage_dashboard_daily_key DO UPDATE SET
            input_tokens       = excluded.input_tokens,
            output_tokens      = excluded.output_tokens,
            cache_read_tokens  = excluded.cache_read_tokens,
            cache_write_tokens = excluded.cache_write_tokens,
            task_count         = excluded.task_count,
            event_count        = excluded.event_count,
            updated_at         = excluded.updated_at
        RETURNING 1
    ),
    deleted AS (
        DELETE FROM task_usage_dashboard_daily d
        WHERE d.bucket_date = p_date
          AND NOT EXISTS (
              SELECT FROM recomputed r
              WHERE r.workspace_id = d.workspace_id
                AND r.agent_id = d.agent_id
                AND coalesce(r.project_id, c_none) = coalesce(d.project_id, c_none)
                AND r.model = d.model
          )
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM written) + (SELECT count(*) FROM deleted)
    INTO v_buckets;

    RETURN v_buckets;
END
$$;

-- 6. Reports. A delete cascades to the usage, which reports itself; the issue reports its own for databases whose
--    tasks outlive it.
CREATE OR REPLACE FUNCTION enqueue_task_usage_dashboard_dirty_for_tu()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO task_usage_dashboard_dirty (bucket_date)
        SELECT DISTINCT (r.created_at AT TIME ZONE 'UTC')::date FROM removed r;
    ELSE
        INSERT INTO task_usage_dashboard_dirty (bucket_date)
        SELECT (OLD.created_at AT TIME ZONE 'UTC')::date
        UNION
        SELECT (NEW.created_at AT TIME ZONE 'UTC')::date;
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER trg_tu_dirty_dashboard
    AFTER UPDATE ON task_usage
    FOR EACH ROW
    WHEN (NEW.updated_at IS DISTINCT FROM now() OR OLD.created_at IS DISTINCT FROM NEW.created_at)
    EXECUTE FUNCTION enqueue_task_usage_dashboard_dirty_for_tu();

CREATE OR REPLACE TRIGGER trg_tu_delete_dirty_dashboard
    AFTER DELETE ON task_usage
    REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT
    EXECUTE FUNCTION enqueue_task_usage_dashboard_dirty_for_tu();

CREATE OR REPLACE FUNCTION enqueue_task_usage_dashboard_dirty_for_atq()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO task_usage_dashboard_dirty (task_id) VALUES (NEW.id);
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER trg_atq_dirty_dashboard
    AFTER UPDATE ON agent_task_queue
    FOR EACH ROW
    WHEN (OLD.agent_id IS DISTINCT FROM NEW.agent_id
          OR OLD.issue_id IS DISTINCT FROM NEW.issue_id
          OR OLD.runtime_id IS DISTINCT FROM NEW.runtime_id)
    EXECUTE FUNCTION enqueue_task_usage_dashboard_dirty_for_atq();

CREATE OR REPLACE FUNCTION enqueue_task_usage_dashboard_dirty_for_issue_project()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO task_usage_dashboard_dirty (issue_id) VALUES (NEW.id);
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER trg_issue_project_dirty_dashboard
    AFTER UPDATE ON issue
    FOR EACH ROW
    WHEN (OLD.project_id IS DISTINCT FROM NEW.project_id)
    EXECUTE FUNCTION enqueue_task_usage_dashboard_dirty_for_issue_project();

CREATE OR REPLACE FUNCTION enqueue_task_usage_dashboard_dirty_for_issue_delete()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO task_usage_dashboard_dirty (issue_id) VALUES (OLD.id);
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER trg_issue_delete_dirty_dashboard
    AFTER DELETE ON issue
    FOR EACH ROW
    EXECUTE FUNCTION enqueue_task_usage_dashboard_dirty_for_issue_delete();

-- 7. The window drains the queue by the statement that reads it: what is removed is what is rebuilt.
CREATE OR REPLACE FUNCTION rollup_task_usage_dashboard_daily_window(p_from timestamptz, p_to timestamptz)
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
    PERFORM pg_advisory_xact_lock(4244, 1);

    WITH drained AS (
        DELETE FROM task_usage_dashboard_dirty d
        WHERE d.enqueued_at < p_to AND p_from < p_to
        RETURNING d.bucket_date, d.task_id, d.issue_id
    ),
    drained_tasks AS (
        SELECT d.task_id FROM drained d WHERE d.task_id IS NOT NULL
        UNION
        SELECT t.id
        FROM (SELECT DISTINCT d.issue_id FROM drained d WHERE d.issue_id IS NOT NULL) d
        CROSS JOIN LATERAL (SELECT t.id FROM agent_task_queue t WHERE t.issue_id = d.issue_id OFFSET 0) t
    ),
    changed AS (
        SELECT u.created_at FROM task_usage u WHERE u.updated_at >= p_from AND u.updated_at < p_to
        UNION ALL
        SELECT u.created_at FROM task_usage u
        WHERE u.updated_at IS NULL AND u.created_at >= p_from AND u.created_at < p_to
        UNION ALL
        SELECT u.created_at
        FROM drained_tasks d
        CROSS JOIN LATERAL (SELECT u.created_at FROM task_usage u WHERE u.task_id = d.task_id OFFSET 0) u
    ),
    touched AS (
        SELECT d.bucket_date FROM drained d WHERE d.bucket_date IS NOT NULL
        UNION
        SELECT (c.created_at AT TIME ZONE 'UTC')::date FROM changed c WHERE isfinite(c.created_at)
    )
    SELECT array_agg(t.bucket_date)
    INTO v_dates
    FROM touched t
    WHERE isfinite(t.bucket_date);

    FOREACH v_date IN ARRAY coalesce(v_dates, '{}') LOOP
        v_buckets := v_buckets + task_usage_dashboard_daily_rebuild(v_date);
    END LOOP;

    RETURN v_buckets;
END
$$;

-- 8. The tick: at most a day of history per call, five minutes behind the clock, one at a time.
CREATE OR REPLACE FUNCTION rollup_task_usage_dashboard_daily()
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
    IF NOT pg_try_advisory_xact_lock(4244) THEN
        RETURN 0;
    END IF;

    SELECT s.watermark_at INTO STRICT v_from FROM task_usage_dashboard_rollup_state s WHERE s.id = 1 FOR UPDATE;
    v_to := least(
        now() - interval '5 minutes',
        interval '1 day' + least(
            (SELECT min(u.updated_at) FROM task_usage u WHERE u.updated_at >= v_from),
            (SELECT min(u.created_at) FROM task_usage u WHERE u.updated_at IS NULL AND u.created_at >= v_from)
        )
    );
    v_rows := rollup_task_usage_dashboard_daily_window(v_from, v_to);

    UPDATE task_usage_dashboard_rollup_state
    SET watermark_at         = greatest(watermark_at, v_to),
        last_run_started_at  = now(),
        last_run_finished_at = clock_timestamp(),
        last_run_rows        = v_rows,
        last_error           = NULL
    WHERE id = 1;

    RETURN v_rows;
END
$$;

-- 9. How far it is behind the clock.
CREATE OR REPLACE FUNCTION task_usage_dashboard_rollup_lag_seconds()
RETURNS double precision
LANGUAGE sql
STABLE
SET search_path FROM CURRENT
AS $$
    SELECT extract(epoch FROM now() - watermark_at)::double precision
    FROM task_usage_dashboard_rollup_state
    WHERE id = 1
$$;

-- Nobody else may put these functions on a table of their own: what they do there, they would do with the rights of
-- their owner. The triggers above need no right to call them.
REVOKE ALL ON FUNCTION
    enqueue_task_usage_dashboard_dirty_for_tu(),
    enqueue_task_usage_dashboard_dirty_for_atq(),
    enqueue_task_usage_dashboard_dirty_for_issue_project(),
    enqueue_task_usage_dashboard_dirty_for_issue_delete()
FROM PUBLIC;
