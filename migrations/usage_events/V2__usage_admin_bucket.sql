-- migrate: no-transaction
--
-- One row per key, model and time.
--
-- Why      The application writes with ON CONFLICT (key_id, model, timestamp), which needs this index.
-- After    usage_admin_bucket_idx is there and valid. Where rows collide already, the build fails and names the first key.
-- Cost     CONCURRENTLY: two scans of usage_events beside its writers, SHARE UPDATE EXCLUSIVE, and a wait for transactions
--          that were open when it began. From its second scan on, writers cannot add a row that collides.
-- Retry    An interrupted build leaves an invalid index, which the next run drops before it builds again.

CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS usage_admin_bucket_idx ON usage_events (key_id, model, timestamp);
