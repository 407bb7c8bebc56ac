-- The tick holds its lock for its transaction, not for its session.
--
-- Why      A session lock survives a tick that is cancelled: no tick runs again, and whoever deletes a workspace waits for ever.
-- After    What this version stands for holds: the tick in force takes lock 4246 for its transaction and moves the watermark
--          by at most a day. R__usage_pipeline.sql, which is applied before this, has brought that tick; so there is nothing
--          left to change, and this only makes sure.
-- Cost     One look at the catalog.
-- Retry    One transaction.

DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_proc p
        WHERE p.oid = 'rollup_task_usage_hourly()'::regprocedure
          AND strpos(p.prosrc, 'pg_try_advisory_xact_lock(4246)') = 0
    ) THEN
        RAISE EXCEPTION 'the tick in force does not take lock 4246 for its transaction'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Run migrate up, which applies R__usage_pipeline.sql before this version.';
    END IF;
END
$$;
