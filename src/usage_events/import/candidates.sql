-- The missing windows as rows of the table.
INSERT INTO pg_temp.insertion ({columns})
SELECT k.key_id, d.model, d.window_start, d.window_start, d.window_end, d.project_id, d.user_id, d.api_key_id, d.service_tier,
       d.batch, {metrics}
FROM pg_temp.usage_difference d
JOIN pg_temp.usage_key k ON k.api_key_id = coalesce(d.api_key_id, '')
WHERE d.missing_in = 'db'
