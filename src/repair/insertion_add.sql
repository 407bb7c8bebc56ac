-- The journal of rows to be inserted, from the candidates of this session. What there was before them is nothing.
INSERT INTO migrate.repair_change (run_id, n, key, before, after)
SELECT $1, pg_catalog.row_number() OVER (), c.key::text, '{}'::jsonb,
       pg_catalog.jsonb_build_object('{key}'::text, c.key) || pg_catalog.to_jsonb(c.candidate)
FROM (SELECT i AS candidate, pg_catalog.gen_random_uuid() AS key FROM pg_temp.insertion i) c
