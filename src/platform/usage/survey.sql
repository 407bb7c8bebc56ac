-- What there is to roll up, read from the ends of indexes. {legacy} is the condition for rows without updated_at;
-- {watermark} is the watermark, or its initial value if the state table does not exist yet.
WITH ends AS (
    SELECT
        least(
            (SELECT pg_catalog.min({changed}) FROM task_usage u),
            (SELECT pg_catalog.min(u.created_at) FROM task_usage u WHERE {legacy})
        ) AS earliest,
        greatest(
            (SELECT pg_catalog.max({changed}) FROM task_usage u),
            (SELECT pg_catalog.max(u.created_at) FROM task_usage u WHERE {legacy})
        ) AS latest
),
extent AS (
    SELECT
        e.earliest,
        CASE WHEN e.latest < pg_catalog.now() THEN e.latest WHEN e.latest IS NOT NULL THEN pg_catalog.now() END AS latest
    FROM ends e
),
state AS (
    -- A watermark that is ahead of the clock, or infinite, does not tell what has been rolled up.
    SELECT CASE WHEN w.at > pg_catalog.now() OR NOT pg_catalog.isfinite(w.at) THEN 'epoch' ELSE w.at END AS watermark_at
    FROM (SELECT {watermark}) AS w (at)
)
SELECT
    e.earliest::text AS earliest,
    e.latest::text AS latest,
    s.watermark_at::text AS watermark,
    extract(epoch FROM e.latest - s.watermark_at)::float8 AS lag
FROM extent e
CROSS JOIN state s
