-- Tables, views, sequences and composite types, with all that hangs on them. A row is a line of an object's block: which
-- object (schema, kind, name), the table it belongs to, the line's place (part, key), the line, and code below it.
-- A line that ends in "since N" is left out on an older server.
WITH relations AS MATERIALIZED (
    SELECT
        c.oid, c.relkind, c.relpersistence, c.relispartition, c.reloptions, c.relrowsecurity, c.relforcerowsecurity,
        c.relreplident, c.reloftype, c.relpartbound, c.relam,
        n.nspname::text AS schema,
        CASE c.relkind
            WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence'
            WHEN 'f' THEN 'foreign table' WHEN 'c' THEN 'composite type' ELSE 'table'
        END AS kind,
        pg_catalog.format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'migrate')
      AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')
      -- What belongs to an extension is the extension's; an identity's sequence is told with its column.
      AND NOT EXISTS (
          SELECT FROM pg_catalog.pg_depend e
          WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = c.oid
            AND (e.deptype = 'e' OR e.deptype = 'i' AND c.relkind = 'S')
      )
      AND NOT EXISTS (
          SELECT FROM pg_catalog.pg_depend e
          WHERE e.classid = 'pg_catalog.pg_type'::regclass AND e.objid = c.reltype AND e.deptype = 'e' AND c.relkind = 'c'
      )
),
sequences AS (
    SELECT
        s.seqrelid,
        pg_catalog.concat_ws(' ',
            CASE WHEN s.seqstart <> CASE WHEN s.seqincrement > 0 THEN s.seqmin ELSE s.seqmax END
                THEN pg_catalog.format('START WITH %s', s.seqstart) END,
            CASE WHEN s.seqincrement <> 1 THEN pg_catalog.format('INCREMENT BY %s', s.seqincrement) END,
            CASE WHEN s.seqmin <> CASE WHEN s.seqincrement > 0 THEN 1 ELSE t.lowest END
                THEN pg_catalog.format('MINVALUE %s', s.seqmin) END,
            CASE WHEN s.seqmax <> CASE WHEN s.seqincrement > 0 THEN -(t.lowest + 1) ELSE -1 END
                THEN pg_catalog.format('MAXVALUE %s', s.seqmax) END,
            CASE WHEN s.seqcache <> 1 THEN pg_catalog.format('CACHE %s', s.seqcache) END,
            CASE WHEN s.seqcycle THEN 'CYCLE' END
        ) AS options
    FROM pg_catalog.pg_sequence s
    CROSS JOIN LATERAL (
        SELECT CASE s.seqtypid
            WHEN 'int2'::regtype THEN -32768::bigint
            WHEN 'int4'::regtype THEN -2147483648::bigint
            ELSE -9223372036854775808
        END AS lowest
    ) t
),
columns AS MATERIALIZED (
    SELECT
        r.oid, a.attnum, a.attname,
        pg_catalog.concat_ws(' ',
            'column', pg_catalog.quote_ident(a.attname), pg_catalog.format_type(a.atttypid, a.atttypmod),
            CASE WHEN a.attcollation <> t.typcollation AND a.attcollation <> 0
                THEN pg_catalog.format('COLLATE %s', a.attcollation::regcollation) END,
            CASE WHEN a.attnotnull THEN pg_catalog.concat_ws(' ', 'NOT NULL',
                CASE WHEN nn.connoinherit THEN 'NO INHERIT' END,
                CASE WHEN NOT nn.convalidated THEN 'NOT VALID' END) END,
            CASE
                WHEN a.attgenerated <> '' THEN pg_catalog.format('GENERATED ALWAYS AS (%s) %s',
                    pg_catalog.pg_get_expr(d.adbin, d.adrelid),
                    CASE a.attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END)
                ELSE 'DEFAULT ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid)
            END,
            CASE WHEN a.attstorage <> t.typstorage AND r.relkind <> 'v' THEN pg_catalog.format('STORAGE %s', CASE a.attstorage
                WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END) END,
            CASE a.attcompression WHEN 'p' THEN 'COMPRESSION pglz' WHEN 'l' THEN 'COMPRESSION lz4' END, -- since 14
            CASE WHEN a.attstattarget >= 0 THEN pg_catalog.format('STATISTICS %s', a.attstattarget) END,
            'WITH (' || pg_catalog.array_to_string(a.attoptions, ', ') || ')',
            (SELECT 'OPTIONS (' || {options} || ')'
             FROM pg_catalog.pg_options_to_table(a.attfdwoptions) o)
        ) AS line,
        d.adbin IS NOT NULL AS has_default,
        -- Before 17, a partition's column does not say that it is its parent's identity.
        CASE WHEN a.attidentity <> '' AND NOT r.relispartition THEN pg_catalog.format(' GENERATED %s AS IDENTITY%s',
            CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END,
            (SELECT ' (' || nullif(s.options, '') || ')'
             FROM pg_catalog.pg_depend i
             JOIN sequences s ON s.seqrelid = i.objid
             WHERE i.classid = 'pg_catalog.pg_class'::regclass AND i.refclassid = 'pg_catalog.pg_class'::regclass
               AND i.refobjid = r.oid AND i.refobjsubid = a.attnum AND i.deptype = 'i')
        ) ELSE '' END AS identity
    FROM relations r
    JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    -- Only 18 and newer have such rows.
    LEFT JOIN pg_catalog.pg_constraint nn ON nn.conrelid = a.attrelid AND nn.contype = 'n' AND nn.conkey = ARRAY[a.attnum]
    WHERE r.relkind <> 'S'
),
about AS (
    SELECT r.oid, 0 AS part, '' AS key, NULL AS line, NULL AS code
    FROM relations r
    UNION ALL
    SELECT r.oid, 1, '', CASE r.relpersistence WHEN 'u' THEN 'unlogged' END, NULL
    FROM relations r
    UNION ALL
    SELECT r.oid, 2, '', pg_catalog.format('of type %s', r.reloftype::regtype), NULL
    FROM relations r
    WHERE r.reloftype <> 0
    UNION ALL
    SELECT r.oid, 3, '',
        CASE WHEN r.relispartition
            THEN pg_catalog.format('partition of %s %s', i.parents, pg_catalog.pg_get_expr(r.relpartbound, r.oid))
            ELSE pg_catalog.format('inherits %s', i.parents)
        END,
        NULL
    FROM relations r
    JOIN (
        SELECT h.inhrelid, pg_catalog.string_agg(h.inhparent::regclass::text, ', ' ORDER BY h.inhseqno) AS parents
        FROM pg_catalog.pg_inherits h
        GROUP BY h.inhrelid
    ) i ON i.inhrelid = r.oid
    UNION ALL
    SELECT r.oid, 4, '', 'partition by ' || pg_catalog.pg_get_partkeydef(r.oid), NULL
    FROM relations r
    WHERE r.relkind = 'p'
    UNION ALL
    SELECT r.oid, 5, '', pg_catalog.format('using %I', m.amname), NULL
    FROM relations r
    JOIN pg_catalog.pg_am m ON m.oid = r.relam
    WHERE m.amname <> 'heap'
    UNION ALL
    SELECT r.oid, 6, o.option, pg_catalog.format('with %s', o.option), NULL
    FROM relations r
    CROSS JOIN LATERAL pg_catalog.unnest(r.reloptions) AS o (option)
    UNION ALL
    SELECT r.oid, 7, '', CASE WHEN r.relforcerowsecurity THEN 'row level security, forced' ELSE 'row level security' END, NULL
    FROM relations r
    WHERE r.relrowsecurity OR r.relforcerowsecurity
    UNION ALL
    SELECT r.oid, 8, '', pg_catalog.concat_ws(' ', 'replica identity', CASE r.relreplident
        WHEN 'n' THEN 'nothing'
        WHEN 'f' THEN 'full'
        ELSE (SELECT pg_catalog.format('using index %I', x.relname)
              FROM pg_catalog.pg_index i
              JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
              WHERE i.indrelid = r.oid AND i.indisreplident)
    END), NULL
    FROM relations r
    WHERE r.relkind IN ('r', 'p', 'm') AND r.relreplident <> 'd'
    UNION ALL
    SELECT r.oid, 9, '',
        pg_catalog.concat_ws(' ', pg_catalog.format('server %I', s.srvname), (
            SELECT 'OPTIONS (' || {options} || ')'
            FROM pg_catalog.pg_options_to_table(f.ftoptions) o
        )),
        NULL
    FROM relations r
    JOIN pg_catalog.pg_foreign_table f ON f.ftrelid = r.oid
    JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver
    UNION ALL
    SELECT r.oid, 10, '', pg_catalog.concat_ws(' ',
        pg_catalog.format('AS %s', pg_catalog.format_type(q.seqtypid, NULL)), nullif(s.options, '')), NULL
    FROM relations r
    JOIN pg_catalog.pg_sequence q ON q.seqrelid = r.oid
    JOIN sequences s ON s.seqrelid = r.oid
    UNION ALL
    SELECT r.oid, 11, '', pg_catalog.format('owned by %s.%I', o.refobjid::regclass, a.attname), NULL
    FROM relations r
    JOIN pg_catalog.pg_depend o ON o.classid = 'pg_catalog.pg_class'::regclass AND o.objid = r.oid AND o.deptype = 'a'
        AND o.refclassid = 'pg_catalog.pg_class'::regclass
    JOIN pg_catalog.pg_attribute a ON a.attrelid = o.refobjid AND a.attnum = o.refobjsubid
    WHERE r.relkind = 'S'
    UNION ALL
    -- The order of a table's columns follows from the order of its migrations; that of a composite type is part of it.
    SELECT r.oid, 20,
        CASE WHEN r.relkind = 'c' THEN pg_catalog.lpad(c.attnum::text, 5, '0') ELSE c.attname::text END,
        c.line || c.identity, NULL
    FROM relations r
    JOIN columns c ON c.oid = r.oid
    LEFT JOIN pg_catalog.pg_inherits h ON h.inhrelid = r.oid AND r.relispartition
    LEFT JOIN columns p ON p.oid = h.inhparent AND p.attname = c.attname
    -- The definition of a view has its columns; a partition's are those of its parent, unless it says otherwise.
    WHERE CASE WHEN r.relkind IN ('v', 'm') THEN c.has_default ELSE p.line IS DISTINCT FROM c.line END
    UNION ALL
    SELECT r.oid, 30, c.conname::text, pg_catalog.concat_ws(' ',
        pg_catalog.format('constraint %I', c.conname),
        pg_catalog.pg_get_constraintdef(c.oid),
        (SELECT pg_catalog.format('WITH (%s)', pg_catalog.array_to_string(x.reloptions, ', '))
         FROM pg_catalog.pg_class x WHERE x.oid = c.conindid AND c.contype IN ('p', 'u', 'x') AND x.reloptions IS NOT NULL),
        (SELECT 'INVALID'
         FROM pg_catalog.pg_index i WHERE i.indexrelid = c.conindid AND c.contype IN ('p', 'u', 'x') AND NOT i.indisvalid)
    ), NULL
    FROM relations r
    JOIN pg_catalog.pg_constraint c ON c.conrelid = r.oid
    WHERE c.contype IN ('c', 'f', 'p', 'u', 'x') AND c.conparentid = 0 AND (c.conislocal OR c.coninhcount = 0)
    UNION ALL
    SELECT r.oid, 40, x.relname::text, pg_catalog.concat_ws(' ',
        pg_catalog.pg_get_indexdef(i.indexrelid),
        CASE WHEN NOT (i.indisvalid AND i.indisready) THEN 'INVALID' END,
        CASE WHEN i.indisclustered THEN 'CLUSTER' END), NULL
    FROM relations r
    JOIN pg_catalog.pg_index i ON i.indrelid = r.oid
    JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
    WHERE NOT x.relispartition
      AND NOT EXISTS (
          SELECT FROM pg_catalog.pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x')
      )
    UNION ALL
    SELECT r.oid, 50, t.tgname::text, pg_catalog.concat_ws(' ', pg_catalog.pg_get_triggerdef(t.oid),
        CASE t.tgenabled WHEN 'D' THEN 'DISABLED' WHEN 'R' THEN 'REPLICA' WHEN 'A' THEN 'ALWAYS' END), NULL
    FROM relations r
    JOIN pg_catalog.pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal AND t.tgparentid = 0
    UNION ALL
    SELECT r.oid, 60, w.rulename::text, pg_catalog.concat_ws(' ', pg_catalog.format('rule %I', w.rulename),
        CASE w.ev_enabled WHEN 'D' THEN 'DISABLED' WHEN 'R' THEN 'REPLICA' WHEN 'A' THEN 'ALWAYS' END),
        pg_catalog.pg_get_ruledef(w.oid)
    FROM relations r
    JOIN pg_catalog.pg_rewrite w ON w.ev_class = r.oid AND w.rulename <> '_RETURN'
    UNION ALL
    SELECT r.oid, 70, p.polname::text, pg_catalog.concat_ws(' ',
        pg_catalog.format('policy %I', p.polname),
        CASE WHEN NOT p.polpermissive THEN 'AS RESTRICTIVE' END,
        CASE p.polcmd WHEN 'r' THEN 'FOR SELECT' WHEN 'a' THEN 'FOR INSERT' WHEN 'w' THEN 'FOR UPDATE' WHEN 'd' THEN 'FOR DELETE' END,
        (SELECT 'TO ' || pg_catalog.string_agg(pg_catalog.quote_ident(o.rolname), ', ' ORDER BY o.rolname)
         FROM pg_catalog.pg_roles o WHERE o.oid = ANY (p.polroles))
    ), pg_catalog.concat_ws(E'\n',
        'USING (' || pg_catalog.pg_get_expr(p.polqual, p.polrelid) || ')',
        'WITH CHECK (' || pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) || ')'
    )
    FROM relations r
    JOIN pg_catalog.pg_policy p ON p.polrelid = r.oid
    UNION ALL
    SELECT r.oid, 12, '', NULL, pg_catalog.pg_get_viewdef(r.oid)
    FROM relations r
    WHERE r.relkind IN ('v', 'm')
    UNION ALL
    SELECT r.oid, 90, c.what, pg_catalog.format('comment %s%L', c.what, d.description), NULL
    FROM relations r
    CROSS JOIN LATERAL (
        SELECT 'pg_catalog.pg_class'::regclass AS class, r.oid, 0 AS sub, '' AS what
        UNION ALL
        SELECT 'pg_catalog.pg_class'::regclass, r.oid, a.attnum, pg_catalog.format('on column %I ', a.attname)
        FROM pg_catalog.pg_attribute a WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped AND r.relkind <> 'S'
        UNION ALL
        SELECT 'pg_catalog.pg_type'::regclass, c.reltype, 0, '' FROM pg_catalog.pg_class c WHERE c.oid = r.oid AND r.relkind = 'c'
        UNION ALL
        SELECT 'pg_catalog.pg_constraint'::regclass, c.oid, 0, pg_catalog.format('on constraint %I ', c.conname)
        FROM pg_catalog.pg_constraint c WHERE c.conrelid = r.oid AND c.contype <> 'n'
        UNION ALL
        SELECT 'pg_catalog.pg_class'::regclass, x.oid, 0, pg_catalog.format('on index %I ', x.relname)
        FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = r.oid
        UNION ALL
        SELECT 'pg_catalog.pg_trigger'::regclass, t.oid, 0, pg_catalog.format('on trigger %I ', t.tgname)
        FROM pg_catalog.pg_trigger t WHERE t.tgrelid = r.oid
        UNION ALL
        SELECT 'pg_catalog.pg_rewrite'::regclass, w.oid, 0, pg_catalog.format('on rule %I ', w.rulename)
        FROM pg_catalog.pg_rewrite w WHERE w.ev_class = r.oid
        UNION ALL
        SELECT 'pg_catalog.pg_policy'::regclass, p.oid, 0, pg_catalog.format('on policy %I ', p.polname)
        FROM pg_catalog.pg_policy p WHERE p.polrelid = r.oid
    ) c
    JOIN pg_catalog.pg_description d ON d.classoid = c.class AND d.objoid = c.oid AND d.objsubid = c.sub
)
SELECT
    r.schema, r.kind, r.name,
    CASE r.kind
        WHEN 'sequence' THEN (
            SELECT o.refobjid::regclass::text
            FROM pg_catalog.pg_depend o
            WHERE o.classid = 'pg_catalog.pg_class'::regclass AND o.objid = r.oid AND o.deptype = 'a'
              AND o.refclassid = 'pg_catalog.pg_class'::regclass
            LIMIT 1
        )
        ELSE r.name
    END AS "table",
    a.part, a.key, a.line, a.code
FROM relations r
JOIN about a ON a.oid = r.oid;
