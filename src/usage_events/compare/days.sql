-- Both sides by UTC day. $1 and $2: the range of window starts.
SELECT coalesce(x.day, r.day)::text AS day,
       coalesce(x.rows, 0) AS rows_of_export,
       coalesce(r.rows, 0) AS rows_of_database,
       x.sums AS export,
       r.sums AS recorded
FROM (
    SELECT (window_start AT TIME ZONE 'UTC')::date AS day, pg_catalog.count(*) AS rows, ARRAY[{sums_of_export}] AS sums
    FROM pg_temp.usage_export
    GROUP BY 1
) x
FULL JOIN (
    SELECT (window_start AT TIME ZONE 'UTC')::date AS day, pg_catalog.count(*) AS rows, ARRAY[{sums_of_database}] AS sums
    FROM {database} e
    WHERE e.window_start >= coalesce($1, '-infinity'::timestamptz)
      AND e.window_start < coalesce($2, 'infinity'::timestamptz)
    GROUP BY 1
) r USING (day)
ORDER BY 1
