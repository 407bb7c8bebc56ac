-- Compares task_usage_hourly with the raw usage, bucket by bucket; fails if any differs. Where there are no columns for
-- cost yet, their names mean those of "absent". A bucket that is kept out because no bigint holds its sums counts as missing.
CREATE TEMP TABLE raw AS
SELECT
    date_trunc('hour', u.created_at, 'UTC') AS bucket_hour, a.workspace_id, t.runtime_id, t.agent_id, i.project_id,
    u.provider, u.model, sum(u.input_tokens) AS input_tokens, sum(u.output_tokens) AS output_tokens,
    sum(u.cache_read_tokens) AS cache_read_tokens, sum(u.cache_write_tokens) AS cache_write_tokens,
    count(DISTINCT u.task_id) AS task_count, count(*) AS event_count,
    coalesce(sum(u.cost), 0) AS cost_usd_ticks,
    coalesce(sum(u.input_tokens) FILTER (WHERE u.cost IS NULL), 0) AS uncosted_input,
    coalesce(sum(u.output_tokens) FILTER (WHERE u.cost IS NULL), 0) AS uncosted_output,
    coalesce(sum(u.cache_read_tokens) FILTER (WHERE u.cost IS NULL), 0) AS uncosted_cache_read,
    coalesce(sum(u.cache_write_tokens) FILTER (WHERE u.cost IS NULL), 0) AS uncosted_cache_write
FROM (SELECT NULL::bigint AS cost_usd_ticks) AS absent
CROSS JOIN LATERAL (SELECT r.*, cost_usd_ticks AS cost FROM task_usage r) u
JOIN agent_task_queue t ON t.id = u.task_id
JOIN agent a ON a.id = t.agent_id
LEFT JOIN issue i ON i.id = t.issue_id
WHERE t.runtime_id IS NOT NULL
GROUP BY 1, 2, 3, 4, 5, 6, 7;

CREATE TEMP TABLE hourly AS
SELECT h.*
FROM (
    SELECT
        0::bigint AS cost_usd_ticks, NULL::bigint AS uncosted_input_tokens, NULL::bigint AS uncosted_output_tokens,
        NULL::bigint AS uncosted_cache_read_tokens, NULL::bigint AS uncosted_cache_write_tokens
) AS absent
CROSS JOIN LATERAL (
    SELECT
        bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model, input_tokens, output_tokens,
        cache_read_tokens, cache_write_tokens, task_count, event_count, cost_usd_ticks,
        coalesce(uncosted_input_tokens, input_tokens) AS uncosted_input,
        coalesce(uncosted_output_tokens, output_tokens) AS uncosted_output,
        coalesce(uncosted_cache_read_tokens, cache_read_tokens) AS uncosted_cache_read,
        coalesce(uncosted_cache_write_tokens, cache_write_tokens) AS uncosted_cache_write
    FROM task_usage_hourly
) h;

SELECT * FROM (
    SELECT 'raw rows, added up' AS source, count(*) AS buckets, sum(event_count) AS rows, sum(input_tokens) AS input,
           sum(output_tokens) AS output, sum(cache_read_tokens) AS cache_read, sum(cache_write_tokens) AS cache_write,
           sum(cost_usd_ticks) AS cost_ticks
    FROM raw
    UNION ALL
    SELECT 'task_usage_hourly', count(*), sum(event_count), sum(input_tokens),
           sum(output_tokens), sum(cache_read_tokens), sum(cache_write_tokens), sum(cost_usd_ticks)
    FROM hourly
    UNION ALL
    SELECT 'tasks without runtime, which do not count', NULL, count(*), sum(u.input_tokens), sum(u.output_tokens),
           sum(u.cache_read_tokens), sum(u.cache_write_tokens), NULL
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
