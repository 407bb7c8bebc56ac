-- migrate: no-transaction
--
-- Takes back the index. From then on ON CONFLICT (key_id, model, timestamp) finds nothing to refer to.

DROP INDEX CONCURRENTLY IF EXISTS usage_admin_bucket_idx;
