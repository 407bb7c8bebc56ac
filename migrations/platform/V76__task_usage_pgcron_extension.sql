-- pg_cron where the server offers it, and the lag of the daily rollup.
--
-- Why      Something has to call rollup_task_usage_daily() every few minutes; pg_cron can, where it is installed.
-- After    The extension exists if this server has it and this role may create it; otherwise a notice says why
--          not, and the migration succeeds all the same. Nothing is scheduled: that is the operator's decision.
-- Cost     Catalog changes only.
-- Retry    One transaction; the extension is created inside a savepoint, so its failure costs nothing.

-- 1. The extension needs its library preloaded, its own database, and usually a superuser: so it is created as the role
--    that is connected, whoever owns the tables.
DO $$
DECLARE
    v_role text := current_setting('role');
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') THEN
        RETURN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_cron') THEN
        RAISE NOTICE 'pg_cron is not installed on this server; the rollup needs another scheduler';
        RETURN;
    END IF;
    PERFORM set_config('role', 'none', true);
    CREATE EXTENSION pg_cron;
    PERFORM set_config('role', v_role, true);
EXCEPTION
    WHEN OTHERS THEN
        RAISE NOTICE 'pg_cron could not be created (%); the rollup needs another scheduler', SQLERRM;
END
$$;

-- 2. Everything goes where task_usage is, and the functions stay there, whatever search path their callers have.
SELECT set_config('search_path', c.relnamespace::regnamespace || ', pg_temp', true)
FROM pg_class c
WHERE c.oid = 'task_usage'::regclass;

-- 3. How far the daily rollup is behind the clock.
CREATE OR REPLACE FUNCTION task_usage_rollup_lag_seconds()
RETURNS double precision
LANGUAGE sql
STABLE
SET search_path FROM CURRENT
AS $$
    SELECT extract(epoch FROM now() - watermark_at)::double precision
    FROM task_usage_rollup_state
    WHERE id = 1
$$;

COMMENT ON FUNCTION task_usage_rollup_lag_seconds() IS
    'Seconds between the watermark of the daily rollup and now; NULL when its state row is missing.';
