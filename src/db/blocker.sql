-- The session that blocks session $1 (of several, the one with the oldest transaction), and the kind of lock. A prepared
-- transaction holds its locks without a session.
SELECT b.pid,
       CASE WHEN b.pid = 0 THEN 'a prepared transaction, see pg_prepared_xacts' ELSE a.application_name END AS application,
       pg_catalog.host(a.client_addr) AS client,
       coalesce(a.xact_start, a.backend_start) AS since,
       (SELECT l.locktype FROM pg_catalog.pg_locks l WHERE l.pid = $1 AND NOT l.granted LIMIT 1) AS locktype
FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)) b (pid)
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = b.pid
ORDER BY coalesce(a.xact_start, a.backend_start)
LIMIT 1
