-- What this session may do with the history of a tool, $1. $2: the rights that recording a version there takes.
SELECT pg_catalog.has_table_privilege($1::text, 'SELECT') AS readable,
       NOT EXISTS (
           SELECT
           FROM pg_catalog.unnest($2::text[]) p
           WHERE NOT pg_catalog.has_table_privilege($1::text, p)
       ) AS writable,
       -- Of a serial column; that of an identity asks for no right of its own.
       (
           SELECT pg_catalog.format('%I.%I', n.nspname, s.relname)
           FROM pg_catalog.pg_depend d
           JOIN pg_catalog.pg_class s ON s.oid = d.objid
           JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace
           WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
             AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
             AND d.refobjid = $1::text::pg_catalog.regclass
             AND d.deptype = 'a'
             -- Asked of anything else, it is an error.
             AND CASE WHEN s.relkind = 'S' THEN NOT pg_catalog.has_sequence_privilege(s.oid, 'USAGE') END
           LIMIT 1
       ) AS closed_sequence
