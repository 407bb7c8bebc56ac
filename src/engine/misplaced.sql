-- The histories of sets but for these ($1) that this role may read: each table, and the name of its set, which has no '_'.
SELECT pg_catalog.format('migrate.%s', c.relname) AS "table",
       pg_catalog.replace(pg_catalog.regexp_replace(c.relname, '^(file_)?history_', ''), '_', '-') AS "set"
FROM pg_catalog.pg_class c
WHERE c.relnamespace = pg_catalog.to_regnamespace('migrate')::oid
  AND c.relkind = 'r'
  AND c.relname ~ '^(file_)?history_[a-z0-9_]+$'::text
  AND pg_catalog.format('migrate.%s', c.relname) <> ALL ($1::text[])
  AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
ORDER BY c.relname
