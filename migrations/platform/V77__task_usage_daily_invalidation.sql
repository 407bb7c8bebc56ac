-- migrate: formerly 6591411121657213558
--
-- Changes that a window by time does not see reach the daily buckets too.
--
-- Why      A delete leaves no row to find, a correction may keep updated_at, and a task that moves to another
--          runtime takes its usage along.
-- After    Triggers report such changes in task_usage_daily_dirty; the window rebuilds what was reported. Everything that
--          they call is made here, whoever has applied V73.
-- Cost     CREATE TRIGGER takes SHARE ROW EXCLUSIVE on task_usage and agent_task_queue for an instant.
-- Retry    One transaction.

-- 0. Everything goes where task_usage is, and the functions stay there, whatever search path their callers have.
SELECT set_config('search_path', c.relnamespace::regnamespace || ', pg_temp', true)
FROM pg_class c
WHERE c.oid = 'task_usage'::regclass;

-- 1. The dates whose buckets a row recorded at p_created_at can count in.
CREATE OR REPLACE FUNCTION task_usage_daily_dates(p_created_at timestamptz)
RETURNS SETOF date
LANGUAGE sql
IMMUTABLE STRICT
AS $$
    SELECT (p_created_at AT TIME ZONE 'UTC')::date
$$;

-- 2. What the raw rows of one date add up to. Joins are pinned to index lookups, so that the rows of the date alone
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

-- 3. One date: the stored buckets become what the raw rows add up to.
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
        ON CONFLICT (bucket_date, workspace_id, runtime_id, provider, model) DO UPDATE SET
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

-- 4. The queue: a date, or a task whose dates are looked up when the report is drained. Append-only and without
--    unique constraints, so that no writer waits for another.
CREATE TABLE task_usage_daily_dirty (
    bucket_date date,
    task_id     uuid,
    enqueued_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT task_usage_daily_dirty_names_one CHECK (num_nonnulls(bucket_date, task_id) = 1)
);

-- Without an identity, a table that is published lets nobody delete from it.
ALTER TABLE task_usage_daily_dirty REPLICA IDENTITY FULL;

CREATE INDEX idx_task_usage_daily_dirty_enqueued_at ON task_usage_daily_dirty (enqueued_at);

-- 5. Reports.
CREATE OR REPLACE FUNCTION enqueue_task_usage_daily_dirty_for_tu()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO task_usage_daily_dirty (bucket_date)
        SELECT DISTINCT d FROM removed r CROSS JOIN LATERAL task_usage_daily_dates(r.created_at) d;
    ELSE
        INSERT INTO task_usage_daily_dirty (bucket_date)
        SELECT task_usage_daily_dates(OLD.created_at)
        UNION
        SELECT task_usage_daily_dates(NEW.created_at);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER trg_tu_dirty_rollup
    AFTER UPDATE ON task_usage
    FOR EACH ROW
    WHEN (NEW.updated_at IS DISTINCT FROM now() OR OLD.created_at IS DISTINCT FROM NEW.created_at)
    EXECUTE FUNCTION enqueue_task_usage_daily_dirty_for_tu();

CREATE OR REPLACE TRIGGER trg_tu_delete_dirty_rollup
    AFTER DELETE ON task_usage
    REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT
    EXECUTE FUNCTION enqueue_task_usage_daily_dirty_for_tu();

CREATE OR REPLACE FUNCTION enqueue_task_usage_daily_dirty_for_atq()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO task_usage_daily_dirty (task_id) VALUES (NEW.id);
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER trg_atq_dirty_rollup
    AFTER UPDATE ON agent_task_queue
    FOR EACH ROW
    WHEN (OLD.agent_id IS DISTINCT FROM NEW.agent_id OR OLD.runtime_id IS DISTINCT FROM NEW.runtime_id)
    EXECUTE FUNCTION enqueue_task_usage_daily_dirty_for_atq();

-- 6. The window drains the queue by the statement that reads it: what is removed is what is rebuilt. Made anew, because an
--    older program's may return another type.
DROP FUNCTION rollup_task_usage_daily_window(timestamptz, timestamptz);

CREATE FUNCTION rollup_task_usage_daily_window(p_from timestamptz, p_to timestamptz)
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

    WITH drained AS (
        DELETE FROM task_usage_daily_dirty d
        WHERE d.enqueued_at < p_to AND p_from < p_to
        RETURNING d.bucket_date, d.task_id
    ),
    changed AS (
        SELECT u.created_at FROM task_usage u WHERE u.updated_at >= p_from AND u.updated_at < p_to
        UNION ALL
        SELECT u.created_at FROM task_usage u
        WHERE u.updated_at IS NULL AND u.created_at >= p_from AND u.created_at < p_to
        UNION ALL
        SELECT u.created_at
        FROM (SELECT DISTINCT d.task_id FROM drained d WHERE d.task_id IS NOT NULL) d
        CROSS JOIN LATERAL (SELECT u.created_at FROM task_usage u WHERE u.task_id = d.task_id OFFSET 0) u
    ),
    touched AS (
        SELECT d.bucket_date FROM drained d WHERE d.bucket_date IS NOT NULL
        UNION
        SELECT d.bucket_date
        FROM changed c
        CROSS JOIN LATERAL task_usage_daily_dates(c.created_at) AS d (bucket_date)
        WHERE isfinite(c.created_at)
    )
    SELECT array_agg(t.bucket_date)
    INTO v_dates
    FROM touched t
    WHERE isfinite(t.bucket_date);

    FOREACH v_date IN ARRAY coalesce(v_dates, '{}') LOOP
        v_buckets := v_buckets + task_usage_daily_rebuild(v_date);
    END LOOP;

    RETURN v_buckets;
END
$$;

-- Nobody else may put these functions on a table of their own: what they do there, they would do with the rights of
-- their owner. The triggers above need no right to call them.
REVOKE ALL ON FUNCTION
    enqueue_task_usage_daily_dirty_for_tu(),
    enqueue_task_usage_daily_dirty_for_atq()
FROM PUBLIC;
