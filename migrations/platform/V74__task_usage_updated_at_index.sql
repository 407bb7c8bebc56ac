-- migrate: no-transaction
--
-- Usage by the time of its last change.
--
-- Why      A rollup window, the guard and the lag ask for usage changed in a range, or changed last.
-- After    idx_task_usage_updated_at is there and valid.
-- Cost     CONCURRENTLY: two scans of task_usage beside its writers, SHARE UPDATE EXCLUSIVE, and a wait for
--          transactions that were open when it began.
-- Retry    An interrupted build leaves an invalid index, which the next run drops before it builds again.

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_task_usage_updated_at ON task_usage (updated_at);
