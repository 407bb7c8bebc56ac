-- Every table, view, sequence and index that is not the server's, a session's or this program's, with the file that holds
-- it and what the server has counted of it; and what the whole server has written.
SELECT c.oid AS id, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name,
       c.relkind IN ('i', 'I') AS is_index,
       c.relkind IN ('r', 'p', 'm') AS is_table,
       x.indrelid AS "table",
       coalesce(pg_catalog.pg_relation_filenode(c.oid), 0::oid) AS file,
       coalesce(pg_catalog.pg_stat_get_numscans(c.oid), 0) AS scans,
       coalesce(pg_catalog.pg_stat_get_tuples_returned(c.oid), 0) AS read,
       coalesce(pg_catalog.pg_stat_get_tuples_inserted(c.oid), 0) AS inserted,
       coalesce(pg_catalog.pg_stat_get_tuples_updated(c.oid), 0) AS updated,
       coalesce(pg_catalog.pg_stat_get_tuples_deleted(c.oid), 0) AS deleted
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_index x ON x.indexrelid = c.oid
WHERE c.relkind IN ('r', 'p', 'm', 'v', 'S', 'i', 'I') AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'migrate')
