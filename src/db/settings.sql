-- The settings of a session: for its whole life, or, if {local} is true, for its transaction. Limits that the operator has set
-- in the URL's options stay.
SELECT pg_catalog.set_config(name, CASE name
           WHEN 'lock_timeout' THEN '{lock_timeout}'
           WHEN 'client_connection_check_interval' THEN '1s'
           WHEN 'tcp_keepalives_idle' THEN '6'
           WHEN 'tcp_keepalives_interval' THEN '3'
           WHEN 'tcp_keepalives_count' THEN '8'
           WHEN 'tcp_user_timeout' THEN '29000'
           WHEN 'default_transaction_isolation' THEN 'read committed'
           WHEN 'TimeZone' THEN 'UTC'
           WHEN 'DateStyle' THEN 'ISO'
           WHEN 'IntervalStyle' THEN 'postgres'
           WHEN 'bytea_output' THEN 'hex'
           WHEN 'extra_float_digits' THEN '1'
           WHEN 'transform_null_equals' THEN 'off'
           WHEN 'row_security' THEN 'off'
           WHEN 'quote_all_identifiers' THEN 'off'
           WHEN 'standard_conforming_strings' THEN 'on'
           ELSE '0'
       END, {local})
FROM pg_catalog.pg_settings
WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout',
               'transaction_timeout', 'client_connection_check_interval', 'tcp_keepalives_idle',
               'tcp_keepalives_interval', 'tcp_keepalives_count', 'tcp_user_timeout')
  AND source <> 'client'
   OR name IN ('TimeZone', 'DateStyle', 'default_transaction_isolation', 'row_security', 'quote_all_identifiers',
               'standard_conforming_strings', 'IntervalStyle', 'bytea_output', 'extra_float_digits', 'transform_null_equals')
