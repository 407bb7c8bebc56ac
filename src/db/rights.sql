-- What the role of this session may do in the schema of new objects, and in the schema of this program's own tables.
SELECT
    coalesce(pg_catalog.has_schema_privilege(pg_catalog.current_schema(), 'CREATE'), false) AS may_create_objects,
    CASE
        WHEN pg_catalog.min(n.oid) IS NULL
            THEN pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')
        ELSE pg_catalog.bool_and(
            pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_schema_privilege(n.oid, 'CREATE'))
    END
    AND coalesce(pg_catalog.bool_and(
        pg_catalog.has_table_privilege(c.oid, 'SELECT') AND pg_catalog.has_table_privilege(c.oid, 'INSERT')
        AND pg_catalog.has_table_privilege(c.oid, 'UPDATE') AND pg_catalog.has_table_privilege(c.oid, 'DELETE')), true)
        AS may_write_history,
    coalesce(pg_catalog.bool_and(pg_catalog.has_schema_privilege(n.oid, 'USAGE')), true)
    AND coalesce(pg_catalog.bool_and(pg_catalog.has_table_privilege(c.oid, 'SELECT')), true) AS may_read_history,
    pg_catalog.min(pg_catalog.pg_get_userbyid(n.nspowner)::text) AS schema_owner,
    (SELECT pg_catalog.min(f.relname)::text
     FROM pg_catalog.pg_class f
     WHERE f.relkind IN ('r', 'p', 'v') AND pg_catalog.count(c.oid) = 0 AND f.relnamespace = pg_catalog.min(n.oid)) AS foreign_table
FROM (SELECT) one
LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = 'migrate'
LEFT JOIN pg_catalog.pg_class c ON c.relkind = 'r' AND c.relnamespace = n.oid AND {own_table}
