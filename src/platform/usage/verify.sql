-- The buckets of [$1, $2) that differ from the sums of the raw rows, after one row with the number of buckets that the raw
-- rows add up to. Follows the platform's specification, and on purpose calls no function of the rollup.
--
-- $3: a workspace, or NULL for all. $4: the watermark; rows changed after it wait for the next tick, also rows dated in the
-- future.
--
-- Sums are numeric. A sum that exceeds a bigint is limited to its range, and given in full in too_large.
--
-- The lines behind --cost belong to the statement if there are columns for cost. NULL as an uncosted count stands for all
-- tokens of the bucket.
--
-- OFFSET 0 keeps the order of the joins, so that every table is read by index, whatever the statistics say.
WITH summed AS (
    SELECT
        pg_catalog.date_trunc('hour', u.created_at, 'UTC') AS bucket_hour,
        o.workspace_id,
        o.runtime_id,
        o.agent_id,
        o.project_id,
        u.provider,
        u.model,
        pg_catalog.sum(u.input_tokens) AS input_tokens,
        pg_catalog.sum(u.output_tokens) AS output_tokens,
        pg_catalog.sum(u.cache_read_tokens) AS cache_read_tokens,
        pg_catalog.sum(u.cache_write_tokens) AS cache_write_tokens,
        pg_catalog.count(DISTINCT u.task_id) AS task_count,
        pg_catalog.count(*) AS event_count,
        --cost coalesce(pg_catalog.sum(u.cost_usd_ticks), 0) AS cost_usd_ticks,
        --cost coalesce(pg_catalog.sum(u.input_tokens) FILTER (WHERE u.cost_usd_ticks IS NULL), 0) AS uncosted_input_tokens,
        --cost coalesce(pg_catalog.sum(u.output_tokens) FILTER (WHERE u.cost_usd_ticks IS NULL), 0) AS uncosted_output_tokens,
        --cost coalesce(pg_catalog.sum(u.cache_read_tokens) FILTER (WHERE u.cost_usd_ticks IS NULL), 0) AS uncosted_cache_read_tokens,
        --cost coalesce(pg_catalog.sum(u.cache_write_tokens) FILTER (WHERE u.cost_usd_ticks IS NULL), 0) AS uncosted_cache_write_tokens,
        pg_catalog.bool_or(coalesce(u.updated_at, u.created_at) >= $4::text::timestamptz) AS is_new
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
raw AS (
    SELECT
        s.bucket_hour, s.workspace_id, s.runtime_id, s.agent_id, s.project_id, s.provider, s.model,
        s.task_count, s.event_count, s.is_new,
        least(greatest(s.input_tokens, e.lowest), e.highest)::bigint AS input_tokens,
        least(greatest(s.output_tokens, e.lowest), e.highest)::bigint AS output_tokens,
        least(greatest(s.cache_read_tokens, e.lowest), e.highest)::bigint AS cache_read_tokens,
        least(greatest(s.cache_write_tokens, e.lowest), e.highest)::bigint AS cache_write_tokens,
        --cost least(greatest(s.cost_usd_ticks, e.lowest), e.highest)::bigint AS cost_usd_ticks,
        --cost least(greatest(s.uncosted_input_tokens, e.lowest), e.highest)::bigint AS uncosted_input_tokens,
        --cost least(greatest(s.uncosted_output_tokens, e.lowest), e.highest)::bigint AS uncosted_output_tokens,
        --cost least(greatest(s.uncosted_cache_read_tokens, e.lowest), e.highest)::bigint AS uncosted_cache_read_tokens,
        --cost least(greatest(s.uncosted_cache_write_tokens, e.lowest), e.highest)::bigint AS uncosted_cache_write_tokens,
        CASE WHEN NOT s.fits THEN (
            SELECT pg_catalog.jsonb_object_agg(t.name, t.total::text)
            FROM (VALUES
                --cost ('cost_usd_ticks', s.cost_usd_ticks),
                --cost ('uncosted_input_tokens', s.uncosted_input_tokens),
                --cost ('uncosted_output_tokens', s.uncosted_output_tokens),
                --cost ('uncosted_cache_read_tokens', s.uncosted_cache_read_tokens),
                --cost ('uncosted_cache_write_tokens', s.uncosted_cache_write_tokens),
                ('input_tokens', s.input_tokens),
                ('output_tokens', s.output_tokens),
                ('cache_read_tokens', s.cache_read_tokens),
                ('cache_write_tokens', s.cache_write_tokens)
            ) AS t (name, total)
            WHERE t.total NOT BETWEEN e.lowest AND e.highest
        )::text END AS too_large
    FROM (VALUES (-9223372036854775808::numeric, 9223372036854775807::numeric)) AS e (lowest, highest)
    CROSS JOIN LATERAL (
        SELECT
            s.*,
            greatest(
                --cost s.cost_usd_ticks, s.uncosted_input_tokens, s.uncosted_output_tokens,
                --cost s.uncosted_cache_read_tokens, s.uncosted_cache_write_tokens,
                s.input_tokens, s.output_tokens, s.cache_read_tokens, s.cache_write_tokens
            ) <= e.highest
            AND least(
                --cost s.cost_usd_ticks, s.uncosted_input_tokens, s.uncosted_output_tokens,
                --cost s.uncosted_cache_read_tokens, s.uncosted_cache_write_tokens,
                s.input_tokens, s.output_tokens, s.cache_read_tokens, s.cache_write_tokens
            ) >= e.lowest AS fits
        FROM summed s
        OFFSET 0
    ) s
),
stored AS (
    SELECT h.*
    FROM task_usage_hourly h
    WHERE h.bucket_hour >= $1
      AND h.bucket_hour < $2
      AND ($3 IS NULL OR h.workspace_id = $3)
)
SELECT
    NULL AS kind,
    (SELECT pg_catalog.count(*) FROM raw) AS buckets,
    NULL::timestamptz AS bucket_hour, NULL::uuid AS workspace_id, NULL::uuid AS runtime_id, NULL::uuid AS agent_id,
    NULL::uuid AS project_id, NULL::bytea AS provider, NULL::bytea AS model,
    NULL::bigint AS raw_input_tokens, NULL::bigint AS raw_output_tokens,
    NULL::bigint AS raw_cache_read_tokens, NULL::bigint AS raw_cache_write_tokens,
    NULL::bigint AS raw_tasks, NULL::bigint AS raw_events,
    NULL::bigint AS stored_input_tokens, NULL::bigint AS stored_output_tokens,
    NULL::bigint AS stored_cache_read_tokens, NULL::bigint AS stored_cache_write_tokens,
    NULL::bigint AS stored_tasks, NULL::bigint AS stored_events,
    --cost NULL::bigint AS raw_cost, NULL::bigint AS raw_uncosted_input_tokens,
    --cost NULL::bigint AS raw_uncosted_output_tokens, NULL::bigint AS raw_uncosted_cache_read_tokens,
    --cost NULL::bigint AS raw_uncosted_cache_write_tokens,
    --cost NULL::bigint AS stored_cost, NULL::bigint AS stored_uncosted_input_tokens,
    --cost NULL::bigint AS stored_uncosted_output_tokens, NULL::bigint AS stored_uncosted_cache_read_tokens,
    --cost NULL::bigint AS stored_uncosted_cache_write_tokens,
    NULL::boolean AS is_new,
    NULL::text AS too_large
UNION ALL
SELECT
    CASE WHEN r.too_large IS NOT NULL THEN 'too_large' WHEN s.bucket_hour IS NULL THEN 'missing' WHEN r.bucket_hour IS NULL THEN 'extra' ELSE 'different' END,
    0,
    coalesce(r.bucket_hour, s.bucket_hour),
    coalesce(r.workspace_id, s.workspace_id),
    coalesce(r.runtime_id, s.runtime_id),
    coalesce(r.agent_id, s.agent_id),
    coalesce(r.project_id, s.project_id),
    -- As bytes: in a database without an encoding, a name may hold bytes that cannot be sent as text.
    pg_catalog.convert_to(coalesce(r.provider, s.provider), e.encoding),
    pg_catalog.convert_to(coalesce(r.model, s.model), e.encoding),
    coalesce(r.input_tokens, 0), coalesce(r.output_tokens, 0), coalesce(r.cache_read_tokens, 0),
    coalesce(r.cache_write_tokens, 0), coalesce(r.task_count, 0), coalesce(r.event_count, 0),
    coalesce(s.input_tokens, 0), coalesce(s.output_tokens, 0), coalesce(s.cache_read_tokens, 0),
    coalesce(s.cache_write_tokens, 0), coalesce(s.task_count, 0), coalesce(s.event_count, 0),
    --cost coalesce(r.cost_usd_ticks, 0), coalesce(r.uncosted_input_tokens, 0), coalesce(r.uncosted_output_tokens, 0),
    --cost coalesce(r.uncosted_cache_read_tokens, 0), coalesce(r.uncosted_cache_write_tokens, 0),
    --cost coalesce(s.cost_usd_ticks, 0)::bigint, coalesce(s.uncosted_input_tokens, s.input_tokens, 0)::bigint,
    --cost coalesce(s.uncosted_output_tokens, s.output_tokens, 0)::bigint,
    --cost coalesce(s.uncosted_cache_read_tokens, s.cache_read_tokens, 0)::bigint,
    --cost coalesce(s.uncosted_cache_write_tokens, s.cache_write_tokens, 0)::bigint,
    coalesce(r.is_new, false),
    r.too_large
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
CROSS JOIN (SELECT CASE pg_catalog.getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII'::name ELSE 'UTF8' END) AS e (encoding)
WHERE r.too_large IS NOT NULL
   OR (r.bucket_hour, r.input_tokens, r.output_tokens, r.cache_read_tokens, r.cache_write_tokens,
       --cost r.cost_usd_ticks, r.uncosted_input_tokens, r.uncosted_output_tokens, r.uncosted_cache_read_tokens,
       --cost r.uncosted_cache_write_tokens,
       r.task_count, r.event_count)
    IS DISTINCT FROM
      (s.bucket_hour, s.input_tokens, s.output_tokens, s.cache_read_tokens, s.cache_write_tokens,
       --cost s.cost_usd_ticks, coalesce(s.uncosted_input_tokens, s.input_tokens),
       --cost coalesce(s.uncosted_output_tokens, s.output_tokens),
       --cost coalesce(s.uncosted_cache_read_tokens, s.cache_read_tokens),
       --cost coalesce(s.uncosted_cache_write_tokens, s.cache_write_tokens),
       s.task_count, s.event_count)
