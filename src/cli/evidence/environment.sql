-- Server, database, role and settings, as one object. No value here can be a secret: settings are named one by one.
SELECT pg_catalog.jsonb_build_object(
    'server', pg_catalog.jsonb_build_object(
        'version', pg_catalog.version(),
        'address', pg_catalog.host(pg_catalog.inet_server_addr()),
        'port', pg_catalog.inet_server_port(),
        'started', pg_catalog.pg_postmaster_start_time(),
        'standby', pg_catalog.pg_is_in_recovery()
    ),
    'database', (
        SELECT pg_catalog.jsonb_build_object(
            'name', d.datname,
            'oid', d.oid::bigint,
            'owner', pg_catalog.pg_get_userbyid(d.datdba),
            'encoding', pg_catalog.pg_encoding_to_char(d.encoding),
            'collate', d.datcollate,
            'ctype', d.datctype
        )
        FROM pg_catalog.pg_database d
        WHERE d.datname = pg_catalog.current_database()
    ),
    'role', (
        SELECT pg_catalog.jsonb_build_object(
            'session', session_user,
            'current', current_user,
            'superuser', r.rolsuper,
            'bypasses_row_security', r.rolbypassrls,
            'member_of', ARRAY(
                SELECT m.rolname::text
                FROM pg_catalog.pg_auth_members a
                JOIN pg_catalog.pg_roles m ON m.oid = a.roleid
                WHERE a.member = r.oid
                ORDER BY 1
            )
        )
        FROM pg_catalog.pg_roles r
        WHERE r.rolname = current_user
    ),
    'settings', (
        SELECT pg_catalog.jsonb_object_agg(s.name, pg_catalog.concat(s.setting, s.unit))
        FROM pg_catalog.pg_settings s
        WHERE s.name IN (
            'search_path', 'default_transaction_isolation', 'default_transaction_read_only', 'row_security', 'statement_timeout',
            'lock_timeout', 'idle_in_transaction_session_timeout', 'TimeZone', 'DateStyle', 'client_encoding', 'server_encoding',
            'standard_conforming_strings', 'fsync', 'full_page_writes', 'synchronous_commit', 'wal_level', 'data_checksums',
            'max_connections', 'maintenance_work_mem', 'work_mem', 'shared_preload_libraries', 'session_replication_role',
            'default_tablespace', 'default_table_access_method', 'check_function_bodies', 'event_triggers', 'ssl'
        )
    )
) AS found
