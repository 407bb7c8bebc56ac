-- Code of a role that is not a superuser, which a superuser's session would run: the object, its owner, whether the owner may
-- log in, and which code would run. No row if there is none.
-- $1: tables. $2: functions that are going to be called. $3: whether the tables are going to be written, or only read.
-- A session that reads the tables also reads the schema migrate. authority_history.sql checks writing there.
WITH RECURSIVE named AS (
    SELECT n.at, c.oid, true AS written
    FROM pg_catalog.unnest($1::text[]) WITH ORDINALITY AS n (name, at)
    JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(n.name)::oid
    UNION ALL
    SELECT 500::bigint, c.oid, false
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'migrate'
      AND {own_table}
      AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
),
-- A query reads the partitions and children of a table, too.
family AS (
    SELECT n.at, n.oid, n.written FROM named n
    UNION
    SELECT f.at, i.inhrelid, f.written FROM family f JOIN pg_catalog.pg_inherits i ON i.inhparent = f.oid
),
tables AS (
    SELECT f.at, f.written, c.oid, c.relkind, c.relowner
    FROM family f
    JOIN pg_catalog.pg_class c ON c.oid = f.oid
),
found AS (
    SELECT t.at, pg_catalog.format('table %s', t.oid::regclass) AS object, t.relowner AS owner, NULL::text AS what
    FROM tables t
    WHERE $3::boolean AND t.written
    UNION ALL
    SELECT 1000 + n.at, pg_catalog.format('function %s', p.oid::regprocedure), p.proowner, NULL
    FROM pg_catalog.unnest($2::text[]) WITH ORDINALITY AS n (signature, at)
    JOIN pg_catalog.pg_proc p ON p.oid = pg_catalog.to_regprocedure(n.signature)::oid
    UNION ALL
    SELECT 2000 + t.at, pg_catalog.format('function %s', p.oid::regprocedure), p.proowner, NULL
    FROM tables t
    JOIN pg_catalog.pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal
    JOIN pg_catalog.pg_proc p ON p.oid = g.tgfoid
    WHERE $3 AND t.written
    UNION ALL
    -- A view is its owner's query; a foreign table asks a server of its owner's choice.
    SELECT 3000 + t.at, pg_catalog.format('relation %s', t.oid::regclass), t.relowner, 'it is no table, but a query of its owner''s'
    FROM tables t
    WHERE t.relkind NOT IN ('r', 'p')
    UNION ALL
    -- Planning a query can evaluate the predicates of indexes and constraints, and the expressions of statistics and
    -- partition keys.
    SELECT 4000 + t.at, pg_catalog.format('table %s', t.oid::regclass), t.relowner,
           pg_catalog.format('%s calls %s', pg_catalog.pg_describe_object(d.classid, d.objid, 0),
                             pg_catalog.pg_describe_object(d.refclassid, d.refobjid, 0))
    FROM tables t
    JOIN (
        SELECT i.indrelid AS relation, 'pg_catalog.pg_class'::regclass::oid AS class, i.indexrelid AS object
        FROM pg_catalog.pg_index i
        UNION ALL
        SELECT c.conrelid, 'pg_catalog.pg_constraint'::regclass::oid, c.oid FROM pg_catalog.pg_constraint c
        UNION ALL
        SELECT x.stxrelid, 'pg_catalog.pg_statistic_ext'::regclass::oid, x.oid FROM pg_catalog.pg_statistic_ext x
        UNION ALL
        SELECT k.partrelid, 'pg_catalog.pg_class'::regclass::oid, k.partrelid FROM pg_catalog.pg_partitioned_table k
    ) o ON o.relation = t.oid
    -- PostgreSQL's own functions are pinned, and have no rows here.
    JOIN pg_catalog.pg_depend d ON d.classid = o.class AND d.objid = o.object
        AND d.refclassid IN ('pg_catalog.pg_proc'::regclass::oid, 'pg_catalog.pg_operator'::regclass::oid)
    -- Functions of an extension are trusted: a role that may install extensions brought them.
    WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend e
        WHERE e.classid = d.refclassid AND e.objid = d.refobjid AND e.deptype = 'e'
    )
    UNION ALL
    -- A user-defined type brings its own operators and casts. In tables of other programs, only these columns are read.
    SELECT 5000 + t.at, pg_catalog.format('table %s', t.oid::regclass), t.relowner,
           pg_catalog.format('its column %I is of type %s, whose operators are not PostgreSQL''s own', a.attname,
                             pg_catalog.format_type(a.atttypid, a.atttypmod))
    FROM tables t
    JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
    WHERE y.typnamespace <> 'pg_catalog'::regnamespace::oid
      AND (NOT t.written
           OR a.attname IN ('id', 'task_id', 'agent_id', 'runtime_id', 'issue_id', 'workspace_id', 'project_id', 'provider', 'model',
                            'input_tokens', 'output_tokens', 'cache_read_tokens', 'cache_write_tokens', 'cost_usd_ticks',
                            'created_at', 'updated_at', 'bucket_hour', 'enqueued_at', 'watermark_at', 'task_count', 'event_count',
                            'version', 'applied_at'))
      AND NOT EXISTS (
          SELECT FROM pg_catalog.pg_depend e
          WHERE e.classid = 'pg_catalog.pg_type'::regclass::oid AND e.objid = y.oid AND e.deptype = 'e'
      )
)
SELECT f.object, r.rolname::text AS owner, r.rolcanlogin AS may_log_in, f.what
FROM found f
JOIN pg_catalog.pg_roles r ON r.oid = f.owner AND NOT r.rolsuper
ORDER BY f.at
LIMIT 1
