SELECT found.name, pg_catalog.count(*) OVER () AS total
FROM (
    SELECT c.oid::pg_catalog.regclass::text AS name, c.relkind IN ('r', 'p') AS is_table
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      AND NOT c.relispartition
      AND n.nspname NOT IN ('information_schema', 'migrate')
      AND pg_catalog.left(n.nspname::text, 3) <> 'pg_'
      AND NOT EXISTS (
          SELECT
          FROM pg_catalog.pg_depend d
          WHERE (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
                 -- Of an extension; or the sequence of a column, which its table stands for.
                 AND (d.deptype = 'e' OR c.relkind = 'S' AND d.deptype IN ('a', 'i')))
             OR (d.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.objid = n.oid AND d.deptype = 'e')
      )
) found
ORDER BY found.is_table DESC, found.name
LIMIT 3
