-- Invalid indexes of the tables named in $1, or of any table if that is NULL, each with the statement that puts it right.
-- The index of a partitioned table is invalid until each partition has one, which is no fault.
SELECT pg_catalog.format('index %s on %s', c.relname, t.relname) AS object,
       t.relname::text AS "table",
       pg_catalog.format(
           CASE WHEN c.relname ~ '_cc(new|old)[0-9]*$'::text
                THEN 'DROP INDEX CONCURRENTLY %I.%I;' ELSE 'REINDEX INDEX CONCURRENTLY %I.%I;' END,
           n.nspname, c.relname) AS remedy
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
WHERE NOT i.indisvalid
  AND c.relkind = 'i'
  AND t.relpersistence <> 't'
  AND n.nspname !~ '^pg_'::text
  AND ($1::text[] IS NULL OR t.oid IN (
      SELECT pg_catalog.to_regclass(a.name)::oid FROM pg_catalog.unnest($1::text[]) AS a (name)))
  -- One that is being built right now is not valid yet. Whoever does that holds the table in this mode, which
  -- every role may see. So does an autovacuum, which has no user.
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_locks l
      JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid AND a.usesysid IS NOT NULL
      WHERE l.locktype = 'relation'
        AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
        AND l.relation = i.indrelid
        AND l.mode = 'ShareUpdateExclusiveLock'
        AND l.granted
  )
ORDER BY 1
