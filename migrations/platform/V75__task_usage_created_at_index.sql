-- migrate: no-transaction
--
-- Usage by the time it was recorded.
--
-- Why      A bucket is the usage recorded in one hour or day; rebuilding it reads just that range.
-- After    idx_task_usage_created_at is there and valid.
-- Cost     CONCURRENTLY: two scans of task_usage beside its writers, SHARE UPDATE EXCLUSIVE, and a wait for
--          transactions that were open when it began.
-- Retry    An interrupted build leaves an invalid index, which the next run drops before it builds again.

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_task_usage_created_at ON task_usage (created_at);
