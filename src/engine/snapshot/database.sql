-- What stands in no schema: extensions, casts, event triggers, publications, foreign servers. The rows are as those of
-- relations.sql.
WITH objects AS (
    SELECT 'cast' AS kind, pg_catalog.format('(%s AS %s)', pg_catalog.format_type(c.castsource, NULL),
        pg_catalog.format_type(c.casttarget, NULL)) AS name, 'pg_catalog.pg_cast'::regclass AS class, c.oid
    FROM pg_catalog.pg_cast c
    UNION ALL
    SELECT 'event trigger', pg_catalog.quote_ident(t.evtname), 'pg_catalog.pg_event_trigger'::regclass, t.oid
    FROM pg_catalog.pg_event_trigger t
    UNION ALL
    SELECT 'foreign data wrapper', pg_catalog.quote_ident(w.fdwname), 'pg_catalog.pg_foreign_data_wrapper'::regclass, w.oid
    FROM pg_catalog.pg_foreign_data_wrapper w
    UNION ALL
    SELECT 'foreign server', pg_catalog.quote_ident(s.srvname), 'pg_catalog.pg_foreign_server'::regclass, s.oid
    FROM pg_catalog.pg_foreign_server s
    UNION ALL
    SELECT 'publication', pg_catalog.quote_ident(p.pubname), 'pg_catalog.pg_publication'::regclass, p.oid
    FROM pg_catalog.pg_publication p
),
about AS (
    SELECT o.class, o.oid, 0 AS part, '' AS key, NULL AS line
    FROM objects o
    UNION ALL
    SELECT 'pg_catalog.pg_cast'::regclass, c.oid, 1, '', pg_catalog.concat_ws(' ',
        CASE c.castmethod
            WHEN 'f' THEN pg_catalog.format('with function %s', c.castfunc::regprocedure)
            WHEN 'i' THEN 'with inout'
            ELSE 'without function'
        END,
        CASE c.castcontext WHEN 'a' THEN 'as assignment' WHEN 'i' THEN 'as implicit' END)
    FROM pg_catalog.pg_cast c
    WHERE c.oid >= 16384
    UNION ALL
    SELECT 'pg_catalog.pg_event_trigger'::regclass, t.oid, 1, '', pg_catalog.concat_ws(' ',
        'on', t.evtevent,
        (SELECT pg_catalog.format('when tag in (%s)', pg_catalog.string_agg(pg_catalog.quote_literal(g.tag), ', ' ORDER BY g.tag COLLATE "C"))
         FROM pg_catalog.unnest(t.evttags) AS g (tag)
         HAVING pg_catalog.count(*) > 0),
        pg_catalog.format('execute function %s()', t.evtfoid::regproc),
        CASE t.evtenabled WHEN 'D' THEN 'DISABLED' WHEN 'R' THEN 'REPLICA' WHEN 'A' THEN 'ALWAYS' END)
    FROM pg_catalog.pg_event_trigger t
    UNION ALL
    SELECT 'pg_catalog.pg_foreign_data_wrapper'::regclass, w.oid, 1, '', pg_catalog.concat_ws(' ',
        CASE WHEN w.fdwhandler <> 0 THEN pg_catalog.format('handler %s', w.fdwhandler::regproc) END,
        CASE WHEN w.fdwvalidator <> 0 THEN pg_catalog.format('validator %s', w.fdwvalidator::regproc) END,
        (SELECT 'OPTIONS (' || {options} || ')'
         FROM pg_catalog.pg_options_to_table(w.fdwoptions) o))
    FROM pg_catalog.pg_foreign_data_wrapper w
    UNION ALL
    SELECT 'pg_catalog.pg_foreign_server'::regclass, s.oid, 1, '', pg_catalog.concat_ws(' ',
        pg_catalog.format('foreign data wrapper %I', w.fdwname),
        'type ' || pg_catalog.quote_literal(s.srvtype),
        'version ' || pg_catalog.quote_literal(s.srvversion),
        (SELECT 'OPTIONS (' || {options} || ')'
         FROM pg_catalog.pg_options_to_table(s.srvoptions) o))
    FROM pg_catalog.pg_foreign_server s
    JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw
    UNION ALL
    -- Its options are secrets, and who may read them differs.
    SELECT 'pg_catalog.pg_foreign_server'::regclass, u.srvid, 2, u.usename::text,
        'user mapping for ' || CASE WHEN u.umuser = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(u.usename) END
    FROM pg_catalog.pg_user_mappings u
    UNION ALL
    SELECT 'pg_catalog.pg_publication'::regclass, p.oid, 1, '', pg_catalog.concat_ws(', ',
        CASE WHEN p.puballtables THEN 'for all tables' END,
        CASE WHEN NOT (p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate) THEN
            pg_catalog.concat_ws(' ', 'publish', CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END,
                CASE WHEN p.pubdelete THEN 'delete' END, CASE WHEN p.pubtruncate THEN 'truncate' END) END,
        CASE WHEN pg_catalog.to_jsonb(p) ->> 'pubgencols' = 's' THEN 'publish generated columns' END,
        CASE WHEN p.pubviaroot THEN 'publish via partition root' END)
    FROM pg_catalog.pg_publication p
    UNION ALL
    SELECT 'pg_catalog.pg_publication'::regclass, r.prpubid, 2, r.prrelid::regclass::text, pg_catalog.concat_ws(' ',
        'table', r.prrelid::regclass
        , (SELECT '(' || pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attname) || ')' -- since 15
           FROM pg_catalog.pg_attribute a WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs)) -- since 15
        , 'WHERE ' || pg_catalog.pg_get_expr(r.prqual, r.prrelid) -- since 15
        )
    FROM pg_catalog.pg_publication_rel r
    UNION ALL -- since 15
    SELECT 'pg_catalog.pg_publication'::regclass, s.pnpubid, 3, n.nspname::text, pg_catalog.format('tables in schema %I', n.nspname) -- since 15
    FROM pg_catalog.pg_publication_namespace s JOIN pg_catalog.pg_namespace n ON n.oid = s.pnnspid -- since 15
    UNION ALL
    SELECT d.classoid, d.objoid, 90, '', pg_catalog.format('comment %L', d.description)
    FROM pg_catalog.pg_description d
    WHERE d.objsubid = 0
)
SELECT '' AS schema, o.kind, o.name, NULL AS "table", a.part, a.key, a.line, NULL AS code
FROM objects o
JOIN about a ON a.class = o.class AND a.oid = o.oid
-- What a new database has is not told, nor what an extension or a type has brought.
WHERE o.oid >= 16384
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend e WHERE e.classid = o.class AND e.objid = o.oid AND e.deptype IN ('e', 'i')
  )
UNION ALL
SELECT '', 'extension', pg_catalog.quote_ident(x.extname), NULL, 1, '', pg_catalog.format('in schema %I', n.nspname), NULL
FROM pg_catalog.pg_extension x
JOIN pg_catalog.pg_namespace n ON n.oid = x.extnamespace
WHERE x.oid >= 16384;
