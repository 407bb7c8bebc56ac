-- The settings of a session: for its whole life, or, if {local} is true, for its transaction. Limits that the operator has set
-- in the URL's options stay. What this server does not have is left out.
WITH s (name, value, always) AS (
    VALUES ('statement_timeout', '0', false),
           ('lock_timeout', '{lock_timeout}', false),
           ('idle_in_transaction_session_timeout', '0', false),
           ('idle_session_timeout', '0', false),
           ('transaction_timeout', '0', false),
           ('client_connection_check_interval', '1s', false),
           ('tcp_keepalives_idle', '6', false),
           ('tcp_keepalives_interval', '3', false),
           ('tcp_keepalives_count', '8', false),
           ('tcp_user_timeout', '29000', false),
           ('default_transaction_isolation', 'read committed', true),
           ('TimeZone', 'UTC', true),
           ('DateStyle', 'ISO', true),
           ('IntervalStyle', 'postgres', true),
           ('bytea_output', 'hex', true),
           ('extra_float_digits', '1', true),
           ('transform_null_equals', 'off', true),
           ('row_security', 'off', true),
           ('quote_all_identifiers', 'off', true),
           ('standard_conforming_strings', 'on', true)
)
SELECT pg_catalog.set_config(s.name, s.value, {local})
FROM {from}
WHERE pg_catalog.current_setting(s.name, true) IS NOT NULL
