-- Puts buckets, a column each from $1 to $7, into the queue of an older program, as if they had changed a second ago.
INSERT INTO task_usage_hourly_dirty AS d (
    bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model, enqueued_at
)
SELECT k.*, pg_catalog.now() - interval '1 second'
FROM ROWS FROM (
    pg_catalog.unnest($1::timestamptz[]),
    pg_catalog.unnest($2::uuid[]),
    pg_catalog.unnest($3::uuid[]),
    pg_catalog.unnest($4::uuid[]),
    pg_catalog.unnest($5::uuid[]),
    pg_catalog.unnest($6::text[]),
    pg_catalog.unnest($7::text[])
) k
ORDER BY 1, 2, 3, 4, 5, 6, 7
ON CONFLICT ON CONSTRAINT uq_task_usage_hourly_dirty_key DO UPDATE SET
    enqueued_at = least(d.enqueued_at, excluded.enqueued_at)
