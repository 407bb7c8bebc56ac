-- What is not as expected: the number of the line, the word for what is wrong (`Fault::parse`), what is there instead, and the
-- name of the index, or of the trigger's table, for a statement.
-- Names are found along the search path, as the older program found them.
-- Looked up once each: inlined, the plan would hold every look-up several times.
WITH expected AS MATERIALIZED (
    SELECT e.n, e.kind, e.owner, e.name, e.of_type, e.present, pg_catalog.to_regclass(pg_catalog.quote_ident(nullif(e.owner, '')))::oid AS owner_oid
    FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::text[]), pg_catalog.unnest($5::boolean[]))
        WITH ORDINALITY AS e (kind, owner, name, of_type, present, n)
    -- Where a whole table is missing, one line says so.
    WHERE e.kind IN ('table', 'function') OR pg_catalog.to_regclass(pg_catalog.quote_ident(nullif(e.owner, ''))) IS NOT NULL
),
found AS MATERIALIZED (
    SELECT
        e.*,
        CASE e.kind
            WHEN 'table' THEN e.owner_oid
            WHEN 'column' THEN (
                SELECT a.atttypid FROM pg_catalog.pg_attribute a
                WHERE a.attrelid = e.owner_oid AND a.attname = e.name AND a.attnum > 0 AND NOT a.attisdropped
            )
            WHEN 'constraint' THEN (
                SELECT c.oid FROM pg_catalog.pg_constraint c WHERE c.conrelid = e.owner_oid AND c.conname = e.name
            )
            WHEN 'index' THEN (
                SELECT c.oid FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
                WHERE i.indrelid = e.owner_oid AND c.relname = e.name
            )
            WHEN 'trigger' THEN (
                SELECT t.oid FROM pg_catalog.pg_trigger t
                WHERE t.tgrelid = e.owner_oid AND t.tgname = e.name AND NOT t.tgisinternal
            )
            WHEN 'function' THEN pg_catalog.to_regprocedure(e.name)::oid
        END AS oid
    FROM expected e
),
judged AS MATERIALIZED (
    SELECT
        f.n,
        f.kind,
        f.name,
        f.oid,
        f.owner_oid,
        CASE
            WHEN NOT f.present THEN CASE WHEN f.oid IS NOT NULL THEN ARRAY['still_there'] END
            WHEN f.oid IS NULL AND f.kind = 'table' THEN coalesce(
                (SELECT ARRAY['elsewhere', n.nspname::text]
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                 WHERE c.relname = f.name AND c.relkind IN ('r', 'p')
                 ORDER BY n.nspname
                 LIMIT 1),
                ARRAY['missing'])
            WHEN f.oid IS NULL THEN ARRAY['missing']
            WHEN f.kind = 'table' THEN (
                SELECT ARRAY['not_a_table'] FROM pg_catalog.pg_class c WHERE c.oid = f.oid AND c.relkind NOT IN ('r', 'p')
            )
            WHEN f.kind = 'column' THEN (
                SELECT ARRAY['type', pg_catalog.format_type(a.oid, NULL)]
                FROM pg_catalog.pg_type a, pg_catalog.pg_type w
                WHERE a.oid = f.oid
                  AND w.oid = pg_catalog.to_regtype(nullif(f.of_type, ''))::oid
                  AND a.oid <> w.oid
                  AND NOT (w.typcategory = 'S' AND a.typcategory IN ('S', 'E'))
                  AND NOT (f.of_type IN ('int', 'smallint') AND a.typcategory = 'N')
            )
            WHEN f.kind = 'constraint' THEN (
                SELECT ARRAY['definition', pg_catalog.pg_get_constraintdef(c.oid)]
                FROM pg_catalog.pg_constraint c
                WHERE c.oid = f.oid AND pg_catalog.pg_get_constraintdef(c.oid) <> nullif(f.of_type, '')
            )
            WHEN f.kind = 'index' THEN (
                -- Whoever builds one without a transaction holds its table in this mode; so does an autovacuum, without a user.
                SELECT CASE WHEN EXISTS (
                    SELECT FROM pg_catalog.pg_locks l
                    JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid AND a.usesysid IS NOT NULL
                    WHERE l.locktype = 'relation'
                      AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
                      AND l.relation = i.indrelid
                      AND l.mode = 'ShareUpdateExclusiveLock'
                      AND l.granted
                ) THEN ARRAY['being_built'] ELSE ARRAY['interrupted'] END
                FROM pg_catalog.pg_index i
                WHERE i.indexrelid = f.oid AND NOT (i.indisvalid AND i.indisready)
            )
            WHEN f.kind = 'trigger' THEN (
                SELECT ARRAY['disabled'] FROM pg_catalog.pg_trigger t WHERE t.oid = f.oid AND t.tgenabled IN ('D', 'R')
            )
            WHEN f.kind = 'function' THEN (
                SELECT ARRAY['returns', pg_catalog.format_type(p.prorettype, NULL)]
                FROM pg_catalog.pg_proc p
                WHERE p.oid = f.oid AND p.prorettype <> pg_catalog.to_regtype(nullif(f.of_type, ''))::oid
            )
        END AS problem
    FROM found f
)
SELECT
    j.n,
    j.problem[1] AS fault,
    j.problem[2] AS found,
    CASE
        WHEN j.oid IS NULL THEN NULL
        WHEN j.kind = 'index' THEN j.oid::regclass::text
        WHEN j.kind = 'trigger' THEN j.owner_oid::regclass::text
    END AS named
FROM judged j
WHERE j.problem IS NOT NULL
ORDER BY j.n
