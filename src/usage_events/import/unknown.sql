-- Missing windows that cannot be inserted: of keys that nobody knows, and without a model.
SELECT pg_catalog.count(*) FILTER (WHERE d.model IS NULL) AS without_model,
       pg_catalog.count(DISTINCT coalesce(d.api_key_id, '')) FILTER (WHERE k.key_id IS NULL) AS unknown,
       (pg_catalog.array_agg(DISTINCT coalesce(d.api_key_id, '')) FILTER (WHERE k.key_id IS NULL))[1:20] AS examples
FROM pg_temp.usage_difference d
LEFT JOIN pg_temp.usage_key k ON k.api_key_id = coalesce(d.api_key_id, '')
WHERE d.missing_in = 'db'
