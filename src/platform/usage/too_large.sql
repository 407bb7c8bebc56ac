-- The latest $1 buckets that are kept out, each with the number of all. {hour} and {seen} are its times, NULL outside the
-- years 1 to 9998.
SELECT
    pg_catalog.count(*) OVER () AS all_kept_out,
    {hour} AS bucket_hour,
    k.workspace_id,
    k.runtime_id,
    k.agent_id,
    k.project_id,
    pg_catalog.convert_to(k.provider, e.encoding) AS provider,
    pg_catalog.convert_to(k.model, e.encoding) AS model,
    {seen} AS seen_at,
    (SELECT pg_catalog.jsonb_object_agg(s.key, s.value) FROM pg_catalog.jsonb_each_text(k.sums) s)::text AS sums
FROM task_usage_hourly_too_large k
CROSS JOIN (SELECT CASE pg_catalog.getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII'::name ELSE 'UTF8' END) AS e (encoding)
ORDER BY k.bucket_hour DESC, k.workspace_id, k.provider, k.model
LIMIT $1
