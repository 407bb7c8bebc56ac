-- The state of the hourly rollup. {queue} is the queue that our triggers fill, or the older one where triggers of an older
-- program are in force. A time outside the years 1 to 9998 is NULL.
WITH queued AS (
    SELECT enqueued_at FROM task_usage_hourly_dirty
    UNION ALL
    SELECT enqueued_at FROM {queue}
    WHERE '{queue}' <> 'task_usage_hourly_dirty'
),
oldest_writer AS (
    SELECT coalesce(l.pid, 0) AS pid, a.application_name, pg_catalog.host(a.client_addr) AS client, a.xact_start
    FROM pg_catalog.pg_locks l
    LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'relation'
      AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
      AND l.relation = pg_catalog.to_regclass('task_usage')::oid
      AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
      AND l.granted
      AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
      AND (a.xact_start < pg_catalog.now() - interval '5 minutes'
           OR l.pid IS NULL
           OR (a.xact_start IS NULL AND (a.state IS NULL OR a.state = 'disabled') AND a.pid IS NOT NULL))
    ORDER BY a.xact_start NULLS FIRST
    LIMIT 1
)
SELECT
    s.watermark_at::text AS watermark,
    CASE WHEN pg_catalog.isfinite(s.watermark_at) THEN extract(epoch FROM pg_catalog.clock_timestamp() - s.watermark_at)::float8
         WHEN s.watermark_at < pg_catalog.now() THEN 1e12 ELSE -1e12 END AS lag,
    (SELECT pg_catalog.count(*) FROM queued) AS queued,
    (SELECT CASE WHEN q.oldest >= '0001-01-01 UTC' AND q.oldest < '9999-01-01 UTC' THEN q.oldest END FROM (SELECT pg_catalog.min(enqueued_at) FROM queued) q (oldest)) AS queued_since,
    CASE WHEN s.last_run_started_at >= '0001-01-01 UTC' AND s.last_run_started_at < '9999-01-01 UTC' THEN s.last_run_started_at END AS last_run_started_at,
    CASE WHEN s.last_run_finished_at >= '0001-01-01 UTC' AND s.last_run_finished_at < '9999-01-01 UTC' THEN s.last_run_finished_at END AS last_run_finished_at,
    s.last_run_rows,
    nullif(s.last_error, '') AS last_error,
    w.pid,
    w.application_name,
    w.client,
    w.xact_start
FROM task_usage_hourly_rollup_state s
LEFT JOIN oldest_writer w ON true
WHERE s.id = 1
