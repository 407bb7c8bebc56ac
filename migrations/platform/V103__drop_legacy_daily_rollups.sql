-- migrate: formerly 8659763149399722616
--
-- The daily tables go away, once the hourly one has taken over.
--
-- Why      From here on every page reads task_usage_hourly. Dropping the daily tables before the hours are filled
--          would show zeros without any error, so this refuses to run too early.
-- After    Neither daily pipeline exists: tables, queues, state, functions, triggers, scheduled jobs. Forward-only:
--          the way back is a restored backup.
-- Cost     ACCESS EXCLUSIVE on task_usage, agent_task_queue and issue for catalog changes. The guard asks two
--          indexes for their last entry.
-- Retry    One transaction. A refusal has changed nothing.

-- 1. The guard. It fails closed: what it cannot establish counts as not rolled up. An event dated in the future
--    counts as now, or one wrong clock would block the upgrade for good. A watermark ahead of the clock says nothing.
--    (The earlier form believed it; what it left behind where it passed is the same.)
DO $$
DECLARE
    v_watermark timestamptz;
    v_latest    timestamptz;
BEGIN
    IF NOT EXISTS (SELECT FROM task_usage) THEN
        RETURN;
    END IF;

    SELECT least(now(), greatest(
        (SELECT max(u.updated_at) FROM task_usage u),
        (SELECT max(u.created_at) FROM task_usage u WHERE u.updated_at IS NULL)
    ))
    INTO v_latest;
    SELECT s.watermark_at INTO v_watermark FROM task_usage_hourly_rollup_state s WHERE s.id = 1;

    IF v_watermark IS NULL THEN
        RAISE EXCEPTION 'refusing to drop legacy daily rollups: task_usage_hourly_rollup_state has no row'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = format('The latest usage is from %s; nothing says how much of it the hourly rollup contains.',
                                  v_latest),
                  HINT = 'INSERT INTO task_usage_hourly_rollup_state (id) VALUES (1); then run: migrate up';
    END IF;
    IF v_watermark > now() THEN
        RAISE EXCEPTION 'refusing to drop legacy daily rollups: the watermark of the hourly rollup is ahead of the clock'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = format('The watermark is at %s, the clock at %s: nobody knows how much usage is rolled up.',
                                  v_watermark, now()),
                  HINT = 'Roll all usage up: run migrate up, which does it in the hook hourly-backfill.';
    END IF;
    IF v_watermark < v_latest - interval '1 hour' THEN
        RAISE EXCEPTION 'refusing to drop legacy daily rollups: the hourly rollup has not caught up with task_usage'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = format('The watermark is at %s, the latest usage at %s: it lags by %s, and may lag by 1 hour.',
                                  v_watermark, v_latest, date_trunc('second', v_latest - greatest(v_watermark, '0001-01-01 UTC'))),
                  HINT = 'Roll the missing usage up first: run migrate up, which does it in the hook hourly-backfill.';
    END IF;
END
$$;

-- 2. Scheduled jobs first, or they would fail every few minutes from now on. pg_cron shows everybody their own jobs, so
--    both the connected role and the one that owns the tables look. Where neither may do that, failing jobs are the
--    lesser evil.
DO $$
DECLARE
    v_role   text := current_setting('role');
    v_as     text;
    v_job    bigint;
    v_found  boolean := false;
    v_error  text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') THEN
        RETURN;
    END IF;
    FOREACH v_as IN ARRAY ARRAY['none', v_role] LOOP
        BEGIN
            PERFORM set_config('role', v_as, true);
            FOR v_job IN
                SELECT j.jobid
                FROM cron.job j
                WHERE j.jobname IN ('rollup_task_usage_daily', 'rollup_task_usage_dashboard_daily')
                  AND j.database = current_database()
            LOOP
                PERFORM cron.unschedule(v_job);
                v_found := true;
            END LOOP;
        EXCEPTION
            WHEN insufficient_privilege THEN
                v_error := SQLERRM;
        END;
    END LOOP;
    PERFORM set_config('role', v_role, true);
    IF NOT v_found AND NOT (SELECT r.rolsuper OR r.rolbypassrls FROM pg_roles r WHERE r.rolname = session_user) THEN
        RAISE WARNING 'if jobs of the daily rollups are scheduled by another role, they go on and fail: %',
                coalesce(v_error, 'this one cannot see them')
            USING HINT = 'As a superuser: SELECT cron.unschedule(jobid) FROM cron.job WHERE jobname IN '
                         '(''rollup_task_usage_daily'', ''rollup_task_usage_dashboard_daily'');';
    END IF;
END
$$;

-- 3. Triggers. An older program's pipelines lack some of what follows, which is nothing to bother anybody with.
SET LOCAL client_min_messages TO warning;

DROP TRIGGER IF EXISTS trg_tu_dirty_rollup ON task_usage;
DROP TRIGGER IF EXISTS trg_tu_delete_dirty_rollup ON task_usage;
DROP TRIGGER IF EXISTS trg_atq_dirty_rollup ON agent_task_queue;
DROP TRIGGER IF EXISTS trg_tu_dirty_dashboard ON task_usage;
DROP TRIGGER IF EXISTS trg_tu_delete_dirty_dashboard ON task_usage;
DROP TRIGGER IF EXISTS trg_atq_dirty_dashboard ON agent_task_queue;
DROP TRIGGER IF EXISTS trg_issue_delete_dirty_dashboard ON issue;
DROP TRIGGER IF EXISTS trg_issue_project_dirty_dashboard ON issue;

-- 4. Functions.
DROP FUNCTION IF EXISTS
    rollup_task_usage_daily(),
    rollup_task_usage_daily_window(timestamptz, timestamptz),
    task_usage_rollup_lag_seconds(),
    task_usage_daily_rebuild(date),
    task_usage_daily_of(date),
    task_usage_daily_dates(timestamptz),
    enqueue_task_usage_daily_dirty_for_tu(),
    enqueue_task_usage_daily_dirty_for_atq(),
    rollup_task_usage_dashboard_daily(),
    rollup_task_usage_dashboard_daily_window(timestamptz, timestamptz),
    task_usage_dashboard_rollup_lag_seconds(),
    task_usage_dashboard_daily_rebuild(date),
    task_usage_dashboard_daily_of(date),
    enqueue_task_usage_dashboard_dirty_for_tu(),
    enqueue_task_usage_dashboard_dirty_for_atq(),
    enqueue_task_usage_dashboard_dirty_for_issue_delete(),
    enqueue_task_usage_dashboard_dirty_for_issue_project();

-- 5. Tables.
DROP TABLE IF EXISTS
    task_usage_daily,
    task_usage_daily_dirty,
    task_usage_rollup_state,
    task_usage_dashboard_daily,
    task_usage_dashboard_dirty,
    task_usage_dashboard_rollup_state;
