-- Code of others on the tables of the schema migrate: this program creates no triggers, rules or policies there, and its
-- defaults and indexes call only PostgreSQL's own functions. One row, with the statement that removes it, or none.
WITH history AS (
    SELECT c.oid, c.relname, c.relkind
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'migrate'
      AND {own_table}
      AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
),
found AS (
    SELECT pg_catalog.format('trigger %s on table %s', t.tgname, t.tgrelid::regclass) AS object,
           pg_catalog.format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass) AS remedy
    FROM history h
    JOIN pg_catalog.pg_trigger t ON t.tgrelid = h.oid AND NOT t.tgisinternal
    UNION ALL
    SELECT pg_catalog.format('rule %s on table %s', w.rulename, w.ev_class::regclass),
           pg_catalog.format('DROP RULE %I ON %s', w.rulename, w.ev_class::regclass)
    FROM history h
    JOIN pg_catalog.pg_rewrite w ON w.ev_class = h.oid
    WHERE h.relkind IN ('r', 'p')
    UNION ALL
    SELECT pg_catalog.format('policy %s on table %s', p.polname, p.polrelid::regclass),
           pg_catalog.format('DROP POLICY %I ON %s', p.polname, p.polrelid::regclass)
    FROM history h
    JOIN pg_catalog.pg_policy p ON p.polrelid = h.oid
    UNION ALL
    SELECT pg_catalog.format('a relation %s that is no table', h.oid::regclass), NULL
    FROM history h
    WHERE h.relkind NOT IN ('r', 'p')
    UNION ALL
    -- PostgreSQL's own functions are pinned, and have no rows here.
    SELECT pg_catalog.format('%s, which calls %s,', pg_catalog.pg_describe_object(d.classid, d.objid, 0),
                             pg_catalog.pg_describe_object(d.refclassid, d.refobjid, 0)), NULL
    FROM history h
    JOIN (
        SELECT a.adrelid AS relation, 'pg_catalog.pg_attrdef'::regclass::oid AS class, a.oid AS object FROM pg_catalog.pg_attrdef a
        UNION ALL
        SELECT i.indrelid, 'pg_catalog.pg_class'::regclass::oid, i.indexrelid FROM pg_catalog.pg_index i
        UNION ALL
        SELECT c.conrelid, 'pg_catalog.pg_constraint'::regclass::oid, c.oid FROM pg_catalog.pg_constraint c
    ) o ON o.relation = h.oid
    JOIN pg_catalog.pg_depend d ON d.classid = o.class AND d.objid = o.object
        AND d.refclassid = 'pg_catalog.pg_proc'::regclass::oid
)
SELECT f.object, f.remedy FROM found f ORDER BY 1 LIMIT 1
