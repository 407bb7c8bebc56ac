-- migrate: no-transaction
--
-- Usage from before updated_at existed, by the time it was recorded.
--
-- Why      Those rows have updated_at NULL and count with created_at; a window must find them without a scan.
-- After    idx_task_usage_created_at_legacy is there and valid. It only shrinks.
-- Cost     CONCURRENTLY: two scans of task_usage beside its writers, SHARE UPDATE EXCLUSIVE, and a wait for
--          transactions that were open when it began.
-- Retry    An interrupted build leaves an invalid index, which the next run drops before it builds again.

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_task_usage_created_at_legacy ON task_usage (created_at)
    WHERE updated_at IS NULL;
