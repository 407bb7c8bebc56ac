-- migrate: since 102
-- migrate: revision 1
--
-- What keeps task_usage_hourly equal to the raw usage: triggers, the window, the tick. The one pipeline in force.
--
-- Why      People are billed by these buckets. They must come out the same whatever the application does: late
--          commits, corrections, deletes, moves between agents, projects and workspaces. And whoever migrated last: the
--          platform's own migrator brings functions and triggers of the same names, at 102 and again at 213, 243
--          and 272. So this file is repeatable. It is applied again when it or anything that it makes has changed.
-- After    The triggers report every change that a window by time would not see. A window rebuilds whole hours
--          from the raw rows, with their cost where version 213 has brought the columns. Nothing is rolled up by this
--          file: the walks do that (hourly-backfill before V103, hourly-rebuild after this file).
-- Cost     CREATE TRIGGER takes SHARE ROW EXCLUSIVE on task_usage, agent_task_queue, issue, agent and
--          task_usage_hourly_dirty: writers wait for an instant. No row is read. It waits for a tick or walk to end.
-- Retry    One transaction, and it may be applied again over itself or over another version of the same objects.
--
-- Why it is exact
--
-- A rebuild reads the whole hour and replaces all of it, so it is enough to know which hours are out of date; whose
-- tokens they were, and whose they are now, never has to be remembered. Hours become known in three ways:
--
--   a. An ordinary write sets updated_at to now(), the start of its transaction, and a window finds it by index.
--      The watermark follows task_usage_hourly_horizon(): five minutes behind the clock, and behind the start of
--      every open transaction that holds a write lock on task_usage. A transaction that first writes usage when it
--      is already a minute old could slip in behind the watermark before it holds that lock; its writes are
--      therefore reported under b.
--   b. A write with any other updated_at, one that moves a row to another bucket, a delete and a TRUNCATE report
--      their hours in task_usage_hourly_invalidation. The report commits with the write.
--   c. A task, issue or agent whose usage now counts for somebody else is reported by its id, and its hours are
--      looked up when the report is drained. The trigger could not list them: usage that a concurrent transaction
--      has written but not committed is invisible to it.
--
-- Reports are plain inserts into a table without unique constraints, so no writer ever waits for another one, or
-- for a window. task_usage_hourly_dirty, whose constraint would make them wait, is drained for whoever fills it.
-- Windows exclude each other: the one that writes last has also read last.
--
-- Whoever may create functions and operators in this schema could have them picked instead of PostgreSQL's own, where they
-- fit the arguments better: its unnest(timestamptz[]) before unnest(anyarray). So every function of PostgreSQL's is
-- qualified; ours are called with arguments of exactly their types; and operators have operands of types for which
-- PostgreSQL itself has one (it is searched first), so none that somebody else has made can fit better.
--
-- What row-level security would hide from whoever calls these functions is an error, never an absence (row_security).
--
-- Beside the platform's own versions
--
-- Triggers and functions that report have names of their own, which the platform does not know and so does not replace. The
-- functions that it does know by name may be put under any trigger, BEFORE or AFTER; they let the row through and do
-- nothing else. Where the platform has replaced the window, its window drains task_usage_hourly_dirty alone; a trigger
-- there hands our reports over to it (8).

SET LOCAL client_min_messages TO warning;

-- 0. Everything goes where task_usage is, and the functions stay there, whatever search path their callers have. Nobody
--    rolls up meanwhile: half of a tick must not be done by the functions from before.
SELECT pg_catalog.set_config('search_path', c.relnamespace::regnamespace::text || ', pg_temp', true)
FROM pg_catalog.pg_class c
WHERE c.oid = 'task_usage'::regclass::oid;

SELECT pg_catalog.pg_advisory_xact_lock(4246), pg_catalog.pg_advisory_xact_lock(4246, 1);

--    All locks at once, in the order in which a delete cascades and triggers report: whoever is at work on one of these goes on
--    to the ones behind it, and would otherwise wait there for us, who wait for it here.
LOCK TABLE agent, issue, agent_task_queue, task_usage, task_usage_hourly_dirty IN SHARE ROW EXCLUSIVE MODE;

-- 1. The queue that the triggers fill. Each row names one thing: an hour ('-infinity': every hour), a task, an issue
--    or an agent.
CREATE TABLE IF NOT EXISTS task_usage_hourly_invalidation (
    bucket_hour timestamptz,
    task_id     uuid,
    issue_id    uuid,
    agent_id    uuid,
    enqueued_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT task_usage_hourly_invalidation_names_one
        CHECK (pg_catalog.num_nonnulls(bucket_hour, task_id, issue_id, agent_id) = 1)
);

COMMENT ON TABLE task_usage_hourly_invalidation IS
    'Hours, and owners of usage, whose buckets the next rollup window must rebuild. Append-only; drained by windows.';

CREATE INDEX IF NOT EXISTS idx_task_usage_hourly_invalidation_enqueued_at
    ON task_usage_hourly_invalidation (enqueued_at);

--    Buckets that do not fit into task_usage_hourly: a sum of theirs is beyond what a bigint holds. They are kept out of it, and
--    listed here until they fit, so that one of them stops nothing else.
CREATE TABLE IF NOT EXISTS task_usage_hourly_too_large (
    bucket_hour  timestamptz NOT NULL,
    workspace_id uuid NOT NULL,
    runtime_id   uuid NOT NULL,
    agent_id     uuid NOT NULL,
    project_id   uuid,
    provider     text NOT NULL,
    model        text NOT NULL,
    -- The sums that do not fit, by the names of their columns.
    sums         jsonb NOT NULL,
    seen_at      timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT uq_task_usage_hourly_too_large_key
        UNIQUE NULLS NOT DISTINCT (bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model)
);

COMMENT ON TABLE task_usage_hourly_too_large IS
    'Buckets that are not in task_usage_hourly because a sum is beyond what a bigint holds. Correct their usage; the next tick then writes them.';

--    A table that is published must have an identity, or every delete from it fails, and with it every rollup. None of
--    these has a primary key.
DO $do$
DECLARE
    v_table regclass;
BEGIN
    FOR v_table IN
        SELECT c.oid
        FROM pg_catalog.pg_class c
        WHERE c.oid IN ('task_usage_hourly'::regclass::oid, 'task_usage_hourly_dirty'::regclass::oid,
                        'task_usage_hourly_invalidation'::regclass::oid,
                        'task_usage_hourly_too_large'::regclass::oid)
          AND c.relreplident = 'd'
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s REPLICA IDENTITY FULL', v_table);
    END LOOP;
END
$do$;

-- 2. The bucket of a moment. Two conversions through UTC are immutable where date_trunc with a zone is not.
CREATE OR REPLACE FUNCTION task_usage_hour_bucket(ts timestamptz)
RETURNS timestamptz
LANGUAGE sql
IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT pg_catalog.date_trunc('hour', ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
$$;

COMMENT ON FUNCTION task_usage_hour_bucket(timestamptz) IS
    'Start of the UTC hour that contains ts, whatever the time zone of the session.';

-- 3. Whether usage and buckets have the columns for cost, which version 213 brings.
CREATE OR REPLACE FUNCTION task_usage_hourly_has_cost()
RETURNS boolean
LANGUAGE sql
STABLE
SET search_path FROM CURRENT
AS $$
    SELECT pg_catalog.count(*) = 6
    FROM pg_catalog.pg_attribute a
    WHERE NOT a.attisdropped
      AND (a.attrelid = 'task_usage'::regclass::oid AND a.attname = 'cost_usd_ticks'
           OR a.attrelid = 'task_usage_hourly'::regclass::oid
              AND a.attname IN ('cost_usd_ticks', 'uncosted_input_tokens', 'uncosted_output_tokens',
                                'uncosted_cache_read_tokens', 'uncosted_cache_write_tokens'))
$$;

COMMENT ON FUNCTION task_usage_hourly_has_cost() IS
    'Whether task_usage and task_usage_hourly have the columns for cost.';

--    What the raw rows of some hours add up to: the definition that everything else is measured by.
--    A row belongs to the workspace of its task's agent and the project of its task's issue, and counts only when
--    the task has a runtime. (task_id, provider, model) is unique, so a bucket holds one row per task and
--    counting rows counts tasks. The cost is the sum over the rows that have one; the tokens of the others are
--    uncosted. Where task_usage has no column for it, the name means that of "absent": no row has a cost.
--    The plan is pinned, so that the rows of these hours alone decide what it costs, also right after a bulk load, when
--    the statistics know nothing: every table is reached by index, from the step before. OFFSET 0 keeps the planner
--    from joining it in any other way. Tasks are looked up in the order of their key, because neighbours share pages;
--    agents and issues once each. Parallel workers and a compiler would take longer to start than a tick does.
--    Sums are numeric until they are known to fit. Where one does not, too_large has those that do not, and all are NULL.
DO $do$
BEGIN
    -- An earlier form, which had one column less, would have to be dropped by hand.
    IF EXISTS (
        SELECT FROM pg_catalog.pg_proc p
        WHERE p.oid = pg_catalog.to_regprocedure('task_usage_hourly_computed(timestamptz[])')
          AND 'too_large' <> ALL (p.proargnames)
    ) THEN
        DROP FUNCTION task_usage_hourly_computed(timestamptz[]);
    END IF;
END
$do$;

CREATE OR REPLACE FUNCTION task_usage_hourly_computed(p_hours timestamptz[])
RETURNS TABLE (
    bucket_hour                 timestamptz,
    workspace_id                uuid,
    runtime_id                  uuid,
    agent_id                    uuid,
    project_id                  uuid,
    provider                    text,
    model                       text,
    input_tokens                bigint,
    output_tokens               bigint,
    cache_read_tokens           bigint,
    cache_write_tokens          bigint,
    task_count                  bigint,
    event_count                 bigint,
    cost_usd_ticks              bigint,
    uncosted_input_tokens       bigint,
    uncosted_output_tokens      bigint,
    uncosted_cache_read_tokens  bigint,
    uncosted_cache_write_tokens bigint,
    too_large                   jsonb
)
LANGUAGE sql
STABLE
SET search_path FROM CURRENT
SET row_security TO off
SET enable_seqscan TO off
SET enable_nestloop TO off
SET enable_hashjoin TO on
SET enable_mergejoin TO off
SET enable_sort TO off
SET max_parallel_workers_per_gather TO 0
SET jit TO off
AS $$
    WITH usage AS (
        SELECT h.bucket_hour, u.*
        FROM pg_catalog.unnest(p_hours) AS h (bucket_hour)
        CROSS JOIN (SELECT NULL::bigint AS cost_usd_ticks) AS absent
        CROSS JOIN LATERAL (
            SELECT
                u.task_id, u.provider, u.model,
                u.input_tokens, u.output_tokens, u.cache_read_tokens, u.cache_write_tokens,
                cost_usd_ticks
            FROM task_usage u
            WHERE u.created_at >= h.bucket_hour
              AND u.created_at < h.bucket_hour + interval '1 hour'
            OFFSET 0
        ) u
        ORDER BY u.task_id
        OFFSET 0
    ),
    by_issue AS MATERIALIZED (
        SELECT
            u.bucket_hour, t.runtime_id, t.agent_id, t.issue_id, u.provider, u.model,
            pg_catalog.sum(u.input_tokens)       AS input_tokens,
            pg_catalog.sum(u.output_tokens)      AS output_tokens,
            pg_catalog.sum(u.cache_read_tokens)  AS cache_read_tokens,
            pg_catalog.sum(u.cache_write_tokens) AS cache_write_tokens,
            pg_catalog.count(*)                  AS event_count,
            pg_catalog.sum(u.cost_usd_ticks)     AS cost_usd_ticks,
            pg_catalog.sum(u.input_tokens)       FILTER (WHERE u.cost_usd_ticks IS NULL) AS uncosted_input_tokens,
            pg_catalog.sum(u.output_tokens)      FILTER (WHERE u.cost_usd_ticks IS NULL) AS uncosted_output_tokens,
            pg_catalog.sum(u.cache_read_tokens)  FILTER (WHERE u.cost_usd_ticks IS NULL) AS uncosted_cache_read_tokens,
            pg_catalog.sum(u.cache_write_tokens) FILTER (WHERE u.cost_usd_ticks IS NULL) AS uncosted_cache_write_tokens
        FROM usage u
        CROSS JOIN LATERAL (
            SELECT t.runtime_id, t.agent_id, t.issue_id
            FROM agent_task_queue t
            WHERE t.id = u.task_id
              AND t.runtime_id IS NOT NULL
            OFFSET 0
        ) t
        GROUP BY u.bucket_hour, t.runtime_id, t.agent_id, t.issue_id, u.provider, u.model
    ),
    owning_agents AS MATERIALIZED (
        SELECT a.id, a.workspace_id
        FROM (SELECT DISTINCT g.agent_id FROM by_issue g) d
        CROSS JOIN LATERAL (SELECT a.id, a.workspace_id FROM agent a WHERE a.id = d.agent_id OFFSET 0) a
    ),
    owning_issues AS MATERIALIZED (
        SELECT i.id, i.project_id
        FROM (SELECT DISTINCT g.issue_id FROM by_issue g) d
        CROSS JOIN LATERAL (SELECT i.id, i.project_id FROM issue i WHERE i.id = d.issue_id OFFSET 0) i
    ),
    totals AS (
        SELECT
            g.bucket_hour, a.workspace_id, g.runtime_id, g.agent_id, i.project_id, g.provider, g.model,
            pg_catalog.sum(g.input_tokens) AS input_tokens,
            pg_catalog.sum(g.output_tokens) AS output_tokens,
            pg_catalog.sum(g.cache_read_tokens) AS cache_read_tokens,
            pg_catalog.sum(g.cache_write_tokens) AS cache_write_tokens,
            pg_catalog.sum(g.event_count)::bigint AS event_count,
            coalesce(pg_catalog.sum(g.cost_usd_ticks), 0) AS cost_usd_ticks,
            coalesce(pg_catalog.sum(g.uncosted_input_tokens), 0) AS uncosted_input_tokens,
            coalesce(pg_catalog.sum(g.uncosted_output_tokens), 0) AS uncosted_output_tokens,
            coalesce(pg_catalog.sum(g.uncosted_cache_read_tokens), 0) AS uncosted_cache_read_tokens,
            coalesce(pg_catalog.sum(g.uncosted_cache_write_tokens), 0) AS uncosted_cache_write_tokens
        FROM by_issue g
        JOIN owning_agents a ON a.id = g.agent_id
        LEFT JOIN owning_issues i ON i.id = g.issue_id
        GROUP BY g.bucket_hour, a.workspace_id, g.runtime_id, g.agent_id, i.project_id, g.provider, g.model
    ),
    judged AS (
        SELECT
            s.*,
            greatest(s.input_tokens, s.output_tokens, s.cache_read_tokens, s.cache_write_tokens, s.cost_usd_ticks,
                     s.uncosted_input_tokens, s.uncosted_output_tokens,
                     s.uncosted_cache_read_tokens, s.uncosted_cache_write_tokens) <= 9223372036854775807::numeric
            AND least(s.input_tokens, s.output_tokens, s.cache_read_tokens, s.cache_write_tokens, s.cost_usd_ticks,
                      s.uncosted_input_tokens, s.uncosted_output_tokens,
                      s.uncosted_cache_read_tokens, s.uncosted_cache_write_tokens) >= (-9223372036854775808)::numeric AS fits
        FROM totals s
        OFFSET 0
    )
    SELECT
        j.bucket_hour,
        j.workspace_id,
        j.runtime_id,
        j.agent_id,
        j.project_id,
        j.provider,
        j.model,
        CASE WHEN j.fits THEN j.input_tokens::bigint END,
        CASE WHEN j.fits THEN j.output_tokens::bigint END,
        CASE WHEN j.fits THEN j.cache_read_tokens::bigint END,
        CASE WHEN j.fits THEN j.cache_write_tokens::bigint END,
        j.event_count,
        j.event_count,
        CASE WHEN j.fits THEN j.cost_usd_ticks::bigint END,
        CASE WHEN j.fits THEN j.uncosted_input_tokens::bigint END,
        CASE WHEN j.fits THEN j.uncosted_output_tokens::bigint END,
        CASE WHEN j.fits THEN j.uncosted_cache_read_tokens::bigint END,
        CASE WHEN j.fits THEN j.uncosted_cache_write_tokens::bigint END,
        CASE WHEN NOT j.fits THEN (
            SELECT pg_catalog.jsonb_object_agg(t.name, t.total)
            FROM (VALUES
                ('input_tokens', j.input_tokens),
                ('output_tokens', j.output_tokens),
                ('cache_read_tokens', j.cache_read_tokens),
                ('cache_write_tokens', j.cache_write_tokens),
                ('cost_usd_ticks', j.cost_usd_ticks),
                ('uncosted_input_tokens', j.uncosted_input_tokens),
                ('uncosted_output_tokens', j.uncosted_output_tokens),
                ('uncosted_cache_read_tokens', j.uncosted_cache_read_tokens),
                ('uncosted_cache_write_tokens', j.uncosted_cache_write_tokens)
            ) AS t (name, total)
            WHERE t.total > 9223372036854775807::numeric
               OR t.total < (-9223372036854775808)::numeric
        ) END
    FROM judged j
$$;

COMMENT ON FUNCTION task_usage_hourly_computed(timestamptz[]) IS
    'The buckets of these UTC hours, computed from the raw usage rows.';

-- 4. How far a watermark may go.
CREATE OR REPLACE FUNCTION task_usage_hourly_horizon()
RETURNS timestamptz
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_oldest timestamptz;
BEGIN
    -- A lock is held from before the first row is written until after the commit can be seen, so whoever is not
    -- listed here is either visible to the next statement, or has not written yet and is young enough.
    -- Locks and sessions are not read at the same instant. A session that is gone, or visibly in no transaction, has
    -- ended the one that held the lock, or began it after we began ours. What remains without a start is hidden: a
    -- prepared transaction has no session, the session of another role shows no state, and one that does not track its
    -- activities shows it as disabled.
    SELECT pg_catalog.min(coalesce(a.xact_start, '-infinity'))
    INTO v_oldest
    FROM pg_catalog.pg_locks l
    LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'relation'
      AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
      AND l.relation = 'task_usage'::regclass::oid
      AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
      AND l.granted
      AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
      AND NOT (l.pid IS NOT NULL AND a.pid IS NULL)
      AND NOT (a.xact_start IS NULL AND a.state IS NOT NULL AND a.state <> 'disabled');

    IF v_oldest = '-infinity' THEN
        RAISE WARNING 'the rollup cannot advance: a transaction whose start it cannot see is writing task_usage'
            USING HINT = pg_catalog.format(
                'If this persists, run GRANT pg_read_all_stats TO %I, and look at pg_prepared_xacts and track_activities.',
                current_user
            );
    END IF;

    RETURN least(pg_catalog.now() - interval '5 minutes', v_oldest);
END
$$;

COMMENT ON FUNCTION task_usage_hourly_horizon() IS
    'The moment before which no open transaction can still add usage unseen: at most now() - 5 minutes.';

-- 5. Some hours: the stored buckets become what the raw rows add up to. Buckets that are right already are not
--    touched, so a tick writes, and readers and replicas see, only what changed. An uncosted count that is NULL stands for
--    the bucket's own tokens, and is left where that is so. A bucket that does not fit is not there: a wrong number would be
--    worse than none.
--    The lines behind --cost are part of the statement where there are columns for cost.
CREATE OR REPLACE FUNCTION task_usage_hourly_rebuild(p_hours timestamptz[])
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
SET row_security TO off
SET enable_seqscan TO off
SET enable_nestloop TO off
SET enable_mergejoin TO off
SET max_parallel_workers_per_gather TO 0
SET jit TO off
AS $$
DECLARE
    -- A nil project stands for "no project", so that the comparisons can be hashed, however many buckets there are.
    c_rebuild CONSTANT text := $sql$
    WITH recomputed AS MATERIALIZED (
        SELECT r.* FROM task_usage_hourly_computed($1) r
    ),
    stored AS MATERIALIZED (
        SELECT s.*
        FROM pg_catalog.unnest($1) AS p (bucket_hour)
        CROSS JOIN LATERAL (
            SELECT h.ctid AS row_at, h.*
            FROM task_usage_hourly h
            -- A bucket between two hours cannot be right, and would be out of reach for ever.
            WHERE h.bucket_hour >= p.bucket_hour
              AND h.bucket_hour < p.bucket_hour + interval '1 hour'
            OFFSET 0
        ) s
    ),
    written AS (
        INSERT INTO task_usage_hourly (
            bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model,
            input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, task_count, event_count
            --cost , cost_usd_ticks, uncosted_input_tokens, uncosted_output_tokens
            --cost , uncosted_cache_read_tokens, uncosted_cache_write_tokens
        )
        SELECT
            r.bucket_hour, r.workspace_id, r.runtime_id, r.agent_id, r.project_id, r.provider, r.model,
            r.input_tokens, r.output_tokens, r.cache_read_tokens, r.cache_write_tokens, r.task_count, r.event_count
            --cost , r.cost_usd_ticks, r.uncosted_input_tokens, r.uncosted_output_tokens
            --cost , r.uncosted_cache_read_tokens, r.uncosted_cache_write_tokens
        FROM recomputed r
        WHERE r.too_large IS NULL
          AND NOT EXISTS (
            SELECT FROM stored s
            WHERE s.bucket_hour = r.bucket_hour
              AND s.workspace_id = r.workspace_id
              AND s.runtime_id = r.runtime_id
              AND s.agent_id = r.agent_id
              AND coalesce(s.project_id, '00000000-0000-0000-0000-000000000000')
                = coalesce(r.project_id, '00000000-0000-0000-0000-000000000000')
              AND s.provider = r.provider
              AND s.model = r.model
              AND s.input_tokens = r.input_tokens
              AND s.output_tokens = r.output_tokens
              AND s.cache_read_tokens = r.cache_read_tokens
              AND s.cache_write_tokens = r.cache_write_tokens
              AND s.task_count = r.task_count
              AND s.event_count = r.event_count
              --cost AND s.cost_usd_ticks = r.cost_usd_ticks
              --cost AND coalesce(s.uncosted_input_tokens, s.input_tokens) = r.uncosted_input_tokens
              --cost AND coalesce(s.uncosted_output_tokens, s.output_tokens) = r.uncosted_output_tokens
              --cost AND coalesce(s.uncosted_cache_read_tokens, s.cache_read_tokens) = r.uncosted_cache_read_tokens
              --cost AND coalesce(s.uncosted_cache_write_tokens, s.cache_write_tokens) = r.uncosted_cache_write_tokens
        )
        -- The order that most indexes have: large passes then touch each page once.
        ORDER BY r.workspace_id, r.agent_id, r.bucket_hour
        ON CONFLICT ON CONSTRAINT uq_task_usage_hourly_key DO UPDATE SET
            input_tokens       = excluded.input_tokens,
            output_tokens      = excluded.output_tokens,
            cache_read_tokens  = excluded.cache_read_tokens,
            cache_write_tokens = excluded.cache_write_tokens,
            task_count         = excluded.task_count,
            event_count        = excluded.event_count,
            --cost cost_usd_ticks              = excluded.cost_usd_ticks,
            --cost uncosted_input_tokens       = excluded.uncosted_input_tokens,
            --cost uncosted_output_tokens      = excluded.uncosted_output_tokens,
            --cost uncosted_cache_read_tokens  = excluded.uncosted_cache_read_tokens,
            --cost uncosted_cache_write_tokens = excluded.uncosted_cache_write_tokens,
            updated_at         = excluded.updated_at
        RETURNING 1
    ),
    deleted AS (
        DELETE FROM task_usage_hourly h
        WHERE h.ctid = ANY (ARRAY(
            SELECT s.row_at
            FROM stored s
            WHERE NOT EXISTS (
                SELECT FROM recomputed r
                WHERE r.too_large IS NULL
                  AND r.bucket_hour = s.bucket_hour
                  AND r.workspace_id = s.workspace_id
                  AND r.runtime_id = s.runtime_id
                  AND r.agent_id = s.agent_id
                  AND coalesce(r.project_id, '00000000-0000-0000-0000-000000000000')
                    = coalesce(s.project_id, '00000000-0000-0000-0000-000000000000')
                  AND r.provider = s.provider
                  AND r.model = s.model
            )
        ))
        RETURNING 1
    ),
    kept_out AS (
        INSERT INTO task_usage_hourly_too_large AS k (
            bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model, sums
        )
        SELECT
            r.bucket_hour, r.workspace_id, r.runtime_id, r.agent_id, r.project_id, r.provider, r.model, r.too_large
        FROM recomputed r
        WHERE r.too_large IS NOT NULL
        ORDER BY 1, 2, 3, 4, 5, 6, 7
        ON CONFLICT ON CONSTRAINT uq_task_usage_hourly_too_large_key DO UPDATE SET
            sums    = excluded.sums,
            seen_at = excluded.seen_at
        RETURNING 1
    ),
    let_in AS (
        DELETE FROM task_usage_hourly_too_large k
        WHERE k.bucket_hour = ANY ($1)
          AND NOT EXISTS (
              SELECT FROM recomputed r
              WHERE r.too_large IS NOT NULL
                AND r.bucket_hour = k.bucket_hour
                AND r.workspace_id = k.workspace_id
                AND r.runtime_id = k.runtime_id
                AND r.agent_id = k.agent_id
                AND coalesce(r.project_id, '00000000-0000-0000-0000-000000000000')
                  = coalesce(k.project_id, '00000000-0000-0000-0000-000000000000')
                AND r.provider = k.provider
                AND r.model = k.model
          )
    )
    SELECT
        (SELECT pg_catalog.count(*) FROM written) + (SELECT pg_catalog.count(*) FROM deleted),
        (SELECT pg_catalog.count(*) FROM kept_out)
    $sql$;
    c_named   CONSTANT bigint := 5;
    v_buckets bigint;
    v_kept    bigint;
    v_bucket  record;
BEGIN
    EXECUTE CASE WHEN task_usage_hourly_has_cost() THEN pg_catalog.replace(c_rebuild, '--cost', '') ELSE c_rebuild END
    INTO v_buckets, v_kept
    USING p_hours;

    IF v_kept > 0 THEN
        FOR v_bucket IN
            SELECT k.bucket_hour, k.workspace_id, k.provider, k.model, k.sums
            FROM task_usage_hourly_too_large k
            WHERE k.bucket_hour = ANY (p_hours)
            ORDER BY k.bucket_hour, k.workspace_id, k.provider, k.model
            LIMIT c_named
        LOOP
            RAISE WARNING 'a bucket is kept out of task_usage_hourly: the usage of workspace % in the hour %, % %, adds up to more than a bigint holds: %',
                v_bucket.workspace_id, v_bucket.bucket_hour, v_bucket.provider, v_bucket.model, v_bucket.sums
                USING HINT = 'Correct the rows of that hour in task_usage; the next tick then writes it. migrate rollup status names them.';
        END LOOP;
        IF v_kept > c_named THEN
            RAISE WARNING '% more buckets are kept out of task_usage_hourly: see task_usage_hourly_too_large', v_kept - c_named;
        END IF;
    END IF;

    RETURN v_buckets;
END
$$;

COMMENT ON FUNCTION task_usage_hourly_rebuild(timestamptz[]) IS
    'Makes the buckets of these UTC hours equal to the raw usage; returns buckets written and deleted.';

-- 6. Our own reports: those made before p_before are removed, and the hours that they stand for returned; so are those
--    that a clock has dated which was ahead, or nobody would act on them before that time comes. Whoever calls this holds
--    the lock of windows.
CREATE OR REPLACE FUNCTION task_usage_hourly_take_reports(p_before timestamptz)
RETURNS timestamptz[]
LANGUAGE sql
VOLATILE
SET search_path FROM CURRENT
SET row_security TO off
SET enable_seqscan TO off
SET max_parallel_workers_per_gather TO 0
SET jit TO off
AS $$
    WITH taken AS (
        DELETE FROM task_usage_hourly_invalidation d
        WHERE d.enqueued_at < p_before
           OR d.enqueued_at > pg_catalog.now()
        RETURNING d.bucket_hour, d.task_id, d.issue_id, d.agent_id
    ),
    tasks AS (
        SELECT d.task_id FROM taken d WHERE d.task_id IS NOT NULL
        UNION
        SELECT t.id
        FROM (SELECT DISTINCT d.issue_id FROM taken d WHERE d.issue_id IS NOT NULL) d
        JOIN agent_task_queue t ON t.issue_id = d.issue_id
        UNION
        SELECT t.id
        FROM (SELECT DISTINCT d.agent_id FROM taken d WHERE d.agent_id IS NOT NULL) d
        JOIN agent_task_queue t ON t.agent_id = d.agent_id
    ),
    changed AS (
        SELECT u.created_at
        FROM tasks d
        CROSS JOIN LATERAL (SELECT u.created_at FROM task_usage u WHERE u.task_id = d.task_id OFFSET 0) u
        UNION ALL
        SELECT d.bucket_hour FROM taken d WHERE d.bucket_hour IS NOT NULL
        UNION ALL
        -- After a TRUNCATE, every hour.
        SELECT h.bucket_hour FROM task_usage_hourly h
        WHERE EXISTS (SELECT FROM taken d WHERE d.bucket_hour = '-infinity')
        UNION ALL
        SELECT k.bucket_hour FROM task_usage_hourly_too_large k
        WHERE EXISTS (SELECT FROM taken d WHERE d.bucket_hour = '-infinity')
    )
    SELECT coalesce(pg_catalog.array_agg(DISTINCT task_usage_hour_bucket(c.created_at)), '{}')
    FROM changed c
    WHERE pg_catalog.isfinite(c.created_at)
$$;

COMMENT ON FUNCTION task_usage_hourly_take_reports(timestamptz) IS
    'Removes the reports made before p_before and returns the UTC hours whose buckets they say are out of date.';

--    The window. Reports are taken before the hours are read, so a report that is removed has been acted on, and one
--    that arrives meanwhile stays.
CREATE OR REPLACE FUNCTION rollup_task_usage_hourly_window(p_from timestamptz, p_to timestamptz)
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
SET row_security TO off
SET enable_seqscan TO off
SET max_parallel_workers_per_gather TO 0
SET jit TO off
AS $$
DECLARE
    v_hours timestamptz[];
BEGIN
    IF p_from IS NULL OR p_to IS NULL OR p_from >= p_to THEN
        RETURN 0;
    END IF;
    -- What is read must be as new as the lock below; an older snapshot would write back an older hour.
    IF pg_catalog.current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'rollup_task_usage_hourly_window must run at isolation level READ COMMITTED'
            USING ERRCODE = 'invalid_transaction_state',
                  HINT = 'Begin the transaction with BEGIN ISOLATION LEVEL READ COMMITTED.';
    END IF;

    -- One window at a time, until its transaction ends. Not key 4246: its holder may call from another session.
    PERFORM pg_catalog.pg_advisory_xact_lock(4246, 1);

    WITH drained_dirty AS (
        -- A key that somebody is just enqueuing again stays for the next call; waiting for it could deadlock.
        DELETE FROM task_usage_hourly_dirty d
        WHERE d.ctid = ANY (ARRAY(
            SELECT k.ctid FROM task_usage_hourly_dirty k
            WHERE k.enqueued_at < p_to
               OR k.enqueued_at > pg_catalog.now()
            FOR UPDATE SKIP LOCKED
        ))
        RETURNING d.bucket_hour
    ),
    changed AS (
        SELECT u.created_at FROM task_usage u WHERE u.updated_at >= p_from AND u.updated_at < p_to
        UNION ALL
        SELECT u.created_at FROM task_usage u
        WHERE u.updated_at IS NULL AND u.created_at >= p_from AND u.created_at < p_to
        UNION ALL
        SELECT d.bucket_hour FROM drained_dirty d
        UNION ALL
        SELECT r.bucket_hour FROM pg_catalog.unnest(task_usage_hourly_take_reports(p_to)) AS r (bucket_hour)
    )
    -- An infinite created_at has no hour, and the last ones that there are have no end; the backfill names such rows.
    SELECT pg_catalog.array_agg(DISTINCT task_usage_hour_bucket(c.created_at))
    INTO v_hours
    FROM changed c
    WHERE pg_catalog.isfinite(c.created_at)
      AND c.created_at < '294000-01-01 UTC';

    RETURN CASE WHEN v_hours IS NULL THEN 0 ELSE task_usage_hourly_rebuild(v_hours) END;
END
$$;

COMMENT ON FUNCTION rollup_task_usage_hourly_window(timestamptz, timestamptz) IS
    'Rebuilds every hour with usage changed in [p_from, p_to) or reported before p_to; returns buckets written and deleted.';

-- 7. Reports. The functions run with the rights of their owner: whoever may write usage need not know about the queue.
--
--    Single rows. The ordinary insert and upsert must not pay for this. A WHEN that says the same would be parsed and
--    planned anew for every statement, and SET search_path costs about as much, so this function decides by itself and
--    names everything in full, which is why the schema is filled in. A row that moves to another bucket is reported
--    although a window would find its hour: the bucket it has left shows no trace, and whoever compares must be able
--    to tell that it is waiting.
DO $do$
BEGIN
    EXECUTE pg_catalog.format($function$
        CREATE OR REPLACE FUNCTION task_usage_hourly_report_written()
        RETURNS trigger
        LANGUAGE plpgsql
        SECURITY DEFINER
        AS $$
        BEGIN
            IF NEW.updated_at OPERATOR(pg_catalog.=) pg_catalog.now()
               AND (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) interval '1 minute')
                   OPERATOR(pg_catalog.<) pg_catalog.now()
               AND (TG_OP OPERATOR(pg_catalog.=) 'INSERT'
                    OR (NEW.created_at OPERATOR(pg_catalog.=) OLD.created_at
                        AND NEW.task_id OPERATOR(pg_catalog.=) OLD.task_id
                        AND NEW.provider OPERATOR(pg_catalog.=) OLD.provider
                        AND NEW.model OPERATOR(pg_catalog.=) OLD.model))
            THEN
                -- After the clock was set back, the watermark can be ahead of this row. No later window would look for it.
                -- A version of the state row with somebody else's xmax is not the last one, or will not be: a tick is at
                -- work, or has been since this transaction's snapshot, and where its watermark is cannot be seen. The
                -- tick that wrote the version has left its own lock there, too.
                PERFORM FROM %1$I.task_usage_hourly_rollup_state s
                WHERE s.id OPERATOR(pg_catalog.=) 1
                  AND (s.watermark_at OPERATOR(pg_catalog.>) NEW.updated_at
                       OR (s.xmax OPERATOR(pg_catalog.<>) '0'::pg_catalog.xid
                           AND s.xmax OPERATOR(pg_catalog.<>) s.xmin));
                IF NOT FOUND THEN
                    RETURN NULL;
                END IF;
            END IF;

            -- An infinite time has no hour, and '-infinity' would mean all of them.
            IF pg_catalog.isfinite(NEW.created_at) THEN
                INSERT INTO %1$I.task_usage_hourly_invalidation (bucket_hour)
                VALUES (%1$I.task_usage_hour_bucket(NEW.created_at));
            END IF;
            IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE'
               AND pg_catalog.isfinite(OLD.created_at)
               AND %1$I.task_usage_hour_bucket(OLD.created_at)
                   OPERATOR(pg_catalog.<>) %1$I.task_usage_hour_bucket(NEW.created_at)
            THEN
                INSERT INTO %1$I.task_usage_hourly_invalidation (bucket_hour)
                VALUES (%1$I.task_usage_hour_bucket(OLD.created_at));
            END IF;
            RETURN NULL;
        END
        $$
    $function$, pg_catalog.current_schema());
END
$do$;

CREATE OR REPLACE TRIGGER trg_report_usage_insert
    AFTER INSERT ON task_usage
    FOR EACH ROW
    EXECUTE FUNCTION task_usage_hourly_report_written();

CREATE OR REPLACE TRIGGER trg_report_usage_update
    AFTER UPDATE ON task_usage
    FOR EACH ROW
    EXECUTE FUNCTION task_usage_hourly_report_written();

--    Rows that go. No look at the task is needed, which a cascade may have removed already: the row that goes knows its
--    hour. Which hours there are at a TRUNCATE is for the window to see, this snapshot may be too old.
CREATE OR REPLACE FUNCTION task_usage_hourly_report_removed()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
SET row_security TO off
AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO task_usage_hourly_invalidation (bucket_hour)
        SELECT DISTINCT task_usage_hour_bucket(r.created_at) FROM removed r WHERE pg_catalog.isfinite(r.created_at);
    ELSE
        INSERT INTO task_usage_hourly_invalidation (bucket_hour) VALUES ('-infinity');
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER trg_report_usage_delete
    AFTER DELETE ON task_usage
    REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT
    EXECUTE FUNCTION task_usage_hourly_report_removed();

CREATE OR REPLACE TRIGGER trg_report_usage_truncate
    AFTER TRUNCATE ON task_usage
    FOR EACH STATEMENT
    EXECUTE FUNCTION task_usage_hourly_report_removed();

--    Usage that now counts for somebody else, or for nobody. Deletes need no report where the foreign keys cascade: the
--    usage goes too, and reports itself. The issue and the agent report theirs all the same, for databases whose
--    tasks outlive them.
CREATE OR REPLACE FUNCTION task_usage_hourly_report_task()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
SET row_security TO off
AS $$
BEGIN
    INSERT INTO task_usage_hourly_invalidation (task_id) VALUES (OLD.id);
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER trg_report_task_move
    AFTER UPDATE ON agent_task_queue
    FOR EACH ROW
    WHEN (OLD.agent_id IS DISTINCT FROM NEW.agent_id
          OR OLD.runtime_id IS DISTINCT FROM NEW.runtime_id
          OR OLD.issue_id IS DISTINCT FROM NEW.issue_id)
    EXECUTE FUNCTION task_usage_hourly_report_task();

CREATE OR REPLACE FUNCTION task_usage_hourly_report_issue()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
SET row_security TO off
AS $$
BEGIN
    INSERT INTO task_usage_hourly_invalidation (issue_id) VALUES (OLD.id);
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER trg_report_issue_move
    AFTER UPDATE ON issue
    FOR EACH ROW
    WHEN (OLD.project_id IS DISTINCT FROM NEW.project_id)
    EXECUTE FUNCTION task_usage_hourly_report_issue();

CREATE OR REPLACE TRIGGER trg_report_issue_delete
    AFTER DELETE ON issue
    FOR EACH ROW
    EXECUTE FUNCTION task_usage_hourly_report_issue();

CREATE OR REPLACE FUNCTION task_usage_hourly_report_agent()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
SET row_security TO off
AS $$
BEGIN
    INSERT INTO task_usage_hourly_invalidation (agent_id) VALUES (OLD.id);
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER trg_report_agent_move
    AFTER UPDATE ON agent
    FOR EACH ROW
    WHEN (OLD.workspace_id IS DISTINCT FROM NEW.workspace_id)
    EXECUTE FUNCTION task_usage_hourly_report_agent();

CREATE OR REPLACE TRIGGER trg_report_agent_delete
    AFTER DELETE ON agent
    FOR EACH ROW
    EXECUTE FUNCTION task_usage_hourly_report_agent();

-- 8. The names that the platform knows. It puts these functions under triggers of its own making: BEFORE since its
--    version 243, for DELETE too. What they return decides whether the row goes through. The reports are made above.
DO $do$
DECLARE
    v_what text;
BEGIN
    FOREACH v_what IN ARRAY ARRAY['atq', 'issue_delete', 'issue_project', 'tu'] LOOP
        EXECUTE pg_catalog.format($function$
            CREATE OR REPLACE FUNCTION enqueue_task_usage_hourly_dirty_for_%s()
            RETURNS trigger
            LANGUAGE plpgsql
            AS $$
            BEGIN
                IF TG_OP OPERATOR(pg_catalog.=) 'DELETE' THEN
                    RETURN OLD;
                END IF;
                RETURN NEW;
            END
            $$
        $function$, v_what);
    END LOOP;
END
$do$;

CREATE OR REPLACE TRIGGER trg_atq_dirty_hourly
    BEFORE UPDATE OF runtime_id, issue_id OR DELETE ON agent_task_queue
    FOR EACH ROW
    WHEN (pg_catalog.current_setting('multica.workspace_teardown', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION enqueue_task_usage_hourly_dirty_for_atq();

CREATE OR REPLACE TRIGGER trg_issue_delete_dirty_hourly
    BEFORE DELETE ON issue
    FOR EACH ROW
    WHEN (pg_catalog.current_setting('multica.workspace_teardown', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION enqueue_task_usage_hourly_dirty_for_issue_delete();

CREATE OR REPLACE TRIGGER trg_issue_project_dirty_hourly
    BEFORE UPDATE OF project_id ON issue
    FOR EACH ROW
    EXECUTE FUNCTION enqueue_task_usage_hourly_dirty_for_issue_project();

CREATE OR REPLACE TRIGGER trg_tu_dirty_hourly
    BEFORE DELETE ON task_usage
    FOR EACH ROW
    WHEN (pg_catalog.current_setting('multica.workspace_teardown', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION enqueue_task_usage_hourly_dirty_for_tu();

--    What V102 made and nobody calls any more. Triggers only where they are there: DROP TRIGGER asks for the table in any case.
DO $do$
DECLARE
    v_trigger record;
BEGIN
    FOR v_trigger IN
        SELECT t.tgname, t.tgrelid::regclass AS table_name
        FROM pg_catalog.pg_trigger t
        WHERE t.tgrelid IN ('task_usage'::regclass::oid, 'agent'::regclass::oid)
          AND t.tgname IN ('trg_tu_insert_dirty_hourly', 'trg_tu_delete_dirty_hourly', 'trg_tu_truncate_dirty_hourly',
                           'trg_agent_workspace_dirty_hourly', 'trg_agent_delete_dirty_hourly')
    LOOP
        EXECUTE pg_catalog.format('DROP TRIGGER %I ON %s', v_trigger.tgname, v_trigger.table_name);
    END LOOP;
END
$do$;

DROP FUNCTION IF EXISTS
    task_usage_hourly_of(timestamptz[]),
    enqueue_task_usage_hourly_dirty_for_tu_removal(),
    enqueue_task_usage_hourly_dirty_for_agent();

--    Where another program has replaced the window, that one knows nothing of our reports. It drains task_usage_hourly_dirty,
--    and when it does, this takes our reports, puts every bucket that they make wrong into that queue, and has the
--    window drain it once more. So the reports are acted on by whoever rolls up, in its own way. The buckets are entered
--    as of 1970, which no other report is: what others have reported is left for the window that is meant for it.
--    Nothing of this may stop another program's rollup: what fails stays reported, for the next time or for us.
CREATE OR REPLACE FUNCTION task_usage_hourly_hand_over_reports()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
SET row_security TO off
SET lock_timeout TO '1s'
SET enable_seqscan TO off
SET max_parallel_workers_per_gather TO 0
SET jit TO off
AS $$
DECLARE
    c_enqueue CONSTANT text := $sql$
    WITH computed AS MATERIALIZED (
        SELECT r.* FROM task_usage_hourly_computed($1) r
    ),
    recomputed AS MATERIALIZED (
        SELECT
            r.bucket_hour, r.workspace_id, r.runtime_id, r.agent_id, r.project_id, r.provider, r.model,
            r.input_tokens, r.output_tokens, r.cache_read_tokens, r.cache_write_tokens, r.task_count, r.event_count
            --cost , r.cost_usd_ticks, r.uncosted_input_tokens, r.uncosted_output_tokens
            --cost , r.uncosted_cache_read_tokens, r.uncosted_cache_write_tokens
        FROM computed r
        WHERE r.too_large IS NULL
    ),
    stored AS MATERIALIZED (
        SELECT
            s.bucket_hour, s.workspace_id, s.runtime_id, s.agent_id, s.project_id, s.provider, s.model,
            s.input_tokens, s.output_tokens, s.cache_read_tokens, s.cache_write_tokens, s.task_count, s.event_count
            --cost , s.cost_usd_ticks, coalesce(s.uncosted_input_tokens, s.input_tokens)
            --cost , coalesce(s.uncosted_output_tokens, s.output_tokens)
            --cost , coalesce(s.uncosted_cache_read_tokens, s.cache_read_tokens)
            --cost , coalesce(s.uncosted_cache_write_tokens, s.cache_write_tokens)
        FROM pg_catalog.unnest($1) AS p (bucket_hour)
        CROSS JOIN LATERAL (
            SELECT h.*
            FROM task_usage_hourly h
            WHERE h.bucket_hour >= p.bucket_hour
              AND h.bucket_hour < p.bucket_hour + interval '1 hour'
            OFFSET 0
        ) s
    )
    INSERT INTO task_usage_hourly_dirty AS d (
        bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model, enqueued_at
    )
    SELECT DISTINCT
        w.bucket_hour, w.workspace_id, w.runtime_id, w.agent_id, w.project_id, w.provider, w.model,
        timestamptz 'epoch'
    FROM (
        (TABLE recomputed EXCEPT TABLE stored)
        UNION ALL
        (TABLE stored EXCEPT TABLE recomputed)
    ) w
    -- What does not fit would stop the other's window for everybody.
    WHERE NOT EXISTS (
        SELECT FROM computed c
        WHERE c.too_large IS NOT NULL
          AND c.bucket_hour = w.bucket_hour
          AND c.workspace_id = w.workspace_id
          AND c.runtime_id = w.runtime_id
          AND c.agent_id = w.agent_id
          AND coalesce(c.project_id, '00000000-0000-0000-0000-000000000000')
            = coalesce(w.project_id, '00000000-0000-0000-0000-000000000000')
          AND c.provider = w.provider
          AND c.model = w.model
    )
    ORDER BY 1, 2, 3, 4, 5, 6, 7
    ON CONFLICT ON CONSTRAINT uq_task_usage_hourly_dirty_key DO UPDATE SET
        enqueued_at = excluded.enqueued_at
    $sql$;
    v_hours timestamptz[];
BEGIN
    -- Our own window has taken the reports already. The one that is called below comes by here, too.
    IF pg_catalog.pg_trigger_depth() > 1
       OR EXISTS (
           SELECT FROM pg_catalog.pg_proc p
           WHERE p.oid = pg_catalog.to_regprocedure('rollup_task_usage_hourly_window(timestamptz, timestamptz)')::oid
             AND pg_catalog.strpos(p.prosrc, 'task_usage_hourly_take_reports') > 0
       )
       OR NOT EXISTS (SELECT FROM task_usage_hourly_invalidation)
       OR NOT pg_catalog.pg_try_advisory_xact_lock(4246, 1)
    THEN
        RETURN NULL;
    END IF;

    BEGIN
        v_hours := task_usage_hourly_take_reports(timestamptz 'infinity');
        EXECUTE CASE WHEN task_usage_hourly_has_cost() THEN pg_catalog.replace(c_enqueue, '--cost', '') ELSE c_enqueue END
        USING v_hours;
        PERFORM rollup_task_usage_hourly_window(
            timestamptz 'epoch', timestamptz 'epoch' + interval '1 microsecond'
        );
    EXCEPTION
        WHEN OTHERS THEN
            RAISE WARNING 'reports of changed usage could not be handed over to the rollup in force: %', SQLERRM
                USING HINT = 'They are kept. Run migrate up, which puts its own rollup into force again.';
    END;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER trg_hand_over_reports
    AFTER DELETE ON task_usage_hourly_dirty
    FOR EACH STATEMENT
    EXECUTE FUNCTION task_usage_hourly_hand_over_reports();

-- Nobody else may put these functions on a table of their own: what they do there, casts of its columns for example,
-- they would do with the rights of their owner. The triggers above need no right to call them.
REVOKE ALL ON FUNCTION
    task_usage_hourly_report_written(),
    task_usage_hourly_report_removed(),
    task_usage_hourly_report_task(),
    task_usage_hourly_report_issue(),
    task_usage_hourly_report_agent(),
    task_usage_hourly_hand_over_reports()
FROM PUBLIC;

-- 9. The tick, for a scheduler to call every few minutes. The lock is the transaction's: a cancelled tick cannot
--    keep it. A tick that fails leaves no trace of itself here; whoever called it records the error.
CREATE OR REPLACE FUNCTION rollup_task_usage_hourly()
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
SET row_security TO off
AS $$
DECLARE
    v_from    timestamptz;
    v_next    timestamptz;
    v_end     timestamptz;
    v_to      timestamptz;
    v_horizon timestamptz;
    v_ahead   boolean;
    v_rows    bigint := 0;
BEGIN
    IF NOT pg_catalog.pg_try_advisory_xact_lock(4246) THEN
        RETURN 0;
    END IF;

    SELECT s.watermark_at INTO v_from FROM task_usage_hourly_rollup_state s WHERE s.id = 1 FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'task_usage_hourly_rollup_state has no row'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'INSERT INTO task_usage_hourly_rollup_state (id) VALUES (1); then run it again.';
    END IF;

    -- A clock was set back: what has been written since is behind the watermark, and nobody knows how far. So nothing
    -- counts as rolled up; to do it again costs time alone.
    v_ahead := v_from > pg_catalog.now();
    IF v_ahead THEN
        RAISE WARNING 'the watermark of the hourly rollup was at %, which is ahead of the clock: all usage is rolled up again',
            v_from;
        v_from := 'epoch';
    END IF;

    -- Usage that a clock has dated which was ahead. Its time may be a year away; until then, every tick looks at it.
    SELECT pg_catalog.max(f.updated_at)
    INTO v_next
    FROM (
        SELECT u.updated_at FROM task_usage u
        WHERE u.updated_at > pg_catalog.now() + interval '1 minute'
        ORDER BY u.updated_at
        LIMIT 10000
    ) f;
    IF v_next IS NOT NULL THEN
        v_rows := v_rows + rollup_task_usage_hourly_window(
            pg_catalog.now(),
            CASE WHEN v_next < '294000-01-01 UTC' THEN v_next + interval '1 microsecond' ELSE timestamptz 'infinity' END
        );
    END IF;

    -- The watermark may not pass an open writer. What others have committed meanwhile is rolled up all the same, and
    -- again by the tick that does move the watermark.
    v_horizon := task_usage_hourly_horizon();
    v_end := pg_catalog.now() - interval '5 minutes';
    IF v_end > v_from THEN
        -- A day at a time, counted from where something happened.
        SELECT least(
            (SELECT pg_catalog.min(u.updated_at) FROM task_usage u WHERE u.updated_at >= v_from),
            (SELECT pg_catalog.min(u.created_at) FROM task_usage u WHERE u.updated_at IS NULL AND u.created_at >= v_from),
            v_end
        )
        INTO v_next;
        v_to := least(v_next + interval '1 day', v_end);
        v_rows := v_rows + rollup_task_usage_hourly_window(v_from, v_to);
        -- The clock may have been set back since this began.
        v_to := least(v_to, v_horizon, pg_catalog.clock_timestamp() - interval '5 minutes');
    END IF;

    UPDATE task_usage_hourly_rollup_state
    SET watermark_at         = greatest(CASE WHEN v_ahead THEN v_from ELSE watermark_at END, v_to),
        last_run_started_at  = pg_catalog.now(),
        last_run_finished_at = pg_catalog.clock_timestamp(),
        last_run_rows        = v_rows,
        last_error           = NULL
    WHERE id = 1;

    RETURN v_rows;
END
$$;

COMMENT ON FUNCTION rollup_task_usage_hourly() IS
    'One tick: rolls up to a day of usage, stays behind open writers, returns buckets written and deleted; 0 if another tick runs.';

-- 10. Old reports. They are acted on before they go, so nothing is lost where no tick has run for a while.
CREATE OR REPLACE FUNCTION prune_task_usage_hourly_dirty(p_retention interval DEFAULT '7 days')
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
SET row_security TO off
AS $$
DECLARE
    v_before timestamptz := pg_catalog.now() - p_retention;
    v_pruned bigint;
BEGIN
    PERFORM pg_catalog.pg_advisory_xact_lock(4246, 1);
    SELECT (SELECT pg_catalog.count(*) FROM task_usage_hourly_dirty d WHERE d.enqueued_at < v_before)
         + (SELECT pg_catalog.count(*) FROM task_usage_hourly_invalidation d WHERE d.enqueued_at < v_before)
    INTO v_pruned;
    IF v_pruned > 0 THEN
        PERFORM rollup_task_usage_hourly_window(v_before - interval '1 microsecond', v_before);
    END IF;
    RETURN v_pruned;
END
$$;

COMMENT ON FUNCTION prune_task_usage_hourly_dirty(interval) IS
    'Rolls up and removes queue entries older than p_retention; returns how many.';

-- 11. How far the rollup is behind the clock.
CREATE OR REPLACE FUNCTION task_usage_hourly_rollup_lag_seconds()
RETURNS double precision
LANGUAGE sql
STABLE
SET search_path FROM CURRENT
SET row_security TO off
AS $$
    SELECT extract(epoch FROM pg_catalog.now() - watermark_at)::double precision
    FROM task_usage_hourly_rollup_state
    WHERE id = 1
$$;

COMMENT ON FUNCTION task_usage_hourly_rollup_lag_seconds() IS
    'Seconds between the watermark of the hourly rollup and now; NULL when its state row is missing.';
