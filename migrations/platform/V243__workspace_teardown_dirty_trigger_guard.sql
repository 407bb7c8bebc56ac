-- Triggers that keep still while a workspace is torn down.
--
-- Why      Whoever deletes a workspace deletes its buckets, too, and says so with multica.workspace_teardown. A trigger per
--          row would only cost time then.
-- After    The three triggers that the platform knows by name are BEFORE triggers with a guard. What they call lets every row
--          through (R__usage_pipeline.sql, 8). The reports that the rollup is exact by are made by other triggers, AFTER
--          the write, whether a workspace is torn down or not: an hour that was reported needlessly is found to be
--          right and left alone.
-- Cost     ACCESS EXCLUSIVE on task_usage, agent_task_queue and issue for catalog changes. No row is read.
-- Retry    One transaction.

DROP TRIGGER IF EXISTS trg_atq_dirty_hourly ON agent_task_queue;
DROP TRIGGER IF EXISTS trg_issue_delete_dirty_hourly ON issue;
DROP TRIGGER IF EXISTS trg_tu_dirty_hourly ON task_usage;

CREATE TRIGGER trg_atq_dirty_hourly
    BEFORE UPDATE OF runtime_id, issue_id OR DELETE ON agent_task_queue
    FOR EACH ROW
    WHEN (current_setting('multica.workspace_teardown', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION enqueue_task_usage_hourly_dirty_for_atq();

CREATE TRIGGER trg_issue_delete_dirty_hourly
    BEFORE DELETE ON issue
    FOR EACH ROW
    WHEN (current_setting('multica.workspace_teardown', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION enqueue_task_usage_hourly_dirty_for_issue_delete();

CREATE TRIGGER trg_tu_dirty_hourly
    BEFORE DELETE ON task_usage
    FOR EACH ROW
    WHEN (current_setting('multica.workspace_teardown', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION enqueue_task_usage_hourly_dirty_for_tu();
