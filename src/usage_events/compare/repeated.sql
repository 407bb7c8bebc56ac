-- Whether a side has several rows of one identity. $1 and $2: the range of window starts.
SELECT EXISTS (
    SELECT
    FROM (SELECT s.window_start, s.window_end, {identity} FROM {side} s) s
    WHERE s.window_start >= coalesce($1, '-infinity'::timestamptz)
      AND s.window_start < coalesce($2, 'infinity'::timestamptz)
    GROUP BY s.window_start, s.window_end, s.project_id, s.user_id, s.api_key_id, s.model, s.service_tier, s.batch
    HAVING pg_catalog.count(*) > 1
) AS is_repeated
