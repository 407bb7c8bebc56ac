-- Who owns the first table ($1), what this session may do in that role's name, and the first object that it, or we, could not
-- change. $2: tables, $3: functions, as far as they exist.
WITH anchor AS (
    SELECT c.relowner AS owner, n.nspname AS schema
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = pg_catalog.to_regclass($1)::oid
),
objects AS (
    SELECT n.at, pg_catalog.format('table %s', c.oid::regclass) AS object, c.relowner AS owner
    FROM pg_catalog.unnest($2::text[]) WITH ORDINALITY AS n (name, at)
    JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(n.name)::oid
    UNION ALL
    SELECT 1000 + n.at, pg_catalog.format('function %s', p.oid::regprocedure), p.proowner
    FROM pg_catalog.unnest($3::text[]) WITH ORDINALITY AS n (signature, at)
    JOIN pg_catalog.pg_proc p ON p.oid = pg_catalog.to_regprocedure(n.signature)::oid
)
SELECT
    pg_catalog.pg_get_userbyid(a.owner)::text AS owner,
    a.owner = current_user::regrole::oid AS is_ours,
    -- To inherit a role's rights is one thing, to become it is another, and it is the session's role that must be able to.
    pg_catalog.pg_has_role(current_user, a.owner, 'USAGE') AS inherits,
    pg_catalog.pg_has_role(
        session_user, a.owner,
        CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END) AS may_become,
    session_user::text AS session,
    a.schema::text AS schema,
    pg_catalog.has_schema_privilege(a.owner, a.schema, 'CREATE') AS may_create,
    (SELECT ARRAY[o.object, pg_catalog.pg_get_userbyid(o.owner)::text]
     FROM objects o WHERE NOT pg_catalog.pg_has_role(a.owner, o.owner, 'USAGE') ORDER BY o.at LIMIT 1) AS beyond
FROM anchor a
