-- The watermark, its distance from the clock in seconds, and the snapshot in which that is so.
SELECT
    watermark_at::text AS watermark,
    CASE WHEN pg_catalog.isfinite(watermark_at) THEN extract(epoch FROM pg_catalog.now() - watermark_at)::float8
         WHEN watermark_at < pg_catalog.now() THEN 1e12 ELSE -1e12 END AS lag,
    pg_catalog.pg_current_snapshot()::text AS snapshot
FROM task_usage_hourly_rollup_state
WHERE id = 1
