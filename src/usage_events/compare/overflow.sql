-- The first window whose rows add up to more than 64 bits hold. $1 and $2: the range of window starts.
SELECT s.window_start::text, s.model, s.project_id
FROM (
    SELECT s.window_start, s.window_end, {identity}, greatest({sums}) AS largest
    FROM {side} s
    WHERE s.window_start >= coalesce($1, '-infinity'::timestamptz)
      AND s.window_start < coalesce($2, 'infinity'::timestamptz)
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
) s
WHERE s.largest > 9223372036854775807
ORDER BY 1, 2, 3
LIMIT 1
