-- The parts of the rollup in force that are not ours, a row each. A function is recognised by the objects it uses, so that
-- those of earlier builds count as ours as well.
WITH functions (signature, works_with) AS (
    VALUES
        ('rollup_task_usage_hourly_window(timestamptz, timestamptz)', 'task_usage_hourly_(take_reports|invalidation)'),
        ('rollup_task_usage_hourly()', 'task_usage_hourly_horizon'),
        ('task_usage_hourly_rebuild(timestamptz[])', 'task_usage_hourly_(computed|of)'),
        ('task_usage_hourly_horizon()', 'pg_locks')
),
reported (table_name, event, bit) AS (
    VALUES
        ('task_usage', 'INSERT', 4),
        ('task_usage', 'DELETE', 8),
        ('task_usage', 'UPDATE', 16),
        ('task_usage', 'TRUNCATE', 32),
        ('agent_task_queue', 'UPDATE', 16),
        ('issue', 'DELETE', 8),
        ('issue', 'UPDATE', 16),
        ('agent', 'DELETE', 8),
        ('agent', 'UPDATE', 16)
)
SELECT
    pg_catalog.format(
        CASE WHEN p.oid IS NULL THEN 'function %s does not exist' ELSE 'function %s is another program''s' END,
        f.signature) AS what
FROM functions f
LEFT JOIN pg_catalog.pg_proc p ON p.oid = pg_catalog.to_regprocedure(f.signature)::oid
WHERE p.oid IS NULL
   OR p.prosrc !~ f.works_with
UNION ALL
SELECT 'table task_usage_hourly_invalidation does not exist'
WHERE pg_catalog.to_regclass('task_usage_hourly_invalidation') IS NULL
UNION ALL
SELECT pg_catalog.format('no trigger of this program reports %s on %s', r.event, r.table_name)
FROM reported r
WHERE NOT EXISTS (
    SELECT
    FROM pg_catalog.pg_trigger t
    JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgrelid = pg_catalog.to_regclass(r.table_name)::oid
      AND t.tgtype::int & r.bit > 0
      -- Not BEFORE: a later trigger may still suppress the write.
      AND t.tgtype::int & 2 = 0
      AND t.tgenabled IN ('O', 'A')
      AND p.prosrc ~ 'task_usage_hourly_invalidation'
)
