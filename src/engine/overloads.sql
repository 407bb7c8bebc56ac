-- Functions and operators that somebody has made along the search path, or beside the first table ($1), which could be picked
-- instead of ours ($2: signatures) or PostgreSQL's own: what it is, whose, and the statement that removes it. Whoever owns the tables
-- has other ways to have code run, and what belongs to an extension is the work of whoever may install one.
WITH anchor AS (
    SELECT c.relnamespace, c.relowner FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass($1)::oid
),
path AS (
    SELECT n.oid
    FROM pg_catalog.pg_namespace n
    WHERE n.nspname <> 'pg_catalog'
      AND (n.nspname = ANY (pg_catalog.current_schemas(false)) OR n.oid = (SELECT a.relnamespace FROM anchor a))
),
made AS (
    SELECT pg_catalog.format('function %s', p.oid::regprocedure) AS object, p.proowner AS owner,
           CASE p.prokind WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure' ELSE 'function' END AS kind,
           'pg_catalog.pg_proc'::regclass::oid AS class, p.oid
    FROM path
    JOIN pg_catalog.pg_proc p ON p.pronamespace = path.oid
    WHERE p.proname::text IN (SELECT pg_catalog.split_part(s.signature, '(', 1) FROM pg_catalog.unnest($2::text[]) AS s (signature))
          AND NOT EXISTS (
              SELECT FROM pg_catalog.unnest($2::text[]) AS s (signature)
              JOIN anchor a ON a.relnamespace = p.pronamespace
              WHERE pg_catalog.to_regprocedure(s.signature)::oid = p.oid
          )
       OR EXISTS (
           SELECT FROM pg_catalog.pg_proc b
           WHERE b.proname = p.proname AND b.pronamespace = 'pg_catalog'::regnamespace::oid
       )
    UNION ALL
    SELECT pg_catalog.format('operator %s', o.oid::regoperator), o.oprowner, 'operator', 'pg_catalog.pg_operator'::regclass::oid, o.oid
    FROM path
    JOIN pg_catalog.pg_operator o ON o.oprnamespace = path.oid
    WHERE EXISTS (
        SELECT FROM pg_catalog.pg_operator b
        WHERE b.oprname = o.oprname AND b.oprnamespace = 'pg_catalog'::regnamespace::oid
    )
)
SELECT m.object, r.rolname::text AS owner,
       pg_catalog.format('DROP %s %s', pg_catalog.upper(m.kind),
                         CASE m.kind WHEN 'operator' THEN m.oid::regoperator::text ELSE m.oid::regprocedure::text END) AS remedy
FROM made m
JOIN pg_catalog.pg_roles r ON r.oid = m.owner AND NOT r.rolsuper
WHERE NOT EXISTS (SELECT FROM anchor a WHERE a.relowner = m.owner)
  AND m.owner <> (SELECT s.oid FROM pg_catalog.pg_roles s WHERE s.rolname = session_user)
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend e WHERE e.classid = m.class AND e.objid = m.oid AND e.deptype = 'e'
  )
ORDER BY m.kind, m.object
LIMIT 20
