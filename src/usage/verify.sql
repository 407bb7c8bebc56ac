-- Buckets of [$1, $2) that are not what the raw rows add up to, as it was written down in the platform's specification
-- and on purpose without any function of the rollup. First a row with the number of buckets that the raw rows make.
--
-- $3 a workspace, or NULL for all · $4 the watermark. Rows changed between that and now wait for the next tick; one dated
-- in the future has reported itself.
--
-- Every table is reached by index from the step before, whatever the statistics say: OFFSET 0 sees to it.
WITH raw AS (
    SELECT
        date_trunc('hour', u.created_at, 'UTC') AS bucket_hour,
        o.workspace_id,
        o.runtime_id,
        o.agent_id,
        o.project_id,
        u.provider,
        u.model,
        sum(u.input_tokens)::bigint       AS input_tokens,
        sum(u.output_tokens)::bigint      AS output_tokens,
        sum(u.cache_read_tokens)::bigint  AS cache_read_tokens,
        sum(u.cache_write_tokens)::bigint AS cache_write_tokens,
        count(DISTINCT u.task_id)         AS task_count,
        count(*)                          AS event_count,
        bool_or(coalesce(u.updated_at, u.created_at) >= $4::text::timestamptz
                AND coalesce(u.updated_at, u.created_at) <= now()) AS is_new
    FROM task_usage u
    CROSS JOIN LATERAL (
        SELECT a.workspace_id, t.runtime_id, t.agent_id, i.project_id
        FROM agent_task_queue t
        JOIN agent a ON a.id = t.agent_id
        LEFT JOIN issue i ON i.id = t.issue_id
        WHERE t.id = u.task_id
          AND t.runtime_id IS NOT NULL
          AND ($3::uuid IS NULL OR a.workspace_id = $3)
        OFFSET 0
    ) o
    WHERE u.created_at >= $1::timestamptz
      AND u.created_at < $2::timestamptz
    GROUP BY 1, 2, 3, 4, 5, 6, 7
),
stored AS (
    SELECT h.*
    FROM task_usage_hourly h
    WHERE h.bucket_hour >= $1
      AND h.bucket_hour < $2
      AND ($3 IS NULL OR h.workspace_id = $3)
)
SELECT
    'buckets', count(*), NULL::timestamptz, NULL::uuid, NULL::uuid, NULL::uuid, NULL::uuid, NULL::text, NULL::text,
    NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint,
    NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::boolean
FROM raw
UNION ALL
SELECT
    CASE WHEN s.bucket_hour IS NULL THEN 'missing' WHEN r.bucket_hour IS NULL THEN 'extra' ELSE 'different' END,
    0,
    coalesce(r.bucket_hour, s.bucket_hour),
    coalesce(r.workspace_id, s.workspace_id),
    coalesce(r.runtime_id, s.runtime_id),
    coalesce(r.agent_id, s.agent_id),
    coalesce(r.project_id, s.project_id),
    coalesce(r.provider, s.provider),
    coalesce(r.model, s.model),
    coalesce(r.input_tokens, 0), coalesce(r.output_tokens, 0), coalesce(r.cache_read_tokens, 0),
    coalesce(r.cache_write_tokens, 0), coalesce(r.task_count, 0), coalesce(r.event_count, 0),
    coalesce(s.input_tokens, 0), coalesce(s.output_tokens, 0), coalesce(s.cache_read_tokens, 0),
    coalesce(s.cache_write_tokens, 0), coalesce(s.task_count, 0), coalesce(s.event_count, 0),
    coalesce(r.is_new, false)
FROM raw r
FULL JOIN stored s
    ON  s.bucket_hour = r.bucket_hour
    AND s.workspace_id = r.workspace_id
    AND s.runtime_id = r.runtime_id
    AND s.agent_id = r.agent_id
    AND coalesce(s.project_id, '00000000-0000-0000-0000-000000000000')
      = coalesce(r.project_id, '00000000-0000-0000-0000-000000000000')
    AND s.provider = r.provider
    AND s.model = r.model
WHERE (r.bucket_hour, r.input_tokens, r.output_tokens, r.cache_read_tokens, r.cache_write_tokens,
       r.task_count, r.event_count)
    IS DISTINCT FROM
      (s.bucket_hour, s.input_tokens, s.output_tokens, s.cache_read_tokens, s.cache_write_tokens,
       s.task_count, s.event_count)
