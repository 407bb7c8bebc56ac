-- Every object of one schema ($1) with a definition that reads the same whatever the schema is called: relations, columns,
-- constraints, indexes, triggers, functions, and their comments. The search path is that schema alone.
-- $2: only these objects, or NULL. $3: only what this transaction has made or made anew.
WITH here AS (
    SELECT
        n.oid,
        pg_catalog.quote_ident(n.nspname) AS name,
        pg_catalog.regexp_replace(pg_catalog.quote_ident(n.nspname), '([^[:alnum:]_])', '\\\1', 'g') AS pattern
    FROM pg_catalog.pg_namespace n
    WHERE n.nspname = $1::text
),
relations AS (
    SELECT
        c.oid, c.relname, c.relkind, c.relpersistence, c.relrowsecurity,
        -- The relation's own entry is written for other reasons, too: a trigger, or its replica identity.
        CASE
            WHEN c.relkind IN ('v', 'm') THEN (SELECT w.xmin FROM pg_catalog.pg_rewrite w WHERE w.ev_class = c.oid LIMIT 1)
            ELSE (SELECT t.xmin FROM pg_catalog.pg_type t WHERE t.oid = c.reltype)
        END AS made_by
    FROM pg_catalog.pg_class c
    WHERE c.relnamespace = (SELECT h.oid FROM here h)
      AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
),
objects AS (
    SELECT
        pg_catalog.format('%s %s',
            CASE r.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' ELSE 'table' END,
            r.relname) AS object,
        CASE WHEN r.relkind IN ('v', 'm') THEN pg_catalog.pg_get_viewdef(r.oid) ELSE
            pg_catalog.concat_ws(', ',
                CASE r.relpersistence WHEN 'u' THEN 'unlogged' WHEN 't' THEN 'temporary' ELSE 'permanent' END,
                CASE r.relkind WHEN 'p' THEN 'partitioned' END,
                CASE WHEN r.relrowsecurity THEN 'row level security' END)
        END AS definition,
        pg_catalog.obj_description(r.oid, 'pg_class') AS comment,
        r.made_by
    FROM relations r
    UNION ALL
    SELECT
        pg_catalog.format('column %s.%s', r.relname, a.attname),
        pg_catalog.concat_ws(' ',
            pg_catalog.format_type(a.atttypid, a.atttypmod),
            CASE WHEN a.attnotnull THEN 'NOT NULL' END,
            CASE WHEN a.attidentity <> '' THEN 'IDENTITY' WHEN a.attgenerated <> '' THEN 'GENERATED' END,
            'DEFAULT ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid)),
        pg_catalog.col_description(r.oid, a.attnum),
        a.xmin
    FROM relations r
    JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE r.relkind IN ('r', 'p')
    UNION ALL
    SELECT
        pg_catalog.format('constraint %s on %s', c.conname, r.relname),
        pg_catalog.pg_get_constraintdef(c.oid) || CASE WHEN c.convalidated THEN '' ELSE ' UNCHECKED' END,
        pg_catalog.obj_description(c.oid, 'pg_constraint'),
        c.xmin
    FROM relations r
    JOIN pg_catalog.pg_constraint c ON c.conrelid = r.oid
    -- NOT NULL is told with its column.
    WHERE c.contype IN ('c', 'f', 'p', 'u', 'x')
    UNION ALL
    SELECT
        pg_catalog.format('index %s on %s', x.relname, r.relname),
        pg_catalog.regexp_replace(
            pg_catalog.replace(pg_catalog.pg_get_indexdef(i.indexrelid), pg_catalog.format(' ON %s.', (SELECT h.name FROM here h)), ' ON '),
            ' WITH \([^)]*\)', '')
            || CASE WHEN i.indisvalid AND i.indisready THEN '' ELSE ' INVALID' END,
        pg_catalog.obj_description(i.indexrelid, 'pg_class'),
        x.xmin
    FROM relations r
    JOIN pg_catalog.pg_index i ON i.indrelid = r.oid
    JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
    UNION ALL
    SELECT
        pg_catalog.format('trigger %s on %s', t.tgname, r.relname),
        pg_catalog.replace(pg_catalog.pg_get_triggerdef(t.oid), pg_catalog.format(' %s.', (SELECT h.name FROM here h)), ' ')
            || CASE WHEN t.tgenabled IN ('O', 'A') THEN '' ELSE ' DISABLED' END,
        pg_catalog.obj_description(t.oid, 'pg_trigger'),
        t.xmin
    FROM relations r
    JOIN pg_catalog.pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal
    UNION ALL
    SELECT
        pg_catalog.format('function %s', p.oid::regprocedure),
        pg_catalog.format('returns %s, %s%s, %s',
            pg_catalog.pg_get_function_result(p.oid),
            CASE WHEN p.prosecdef THEN 'as its owner' ELSE 'as its caller' END,
            -- Only too much of a right is a fault.
            CASE WHEN p.prosecdef AND pg_catalog.has_function_privilege('public', p.oid, 'EXECUTE') THEN ', for everybody' ELSE '' END,
            pg_catalog.left(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(
                pg_catalog.concat_ws(' ',
                    p.provolatile, p.proisstrict, p.proparallel, pg_catalog.pg_get_function_arguments(p.oid),
                    -- A function that cannot look the schema up names it.
                    coalesce(pg_catalog.regexp_replace(p.prosrc, q.qualified, '', 'g'), p.prosrc),
                    pg_catalog.array_to_string(ARRAY(
                        SELECT CASE WHEN setting LIKE 'search\_path=%' THEN 'search_path' ELSE setting END
                        FROM pg_catalog.unnest(p.proconfig) AS setting
                        ORDER BY 1
                    ), ' ')),
                'UTF8')), 'hex'), 16)),
        pg_catalog.obj_description(p.oid, 'pg_proc'),
        p.xmin
    FROM pg_catalog.pg_proc p
    -- The schema in front of what it holds, as a pattern; NULL where the text has no such thing.
    LEFT JOIN LATERAL (
        SELECT pg_catalog.format('(?<![[:alnum:]_$".])%s[.](?=(%s)(?![[:alnum:]_$]))', h.pattern, pg_catalog.string_agg(DISTINCT
            pg_catalog.regexp_replace(m.found[1], '([^[:alnum:]_])', '\\\1', 'g'), '|')) AS qualified
        FROM here h
        CROSS JOIN LATERAL pg_catalog.regexp_matches(p.prosrc, h.pattern || '[.]("[^"]+"|[[:alpha:]_][[:alnum:]_$]*)', 'g') AS m (found)
        WHERE EXISTS (SELECT FROM relations r WHERE pg_catalog.quote_ident(r.relname) = m.found[1])
           OR EXISTS (
               SELECT FROM pg_catalog.pg_proc f
               WHERE f.pronamespace = h.oid AND pg_catalog.quote_ident(f.proname) = m.found[1]
           )
        GROUP BY h.pattern
    ) q ON true
    WHERE p.pronamespace = (SELECT h.oid FROM here h)
      AND p.prokind = 'f'
      -- What belongs to an extension is the extension's.
      AND NOT EXISTS (
          SELECT FROM pg_catalog.pg_depend e
          WHERE e.classid = 'pg_catalog.pg_proc'::regclass::oid AND e.objid = p.oid AND e.deptype = 'e'
      )
)
SELECT o.object, pg_catalog.regexp_replace(o.definition || coalesce(' -- ' || o.comment, ''), '\s+', ' ', 'g') AS definition
FROM objects o
WHERE ($2::text[] IS NULL OR o.object = ANY ($2))
  AND (NOT $3::boolean OR o.made_by = pg_catalog.pg_current_xact_id_if_assigned()::xid)
ORDER BY o.object COLLATE "C"
