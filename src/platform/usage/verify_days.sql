-- The UTC days of [$1, $2) that hold usage or buckets: from each day one step to the next, in two indexes. The session's
-- time zone is UTC.
WITH RECURSIVE day AS (
    SELECT pg_catalog.date_trunc('day', least(
        (SELECT pg_catalog.min(u.created_at) FROM task_usage u WHERE u.created_at >= $1::timestamptz),
        (SELECT pg_catalog.min(h.bucket_hour) FROM task_usage_hourly h WHERE h.bucket_hour >= $1)
    )) AS starts
    UNION ALL
    SELECT pg_catalog.date_trunc('day', least(
        (SELECT pg_catalog.min(u.created_at) FROM task_usage u WHERE u.created_at >= d.starts + interval '1 day'),
        (SELECT pg_catalog.min(h.bucket_hour) FROM task_usage_hourly h WHERE h.bucket_hour >= d.starts + interval '1 day')
    ))
    FROM day d
    WHERE pg_catalog.isfinite(d.starts)
      AND d.starts < $2::timestamptz
)
SELECT greatest(d.starts, $1) AS starts, least(d.starts + interval '1 day', $2) AS ends
FROM day d
WHERE pg_catalog.isfinite(d.starts)
  AND d.starts < $2
ORDER BY d.starts
