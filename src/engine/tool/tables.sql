-- Tables that look like the history of a migration tool, with their columns: those of the names that the tools give them ($1),
-- and that of $2, if it is not NULL. The search path's own come first.
SELECT
    n.nspname::text AS schema,
    c.relname::text AS table,
    pg_catalog.format('%I.%I', n.nspname, c.relname) AS qualified,
    pg_catalog.pg_table_is_visible(c.oid) AS visible,
    ARRAY(
        SELECT a.attname::text || ' ' || pg_catalog.format_type(a.atttypid, NULL)
        FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attname
    ) AS columns,
    EXISTS (
        SELECT FROM pg_catalog.pg_class m
        WHERE m.relname = 'ar_internal_metadata' AND m.relnamespace = c.relnamespace AND m.relkind = 'r'
    ) AS has_metadata
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p')
  AND (c.relname = ANY ($1::text[]) OR c.oid = pg_catalog.to_regclass($2::text)::oid)
  AND n.nspname <> 'migrate'
ORDER BY visible DESC, schema, "table"
