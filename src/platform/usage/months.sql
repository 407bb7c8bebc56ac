-- The UTC months that hold usage, by the time of its last change, or a bucket of {buckets}: from each month one step to the
-- next row after it, so that a row from 1970 or 2100 costs three lookups and no empty months. The session's time zone is
-- UTC.
WITH RECURSIVE month AS (
    SELECT pg_catalog.date_trunc('month', least(
        (SELECT pg_catalog.min({changed}) FROM task_usage u),
        (SELECT pg_catalog.min(u.created_at) FROM task_usage u WHERE {legacy}),
        (SELECT pg_catalog.min(b.bucket_hour) FROM {buckets} b WHERE b.bucket_hour >= '0001-01-01' AND b.bucket_hour < '9999-01-01')
    )) AS starts
    UNION ALL
    SELECT pg_catalog.date_trunc('month', least(
        (SELECT pg_catalog.min({changed}) FROM task_usage u WHERE {changed} >= m.starts + interval '1 month'),
        (SELECT pg_catalog.min(u.created_at) FROM task_usage u WHERE {legacy} AND u.created_at >= m.starts + interval '1 month'),
        (SELECT pg_catalog.min(b.bucket_hour) FROM {buckets} b
         WHERE b.bucket_hour >= m.starts + interval '1 month' AND b.bucket_hour < '9999-01-01')
    ))
    FROM month m
    WHERE m.starts IS NOT NULL
)
SELECT m.starts, m.starts + interval '1 month' AS ends
FROM month m
WHERE m.starts IS NOT NULL
ORDER BY m.starts
