-- Columns and functions of the hourly rollup that this program does not know: one row, or none. Of task_usage, only numeric
-- columns count; other columns are the application's.
WITH known (table_name, columns) AS (
    VALUES
        ('task_usage', ARRAY[
            'input_tokens', 'output_tokens', 'cache_read_tokens', 'cache_write_tokens', 'cost_usd_ticks']),
        ('task_usage_hourly', ARRAY[
            'bucket_hour', 'workspace_id', 'runtime_id', 'agent_id', 'project_id', 'provider', 'model',
            'input_tokens', 'output_tokens', 'cache_read_tokens', 'cache_write_tokens', 'task_count', 'event_count',
            'updated_at', 'cost_usd_ticks', 'uncosted_input_tokens', 'uncosted_output_tokens',
            'uncosted_cache_read_tokens', 'uncosted_cache_write_tokens']),
        ('task_usage_hourly_dirty', ARRAY[
            'bucket_hour', 'workspace_id', 'runtime_id', 'agent_id', 'project_id', 'provider', 'model', 'enqueued_at']),
        ('task_usage_hourly_rollup_state', ARRAY[
            'id', 'watermark_at', 'last_run_started_at', 'last_run_finished_at', 'last_run_rows', 'last_error'])
),
unknown AS (
    SELECT pg_catalog.format('table %s has column %s', k.table_name, a.attname) AS what
    FROM known k
    JOIN pg_catalog.pg_attribute a ON a.attrelid = pg_catalog.to_regclass(k.table_name)::oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    WHERE a.attname <> ALL (k.columns)
      AND (k.table_name <> 'task_usage' OR t.typcategory = 'N')
    UNION ALL
    SELECT pg_catalog.format('there is a function %s', p.oid::regprocedure)
    FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass('task_usage_hourly')::oid
    -- Functions of other roles do not count.
    WHERE p.pronamespace = c.relnamespace
      AND p.proowner = c.relowner
      AND p.proname IN ('rollup_task_usage_hourly', 'rollup_task_usage_hourly_window')
      AND p.oid <> ALL (ARRAY[
          coalesce(pg_catalog.to_regprocedure('rollup_task_usage_hourly()')::oid, 0),
          coalesce(pg_catalog.to_regprocedure('rollup_task_usage_hourly_window(timestamptz, timestamptz)')::oid, 0)])
)
SELECT pg_catalog.string_agg(u.what, ', ' ORDER BY u.what) AS what
FROM unknown u
HAVING pg_catalog.count(*) > 0
