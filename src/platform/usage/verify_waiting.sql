-- The hours whose rebuild waits in the queue that our triggers fill; '-infinity' for all of them.
WITH waiting_tasks AS (
    SELECT q.task_id FROM task_usage_hourly_invalidation q WHERE q.task_id IS NOT NULL
    UNION
    SELECT t.id
    FROM (SELECT DISTINCT q.issue_id FROM task_usage_hourly_invalidation q WHERE q.issue_id IS NOT NULL) q
    JOIN agent_task_queue t ON t.issue_id = q.issue_id
    UNION
    SELECT t.id
    FROM (SELECT DISTINCT q.agent_id FROM task_usage_hourly_invalidation q WHERE q.agent_id IS NOT NULL) q
    JOIN agent_task_queue t ON t.agent_id = q.agent_id
)
SELECT q.bucket_hour FROM task_usage_hourly_invalidation q WHERE q.bucket_hour IS NOT NULL
UNION
SELECT pg_catalog.date_trunc('hour', u.created_at, 'UTC')
FROM waiting_tasks w
CROSS JOIN LATERAL (SELECT u.created_at FROM task_usage u WHERE u.task_id = w.task_id OFFSET 0) u
