-- The UTC months that hold usage, by the time a row last changed: from each month one step to the next row behind it,
-- so that a row from 1970 or 2100 costs two lookups and no empty months. The session's time zone is UTC.
WITH RECURSIVE month AS (
    SELECT date_trunc('month', least(
        (SELECT min({changed}) FROM task_usage u),
        (SELECT min(u.created_at) FROM task_usage u WHERE {legacy})
    )) AS starts
    UNION ALL
    SELECT date_trunc('month', least(
        (SELECT min({changed}) FROM task_usage u WHERE {changed} >= m.starts + interval '1 month'),
        (SELECT min(u.created_at) FROM task_usage u WHERE {legacy} AND u.created_at >= m.starts + interval '1 month')
    ))
    FROM month m
    WHERE m.starts IS NOT NULL
)
SELECT m.starts, m.starts + interval '1 month'
FROM month m
WHERE m.starts IS NOT NULL
ORDER BY m.starts
