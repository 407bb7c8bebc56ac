-- The settings of a session: for its whole life, or, if {local} is true, for its transaction. Limits that the operator has set
-- in the URL's options stay: only the server's list of all settings tells which those are. What this server does not have is
-- left out.
WITH s (name, value, always) AS (
    VALUES {values}
)
SELECT pg_catalog.set_config(s.name, s.value, {local})
FROM pg_catalog.pg_settings g
JOIN s ON g.name = s.name AND (s.always OR g.source <> 'client')
