-- Moves the watermark to the horizon $1; back only where it is ahead of the clock.
UPDATE task_usage_hourly_rollup_state s
SET watermark_at = CASE WHEN s.watermark_at <= pg_catalog.now() THEN greatest(s.watermark_at, p.passed) ELSE p.passed END
-- If the clock has been set back since the horizon was read, the watermark keeps the same distance from it.
FROM (SELECT $1::text::timestamptz) h (horizon),
     LATERAL (SELECT least(h.horizon, pg_catalog.clock_timestamp() - (pg_catalog.now() - h.horizon))) p (passed)
WHERE s.id = 1
RETURNING s.watermark_at::text AS watermark
