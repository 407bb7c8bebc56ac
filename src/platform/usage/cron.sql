-- Whether pg_cron is in this database, which other database its jobs are kept in, and what this role may read of them.
WITH its AS (
    SELECT c.relname,
           pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT') AS readable
    FROM pg_catalog.pg_namespace n
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname IN ('job', 'job_run_details')
    WHERE n.nspname = 'cron'
)
SELECT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'pg_cron') AS here,
       -- Settings that a role may not see are not listed.
       (SELECT nullif(nullif(s.setting, ''), pg_catalog.current_database())
        FROM pg_catalog.pg_settings s
        WHERE s.name = 'cron.database_name') AS home,
       coalesce((SELECT readable FROM its WHERE relname = 'job'), false) AS jobs,
       coalesce((SELECT readable FROM its WHERE relname = 'job_run_details'), false) AS runs,
       (SELECT r.rolsuper OR r.rolbypassrls FROM pg_catalog.pg_roles r WHERE r.rolname = current_user) AS all
