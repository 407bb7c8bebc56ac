-- The session of the oldest transaction that is writing usage, if there is one.
SELECT l.pid
FROM pg_catalog.pg_locks l
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.relation = 'task_usage'::regclass::oid
  AND l.mode = 'RowExclusiveLock'
  AND l.pid <> pg_catalog.pg_backend_pid()
ORDER BY a.xact_start NULLS FIRST
LIMIT 1
