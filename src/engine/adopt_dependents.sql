-- Views, and tables with a foreign key, that depend on a table or column that is to go, and are not to go themselves: the
-- line of $1 (tables) and $2 (columns, empty for the whole table), and what depends on it.
WITH removed AS (
    SELECT r.n, to_regclass(quote_ident(r.table_name)) AS relation, r.column_name
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS r (table_name, column_name, n)
),
going AS (
    SELECT r.relation FROM removed r WHERE r.column_name = ''
)
SELECT DISTINCT
    r.n,
    CASE v.relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END || v.oid::regclass
FROM removed r
JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = r.relation
JOIN pg_catalog.pg_rewrite w ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND w.oid = d.objid
JOIN pg_catalog.pg_class v ON v.oid = w.ev_class
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = r.relation AND a.attname = r.column_name
WHERE v.oid <> r.relation
  AND (r.column_name = '' OR d.refobjsubid = a.attnum)
UNION
SELECT r.n, format('constraint %I on table %s', c.conname, c.conrelid::regclass)
FROM removed r
JOIN pg_catalog.pg_constraint c ON c.contype = 'f' AND c.confrelid = r.relation
WHERE r.column_name = ''
  AND c.conrelid <> ALL (SELECT g.relation FROM going g WHERE g.relation IS NOT NULL)
ORDER BY 1, 2
