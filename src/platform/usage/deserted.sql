-- Rebuilds the hours of [$1, $2) that have buckets, also kept out ones, but no usage. That deletes these buckets. From each
-- hour one step to the next that has a bucket.
WITH RECURSIVE stored AS (
    SELECT task_usage_hour_bucket(pg_catalog.min(h.bucket_hour)) AS hour
    FROM task_usage_hourly h
    WHERE h.bucket_hour >= $1::timestamptz
      AND h.bucket_hour < $2::timestamptz
    UNION ALL
    SELECT (
        SELECT task_usage_hour_bucket(pg_catalog.min(h.bucket_hour))
        FROM task_usage_hourly h
        WHERE h.bucket_hour >= s.hour + interval '1 hour'
          AND h.bucket_hour < $2
    )
    FROM stored s
    WHERE s.hour IS NOT NULL
)
SELECT task_usage_hourly_rebuild(coalesce(pg_catalog.array_agg(s.hour), '{}')) AS buckets
FROM (
    SELECT t.hour FROM stored t
    UNION
    SELECT k.bucket_hour FROM task_usage_hourly_too_large k WHERE k.bucket_hour >= $1 AND k.bucket_hour < $2
) s
WHERE s.hour IS NOT NULL
  AND NOT EXISTS (
      SELECT FROM task_usage u WHERE u.created_at >= s.hour AND u.created_at < s.hour + interval '1 hour' OFFSET 0
  )
