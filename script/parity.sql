-- Compares task_usage_hourly with the raw usage, bucket by bucket; fails if any differs.
CREATE TEMP TABLE raw AS
SELECT
    date_trunc('hour', u.created_at, 'UTC') AS bucket_hour, a.workspace_id, t.runtime_id, t.agent_id, i.project_id,
    u.provider, u.model, sum(u.input_tokens)::bigint AS input_tokens, sum(u.output_tokens)::bigint AS output_tokens,
    sum(u.cache_read_tokens)::bigint AS cache_read_tokens, sum(u.cache_write_tokens)::bigint AS cache_write_tokens,
    count(DISTINCT u.task_id) AS task_count, count(*) AS event_count
FROM task_usage u
JOIN agent_task_queue t ON t.id = u.task_id
JOIN agent a ON a.id = t.agent_id
LEFT JOIN issue i ON i.id = t.issue_id
WHERE t.runtime_id IS NOT NULL
GROUP BY 1, 2, 3, 4, 5, 6, 7;

CREATE TEMP TABLE hourly AS
SELECT
    bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model, input_tokens, output_tokens,
    cache_read_tokens, cache_write_tokens, task_count, event_count
FROM task_usage_hourly;

SELECT * FROM (
    SELECT 'raw rows, added up' AS source, count(*) AS buckets, sum(event_count) AS rows, sum(input_tokens) AS input,
           sum(output_tokens) AS output, sum(cache_read_tokens) AS cache_read, sum(cache_write_tokens) AS cache_write
    FROM raw
    UNION ALL
    SELECT 'task_usage_hourly', count(*), sum(event_count), sum(input_tokens),
           sum(output_tokens), sum(cache_read_tokens), sum(cache_write_tokens)
    FROM hourly
    UNION ALL
    SELECT 'tasks without runtime, which do not count', NULL, count(*), sum(u.input_tokens), sum(u.output_tokens),
           sum(u.cache_read_tokens), sum(u.cache_write_tokens)
    FROM task_usage u
    JOIN agent_task_queue t ON t.id = u.task_id
    WHERE t.runtime_id IS NULL
) totals
ORDER BY source;

SELECT
    (SELECT count(*) FROM (TABLE raw EXCEPT TABLE hourly) missing) AS "buckets missing or different",
    (SELECT count(*) FROM (TABLE hourly EXCEPT TABLE raw) extra) AS "buckets too many or different";

DO $$
BEGIN
    IF EXISTS (TABLE raw EXCEPT TABLE hourly) OR EXISTS (TABLE hourly EXCEPT TABLE raw) THEN
        RAISE EXCEPTION 'task_usage_hourly differs from the raw usage';
    END IF;
END
$$;
