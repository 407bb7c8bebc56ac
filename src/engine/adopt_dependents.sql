-- What depends on an object that is to go, is not to go itself, and so would keep it from going: the line of $1 to $3 (kind,
-- table, name, as in adopt_check.sql), the dependent, and the statement that resolves it, where there is one.
WITH RECURSIVE removed (n, class, object, part) AS (
    SELECT r.n, a.class, a.object, a.part
    FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[])) WITH ORDINALITY AS r (kind, table_name, name, n)
    CROSS JOIN LATERAL (SELECT pg_catalog.to_regclass(pg_catalog.quote_ident(r.table_name))::oid AS relation) t
    CROSS JOIN LATERAL (
        SELECT 'pg_catalog.pg_class'::regclass::oid, t.relation, 0
        WHERE r.kind = 'table' AND t.relation IS NOT NULL
        UNION ALL
        SELECT 'pg_catalog.pg_class'::regclass::oid, a.attrelid, a.attnum::int
        FROM pg_catalog.pg_attribute a
        WHERE r.kind = 'column' AND a.attrelid = t.relation AND a.attname = r.name AND NOT a.attisdropped
        UNION ALL
        SELECT 'pg_catalog.pg_trigger'::regclass::oid, g.oid, 0
        FROM pg_catalog.pg_trigger g
        WHERE r.kind = 'trigger' AND g.tgrelid = t.relation AND g.tgname = r.name
        UNION ALL
        SELECT 'pg_catalog.pg_proc'::regclass::oid, pg_catalog.to_regprocedure(r.name)::oid, 0
        WHERE r.kind = 'function' AND pg_catalog.to_regprocedure(r.name) IS NOT NULL
    ) a (class, object, part)
),
-- With it go its row type, indexes, defaults, own constraints and triggers, partitions.
going (n, class, object, part) AS (
    SELECT * FROM removed
    UNION
    SELECT g.n, d.classid, d.objid, d.objsubid
    FROM going g
    JOIN pg_catalog.pg_depend d
        ON d.refclassid = g.class AND d.refobjid = g.object AND (g.part = 0 OR d.refobjsubid = g.part)
    WHERE d.deptype IN ('a', 'i', 'P', 'S')
),
dependents AS (
    -- A view depends through the rule that makes it.
    SELECT DISTINCT
        g.n,
        CASE WHEN w.oid IS NULL THEN d.classid ELSE 'pg_catalog.pg_class'::regclass::oid END AS class,
        coalesce(w.ev_class, d.objid) AS object,
        CASE WHEN w.oid IS NULL THEN d.objsubid ELSE 0 END AS part,
        CASE WHEN g.class = 'pg_catalog.pg_class'::regclass::oid THEN g.object END AS relation
    FROM going g
    JOIN pg_catalog.pg_depend d
        ON d.refclassid = g.class AND d.refobjid = g.object AND (g.part = 0 OR d.refobjsubid = g.part)
    LEFT JOIN pg_catalog.pg_rewrite w
        ON d.classid = 'pg_catalog.pg_rewrite'::regclass::oid AND w.oid = d.objid AND w.rulename = '_RETURN'
    WHERE d.deptype = 'n'
      AND NOT EXISTS (
          SELECT FROM going o
          WHERE (o.class = d.classid AND o.object = d.objid AND o.part IN (0, d.objsubid))
             OR (w.oid IS NOT NULL AND o.class = 'pg_catalog.pg_class'::regclass::oid AND o.object = w.ev_class AND o.part = 0)
      )
)
SELECT DISTINCT ON (d.n, dependent)
    d.n,
    pg_catalog.pg_describe_object(d.class, d.object, d.part) AS dependent,
    CASE d.class
        WHEN 'pg_catalog.pg_class'::regclass::oid THEN (
            SELECT CASE
                WHEN d.part > 0 THEN pg_catalog.format('ALTER TABLE %s DROP COLUMN %I', c.oid::regclass, a.attname)
                WHEN c.relkind = 'v' THEN pg_catalog.format('DROP VIEW %s', c.oid::regclass)
                WHEN c.relkind = 'm' THEN pg_catalog.format('DROP MATERIALIZED VIEW %s', c.oid::regclass)
                WHEN EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid AND i.inhparent = d.relation)
                    THEN pg_catalog.format('ALTER TABLE %s NO INHERIT %s', c.oid::regclass, d.relation::regclass)
            END
            FROM pg_catalog.pg_class c
            LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.part
            WHERE c.oid = d.object
        )
        WHEN 'pg_catalog.pg_constraint'::regclass::oid THEN (
            SELECT pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I', c.conrelid::regclass, c.conname)
            FROM pg_catalog.pg_constraint c
            WHERE c.oid = d.object AND c.conrelid <> 0
        )
        WHEN 'pg_catalog.pg_proc'::regclass::oid THEN (
            SELECT pg_catalog.format('DROP ROUTINE %s', p.oid::regprocedure) FROM pg_catalog.pg_proc p WHERE p.oid = d.object
        )
        WHEN 'pg_catalog.pg_trigger'::regclass::oid THEN (
            SELECT pg_catalog.format('DROP TRIGGER %I ON %s', g.tgname, g.tgrelid::regclass)
            FROM pg_catalog.pg_trigger g
            WHERE g.oid = d.object
        )
        WHEN 'pg_catalog.pg_policy'::regclass::oid THEN (
            SELECT pg_catalog.format('DROP POLICY %I ON %s', p.polname, p.polrelid::regclass)
            FROM pg_catalog.pg_policy p
            WHERE p.oid = d.object
        )
    END AS remedy
FROM dependents d
ORDER BY d.n, dependent
