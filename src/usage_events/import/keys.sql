-- The keys of the application that the provider's keys stand for: those that were named, and those that recorded windows tell
-- without contradiction.
INSERT INTO pg_temp.usage_key (api_key_id, key_id)
SELECT e.openai_api_key_id, pg_catalog.min(e.key_id::text)::uuid
FROM usage_events e
WHERE e.openai_api_key_id <> ''
GROUP BY e.openai_api_key_id
HAVING pg_catalog.count(DISTINCT e.key_id) = 1
ON CONFLICT DO NOTHING
