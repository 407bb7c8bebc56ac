-- The hours whose rebuild waits in the queue that our triggers fill; '-infinity' for all of them.
WITH waiting_tasks AS (
    SELECT q.task_id FROM task_usage_hourly_invalidation q WHERE q.task_id IS NOT NULL
    UNION
    SELECT t.id
    FROM (SELECT DISTINCT q.issue_id, q.agent_id FROM task_usage_hourly_invalidation q
          WHERE num_nonnulls(q.issue_id, q.agent_id) = 1) q
    CROSS JOIN LATERAL (
        SELECT t.id FROM agent_task_queue t WHERE t.issue_id = q.issue_id
        UNION ALL
        SELECT t.id FROM agent_task_queue t WHERE t.agent_id = q.agent_id
        OFFSET 0
    ) t
)
SELECT q.bucket_hour FROM task_usage_hourly_invalidation q WHERE q.bucket_hour IS NOT NULL
UNION
SELECT date_trunc('hour', u.created_at, 'UTC')
FROM waiting_tasks w
CROSS JOIN LATERAL (SELECT u.created_at FROM task_usage u WHERE u.task_id = w.task_id OFFSET 0) u
