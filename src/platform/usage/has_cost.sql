-- Whether usage and buckets have columns for cost.
SELECT pg_catalog.count(*) = 6 AS costed
FROM pg_catalog.pg_attribute a
WHERE NOT a.attisdropped
  AND (a.attrelid = pg_catalog.to_regclass('task_usage')::oid AND a.attname = 'cost_usd_ticks'
       OR a.attrelid = pg_catalog.to_regclass('task_usage_hourly')::oid
          AND a.attname IN ('cost_usd_ticks', 'uncosted_input_tokens', 'uncosted_output_tokens',
                            'uncosted_cache_read_tokens', 'uncosted_cache_write_tokens'))
