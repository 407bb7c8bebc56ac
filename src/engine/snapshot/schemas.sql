-- What is no relation but stands in a schema: the schemas themselves, types, routines, operators, collations, statistics and
-- text search. The rows are as those of relations.sql.
WITH schemas AS MATERIALIZED (
    SELECT n.oid, n.nspname::text AS schema
    FROM pg_catalog.pg_namespace n
    WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'migrate')
),
members AS MATERIALIZED (
    SELECT e.classid, e.objid FROM pg_catalog.pg_depend e WHERE e.deptype = 'e'
),
types AS MATERIALIZED (
    SELECT t.*, s.schema, pg_catalog.format('%I.%I', s.schema, t.typname) AS name
    FROM pg_catalog.pg_type t
    JOIN schemas s ON s.oid = t.typnamespace
    WHERE NOT EXISTS (SELECT FROM members m WHERE m.classid = 'pg_catalog.pg_type'::regclass AND m.objid = t.oid)
),
routines AS MATERIALIZED (
    SELECT
        p.oid, p.prokind, s.schema,
        CASE p.prokind WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure' ELSE 'function' END AS kind,
        pg_catalog.format('%I.%I(%s)', s.schema, p.proname, pg_catalog.oidvectortypes(p.proargtypes)) AS name
    FROM pg_catalog.pg_proc p
    JOIN schemas s ON s.oid = p.pronamespace
    WHERE NOT EXISTS (SELECT FROM members m WHERE m.classid = 'pg_catalog.pg_proc'::regclass AND m.objid = p.oid)
      -- A range type brings its constructors.
      AND NOT EXISTS (
          SELECT FROM pg_catalog.pg_depend i
          WHERE i.classid = 'pg_catalog.pg_proc'::regclass AND i.objid = p.oid AND i.deptype = 'i'
            AND i.refclassid = 'pg_catalog.pg_type'::regclass
      )
),
objects AS (
    SELECT s.schema, 'schema' AS kind, pg_catalog.quote_ident(s.schema) AS name, 'pg_catalog.pg_namespace'::regclass AS class, s.oid
    FROM schemas s
    UNION ALL
    SELECT t.schema, CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range type' ELSE 'base type' END,
        t.name, 'pg_catalog.pg_type'::regclass, t.oid
    FROM types t
    WHERE t.typtype IN ('e', 'd', 'r')
       -- An array type is its element's.
       OR t.typtype IN ('b', 'p') AND NOT EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.typarray = t.oid)
    UNION ALL
    SELECT r.schema, r.kind, r.name, 'pg_catalog.pg_proc'::regclass, r.oid
    FROM routines r
    UNION ALL
    SELECT s.schema, 'collation', pg_catalog.format('%I.%I', s.schema, c.collname), 'pg_catalog.pg_collation'::regclass, c.oid
    FROM pg_catalog.pg_collation c
    JOIN schemas s ON s.oid = c.collnamespace
    UNION ALL
    SELECT s.schema, 'operator',
        pg_catalog.format('%I.%s (%s, %s)', s.schema, o.oprname,
            CASE WHEN o.oprleft = 0 THEN 'NONE' ELSE pg_catalog.format_type(o.oprleft, NULL) END,
            CASE WHEN o.oprright = 0 THEN 'NONE' ELSE pg_catalog.format_type(o.oprright, NULL) END),
        'pg_catalog.pg_operator'::regclass, o.oid
    FROM pg_catalog.pg_operator o
    JOIN schemas s ON s.oid = o.oprnamespace
    -- One that has only been named as a commutator has no function yet.
    WHERE o.oprcode <> 0
    UNION ALL
    SELECT s.schema, 'operator class', pg_catalog.format('%I.%I using %I', s.schema, c.opcname, m.amname),
        'pg_catalog.pg_opclass'::regclass, c.oid
    FROM pg_catalog.pg_opclass c
    JOIN schemas s ON s.oid = c.opcnamespace
    JOIN pg_catalog.pg_am m ON m.oid = c.opcmethod
    UNION ALL
    SELECT s.schema, 'statistics', pg_catalog.format('%I.%I', s.schema, x.stxname), 'pg_catalog.pg_statistic_ext'::regclass, x.oid
    FROM pg_catalog.pg_statistic_ext x
    JOIN schemas s ON s.oid = x.stxnamespace
    UNION ALL
    SELECT s.schema, 'text search configuration', pg_catalog.format('%I.%I', s.schema, c.cfgname),
        'pg_catalog.pg_ts_config'::regclass, c.oid
    FROM pg_catalog.pg_ts_config c
    JOIN schemas s ON s.oid = c.cfgnamespace
    UNION ALL
    SELECT s.schema, 'text search dictionary', pg_catalog.format('%I.%I', s.schema, d.dictname),
        'pg_catalog.pg_ts_dict'::regclass, d.oid
    FROM pg_catalog.pg_ts_dict d
    JOIN schemas s ON s.oid = d.dictnamespace
),
about AS (
    SELECT o.class, o.oid, 0 AS part, '' AS key, NULL AS line, NULL AS code
    FROM objects o
    UNION ALL
    SELECT 'pg_catalog.pg_type'::regclass, e.enumtypid, 1,
        pg_catalog.lpad(pg_catalog.row_number() OVER (PARTITION BY e.enumtypid ORDER BY e.enumsortorder)::text, 9, '0'),
        pg_catalog.format('value %L', e.enumlabel), NULL
    FROM pg_catalog.pg_enum e
    UNION ALL
    SELECT 'pg_catalog.pg_type'::regclass, t.oid, 2, '', pg_catalog.concat_ws(' ',
        'AS', pg_catalog.format_type(t.typbasetype, t.typtypmod),
        CASE WHEN t.typcollation <> b.typcollation AND t.typcollation <> 0
            THEN pg_catalog.format('COLLATE %s', t.typcollation::regcollation) END,
        CASE WHEN t.typnotnull THEN 'NOT NULL' END,
        'DEFAULT ' || coalesce(pg_catalog.pg_get_expr(t.typdefaultbin, 0), t.typdefault)), NULL
    FROM types t
    JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
    WHERE t.typtype = 'd'
    UNION ALL
    SELECT 'pg_catalog.pg_type'::regclass, t.oid, 3, c.conname::text,
        pg_catalog.format('constraint %I %s', c.conname, pg_catalog.pg_get_constraintdef(c.oid)), NULL
    FROM types t
    JOIN pg_catalog.pg_constraint c ON c.contypid = t.oid AND c.contype = 'c'
    UNION ALL
    SELECT 'pg_catalog.pg_type'::regclass, t.oid, 4, c.conname::text,
        pg_catalog.format('comment on constraint %I %L', c.conname, pg_catalog.obj_description(c.oid, 'pg_constraint')), NULL
    FROM types t
    JOIN pg_catalog.pg_constraint c ON c.contypid = t.oid AND c.contype = 'c'
    WHERE pg_catalog.obj_description(c.oid, 'pg_constraint') IS NOT NULL
    UNION ALL
    SELECT 'pg_catalog.pg_type'::regclass, t.oid, 5, '', pg_catalog.concat_ws(' ',
        'subtype', pg_catalog.format_type(r.rngsubtype, NULL),
        CASE WHEN NOT c.opcdefault THEN pg_catalog.format('opclass %I.%I', cn.nspname, c.opcname) END,
        CASE WHEN r.rngcollation <> b.typcollation THEN pg_catalog.format('collation %s', r.rngcollation::regcollation) END,
        CASE WHEN r.rngcanonical <> 0 THEN pg_catalog.format('canonical %s', r.rngcanonical::regproc) END,
        CASE WHEN r.rngsubdiff <> 0 THEN pg_catalog.format('subtype_diff %s', r.rngsubdiff::regproc) END), NULL
    FROM types t
    JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid
    JOIN pg_catalog.pg_type b ON b.oid = r.rngsubtype
    JOIN pg_catalog.pg_opclass c ON c.oid = r.rngsubopc
    JOIN pg_catalog.pg_namespace cn ON cn.oid = c.opcnamespace
    UNION ALL
    SELECT 'pg_catalog.pg_type'::regclass, t.oid, 6, '', pg_catalog.format('input %s output %s', t.typinput::regproc, t.typoutput::regproc), NULL
    FROM types t
    WHERE t.typtype IN ('b', 'p')
    UNION ALL
    SELECT 'pg_catalog.pg_proc'::regclass, r.oid, 1, '', NULL, pg_catalog.pg_get_functiondef(r.oid)
    FROM routines r
    WHERE r.prokind <> 'a'
    UNION ALL
    SELECT 'pg_catalog.pg_proc'::regclass, r.oid, 1, '', pg_catalog.concat_ws(' ',
        'returns', pg_catalog.pg_get_function_result(r.oid),
        CASE a.aggkind WHEN 'o' THEN 'ordered set' WHEN 'h' THEN 'hypothetical' END,
        'sfunc', a.aggtransfn::regproc, 'stype', pg_catalog.format_type(a.aggtranstype, NULL),
        CASE WHEN a.aggfinalfn <> 0 THEN pg_catalog.format('finalfunc %s', a.aggfinalfn::regproc) END,
        CASE WHEN a.aggfinalextra THEN 'finalfunc_extra' END,
        CASE WHEN a.aggcombinefn <> 0 THEN pg_catalog.format('combinefunc %s', a.aggcombinefn::regproc) END,
        CASE WHEN a.aggserialfn <> 0 THEN pg_catalog.format('serialfunc %s', a.aggserialfn::regproc) END,
        CASE WHEN a.aggdeserialfn <> 0 THEN pg_catalog.format('deserialfunc %s', a.aggdeserialfn::regproc) END,
        'initcond ' || pg_catalog.quote_literal(a.agginitval),
        CASE WHEN a.aggmtransfn <> 0 THEN pg_catalog.format('msfunc %s minvfunc %s mstype %s', a.aggmtransfn::regproc,
            a.aggminvtransfn::regproc, pg_catalog.format_type(a.aggmtranstype, NULL)) END,
        CASE WHEN a.aggmfinalfn <> 0 THEN pg_catalog.format('mfinalfunc %s', a.aggmfinalfn::regproc) END,
        'minitcond ' || pg_catalog.quote_literal(a.aggminitval),
        CASE WHEN a.aggsortop <> 0 THEN pg_catalog.format('sortop %s', a.aggsortop::regoperator) END,
        CASE p.proparallel WHEN 's' THEN 'parallel safe' WHEN 'r' THEN 'parallel restricted' END), NULL
    FROM routines r
    JOIN pg_catalog.pg_aggregate a ON a.aggfnoid = r.oid
    JOIN pg_catalog.pg_proc p ON p.oid = r.oid
    UNION ALL
    SELECT 'pg_catalog.pg_collation'::regclass, c.oid, 1, '', pg_catalog.concat_ws(' ',
        'provider', CASE c.collprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'default' END,
        -- 15 and 16 call the locale another name than 17, and older ones had it in collcollate.
        'locale ' || pg_catalog.quote_literal(coalesce(j.c ->> 'colllocale', j.c ->> 'colliculocale', j.c ->> 'collcollate')),
        CASE WHEN j.c ->> 'collctype' <> j.c ->> 'collcollate' THEN pg_catalog.format('ctype %L', j.c ->> 'collctype') END,
        'rules ' || pg_catalog.quote_literal(j.c ->> 'collicurules'),
        CASE WHEN NOT c.collisdeterministic THEN 'not deterministic' END), NULL
    FROM pg_catalog.pg_collation c
    CROSS JOIN LATERAL (SELECT pg_catalog.to_jsonb(c) AS c) j
    WHERE c.oid >= 16384
    UNION ALL
    SELECT 'pg_catalog.pg_operator'::regclass, o.oid, 1, '', pg_catalog.concat_ws(' ',
        pg_catalog.format('function %s', o.oprcode::regproc),
        CASE WHEN o.oprcom <> 0 THEN pg_catalog.format('commutator %s', o.oprcom::regoperator) END,
        CASE WHEN o.oprnegate <> 0 THEN pg_catalog.format('negator %s', o.oprnegate::regoperator) END,
        CASE WHEN o.oprrest <> 0 THEN pg_catalog.format('restrict %s', o.oprrest::regproc) END,
        CASE WHEN o.oprjoin <> 0 THEN pg_catalog.format('join %s', o.oprjoin::regproc) END,
        CASE WHEN o.oprcanhash THEN 'hashes' END,
        CASE WHEN o.oprcanmerge THEN 'merges' END), NULL
    FROM pg_catalog.pg_operator o
    WHERE o.oid >= 16384
    UNION ALL
    SELECT 'pg_catalog.pg_opclass'::regclass, c.oid, 1, '', pg_catalog.concat_ws(' ',
        CASE WHEN c.opcdefault THEN 'default' END,
        pg_catalog.format('for type %s family %I.%I', c.opcintype::regtype, n.nspname, f.opfname),
        CASE WHEN c.opckeytype <> 0 THEN pg_catalog.format('storage %s', c.opckeytype::regtype) END), NULL
    FROM pg_catalog.pg_opclass c
    JOIN pg_catalog.pg_opfamily f ON f.oid = c.opcfamily
    JOIN pg_catalog.pg_namespace n ON n.oid = f.opfnamespace
    WHERE c.oid >= 16384
    UNION ALL
    SELECT 'pg_catalog.pg_opclass'::regclass, c.oid, 2, pg_catalog.lpad(a.amopstrategy::text, 5, '0'),
        pg_catalog.format('operator %s %s', a.amopstrategy, a.amopopr::regoperator), NULL
    FROM pg_catalog.pg_opclass c
    JOIN pg_catalog.pg_amop a ON a.amopfamily = c.opcfamily AND a.amoplefttype = c.opcintype AND a.amoprighttype = c.opcintype
    WHERE c.oid >= 16384
    UNION ALL
    SELECT 'pg_catalog.pg_opclass'::regclass, c.oid, 3, pg_catalog.lpad(a.amprocnum::text, 5, '0'),
        pg_catalog.format('function %s %s', a.amprocnum, a.amproc::regprocedure), NULL
    FROM pg_catalog.pg_opclass c
    JOIN pg_catalog.pg_amproc a ON a.amprocfamily = c.opcfamily AND a.amproclefttype = c.opcintype AND a.amprocrighttype = c.opcintype
    WHERE c.oid >= 16384
    UNION ALL
    SELECT 'pg_catalog.pg_statistic_ext'::regclass, x.oid, 1, '', pg_catalog.concat_ws(' ',
        pg_catalog.pg_get_statisticsobjdef(x.oid),
        CASE WHEN x.stxstattarget >= 0 THEN pg_catalog.format('STATISTICS %s', x.stxstattarget) END), NULL
    FROM pg_catalog.pg_statistic_ext x
    UNION ALL
    SELECT 'pg_catalog.pg_ts_config'::regclass, c.oid, 1, '', pg_catalog.format('parser %I.%I', n.nspname, p.prsname), NULL
    FROM pg_catalog.pg_ts_config c
    JOIN pg_catalog.pg_ts_parser p ON p.oid = c.cfgparser
    JOIN pg_catalog.pg_namespace n ON n.oid = p.prsnamespace
    WHERE c.oid >= 16384
    UNION ALL
    SELECT 'pg_catalog.pg_ts_config'::regclass, c.oid, 2, t.alias, pg_catalog.format('mapping for %s with %s', t.alias,
        (SELECT pg_catalog.string_agg(m.mapdict::regdictionary::text, ', ' ORDER BY m.mapseqno)
         FROM pg_catalog.pg_ts_config_map m
         WHERE m.mapcfg = c.oid AND m.maptokentype = t.tokid)), NULL
    FROM pg_catalog.pg_ts_config c
    CROSS JOIN LATERAL pg_catalog.ts_token_type(c.cfgparser) t
    WHERE c.oid >= 16384
      AND EXISTS (SELECT FROM pg_catalog.pg_ts_config_map m WHERE m.mapcfg = c.oid AND m.maptokentype = t.tokid)
    UNION ALL
    SELECT 'pg_catalog.pg_ts_dict'::regclass, d.oid, 1, '', pg_catalog.concat_ws(' ',
        pg_catalog.format('template %I.%I', n.nspname, t.tmplname), d.dictinitoption), NULL
    FROM pg_catalog.pg_ts_dict d
    JOIN pg_catalog.pg_ts_template t ON t.oid = d.dicttemplate
    JOIN pg_catalog.pg_namespace n ON n.oid = t.tmplnamespace
    WHERE d.oid >= 16384
    UNION ALL
    SELECT d.classoid, d.objoid, 90, '', pg_catalog.format('comment %L', d.description), NULL
    FROM pg_catalog.pg_description d
    -- That of every new database.
    WHERE d.objsubid = 0 AND (d.classoid, d.description) <> ('pg_catalog.pg_namespace'::regclass, 'standard public schema')
)
SELECT o.schema, o.kind, o.name, NULL AS "table", a.part, a.key, a.line, a.code
FROM objects o
JOIN about a ON a.class = o.class AND a.oid = o.oid
WHERE NOT EXISTS (SELECT FROM members m WHERE m.classid = o.class AND m.objid = o.oid);
