-- Made-up usage for a rehearsal: as many rows as migrate.rows says, up to now, one a minute for each of 97 keys and 7 models. So no
-- two are the same in any version of the table.
INSERT INTO usage_events (key_id, model, timestamp, tokens_in, tokens_out, cost_estimate)
SELECT pg_catalog.md5((n % 97)::text)::uuid, 'model-' || n / 97 % 7,
       pg_catalog.date_trunc('minute', pg_catalog.now()) - n / 679 * interval '1 minute',
       n * 7919::bigint % 100000, n * 104729::bigint % 10000, (n % 1000) / 1000.0
FROM pg_catalog.generate_series(0, pg_catalog.current_setting('migrate.rows')::bigint - 1) n;
