-- The windows that are on one side only, or whose numbers differ. Within an identity, empty and missing are the same. A side
-- with several rows of one identity is grouped, and they are added up; one without need not be, which saves half the time. $1
-- and $2: the range of window starts.
WITH exported AS (
    SELECT x.window_start, x.window_end, {identity_of_export}, {numbers_of_export}
    FROM pg_temp.usage_export x
    {grouped_export}
),
recorded AS (
    SELECT e.window_start, e.window_end, {identity_of_database}, {numbers_of_database}
    FROM {database} e
    WHERE e.window_start >= coalesce($1, '-infinity'::timestamptz)
      AND e.window_start < coalesce($2, 'infinity'::timestamptz)
    {grouped_database}
)
INSERT INTO pg_temp.usage_difference
SELECT CASE WHEN r.num_model_requests IS NULL THEN 'db' WHEN x.num_model_requests IS NULL THEN 'csv' END,
       window_start,
       window_end,
       nullif(project_id, ''),
       nullif(user_id, ''),
       nullif(api_key_id, ''),
       nullif(model, ''),
       nullif(service_tier, ''),
       CASE batch WHEN 1 THEN true WHEN 0 THEN false END,
       CASE WHEN x.num_model_requests IS NOT NULL THEN ARRAY[{of_export}] END,
       CASE WHEN r.num_model_requests IS NOT NULL THEN ARRAY[{of_database}] END
FROM exported x
FULL JOIN recorded r USING (window_start, window_end, project_id, user_id, api_key_id, model, service_tier, batch)
WHERE ({of_export}) IS DISTINCT FROM ({of_database})
