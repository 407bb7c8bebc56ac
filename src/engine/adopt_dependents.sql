-- What depends on an object that is to go, is not to go itself, and so would keep it from going: the line of $1 to $3 (kind,
-- table, name, as in adopt_check.sql), the dependent, and the statement that resolves it, where there is one.
WITH RECURSIVE removed (n, class, object, part) AS (
    SELECT r.n, a.class, a.object, a.part
    FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS r (kind, table_name, name, n)
    CROSS JOIN LATERAL (SELECT to_regclass(quote_ident(r.table_name)) AS relation) t
    CROSS JOIN LATERAL (
        SELECT 'pg_class'::regclass, t.relation::oid, 0
        WHERE r.kind = 'table' AND t.relation IS NOT NULL
        UNION ALL
        SELECT 'pg_class'::regclass, a.attrelid, a.attnum::int
        FROM pg_catalog.pg_attribute a
        WHERE r.kind = 'column' AND a.attrelid = t.relation AND a.attname = r.name AND NOT a.attisdropped
        UNION ALL
        SELECT 'pg_trigger'::regclass, g.oid, 0
        FROM pg_catalog.pg_trigger g
        WHERE r.kind = 'trigger' AND g.tgrelid = t.relation AND g.tgname = r.name
        UNION ALL
        SELECT 'pg_proc'::regclass, to_regprocedure(r.name)::oid, 0
        WHERE r.kind = 'function' AND to_regprocedure(r.name) IS NOT NULL
    ) a (class, object, part)
),
-- With it go its row type, indexes, defaults, own constraints and triggers, partitions.
going (n, class, object, part) AS (
    SELECT * FROM removed
    UNION
    SELECT g.n, d.classid::regclass, d.objid, d.objsubid
    FROM going g
    JOIN pg_catalog.pg_depend d
        ON d.refclassid = g.class AND d.refobjid = g.object AND (g.part = 0 OR d.refobjsubid = g.part)
    WHERE d.deptype IN ('a', 'i', 'P', 'S')
),
dependents AS (
    -- A view depends through the rule that makes it.
    SELECT DISTINCT
        g.n,
        CASE WHEN w.oid IS NULL THEN d.classid::regclass ELSE 'pg_class'::regclass END AS class,
        coalesce(w.ev_class, d.objid) AS object,
        CASE WHEN w.oid IS NULL THEN d.objsubid ELSE 0 END AS part,
        CASE WHEN g.class = 'pg_class'::regclass THEN g.object END AS relation
    FROM going g
    JOIN pg_catalog.pg_depend d
        ON d.refclassid = g.class AND d.refobjid = g.object AND (g.part = 0 OR d.refobjsubid = g.part)
    LEFT JOIN pg_catalog.pg_rewrite w
        ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid AND w.rulename = '_RETURN'
    WHERE d.deptype = 'n'
      AND NOT EXISTS (
          SELECT FROM going o
          WHERE (o.class = d.classid AND o.object = d.objid AND o.part IN (0, d.objsubid))
             OR (w.oid IS NOT NULL AND o.class = 'pg_class'::regclass AND o.object = w.ev_class AND o.part = 0)
      )
)
SELECT DISTINCT ON (d.n, dependent)
    d.n,
    pg_describe_object(d.class, d.object, d.part) AS dependent,
    CASE d.class
        WHEN 'pg_class'::regclass THEN (
            SELECT CASE
                WHEN d.part > 0 THEN format('ALTER TABLE %s DROP COLUMN %I', c.oid::regclass, a.attname)
                WHEN c.relkind = 'v' THEN format('DROP VIEW %s', c.oid::regclass)
                WHEN c.relkind = 'm' THEN format('DROP MATERIALIZED VIEW %s', c.oid::regclass)
                WHEN EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid AND i.inhparent = d.relation)
                    THEN format('ALTER TABLE %s NO INHERIT %s', c.oid::regclass, d.relation::regclass)
            END
            FROM pg_catalog.pg_class c
            LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.part
            WHERE c.oid = d.object
        )
        WHEN 'pg_constraint'::regclass THEN (
            SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', c.conrelid::regclass, c.conname)
            FROM pg_catalog.pg_constraint c
            WHERE c.oid = d.object AND c.conrelid <> 0
        )
        WHEN 'pg_proc'::regclass THEN (
            SELECT format('DROP ROUTINE %s', p.oid::regprocedure) FROM pg_catalog.pg_proc p WHERE p.oid = d.object
        )
        WHEN 'pg_trigger'::regclass THEN (
            SELECT format('DROP TRIGGER %I ON %s', g.tgname, g.tgrelid::regclass)
            FROM pg_catalog.pg_trigger g
            WHERE g.oid = d.object
        )
        WHEN 'pg_policy'::regclass THEN (
            SELECT format('DROP POLICY %I ON %s', p.polname, p.polrelid::regclass)
            FROM pg_catalog.pg_policy p
            WHERE p.oid = d.object
        )
    END AS remedy
FROM dependents d
ORDER BY d.n, dependent
