-- One batch of rows: deleted, if they are as they were, and marked in the journal.
WITH batch AS MATERIALIZED (
    SELECT c.n, c.key, c.before
    FROM migrate.repair_change c
    WHERE c.run_id = $1 AND c.n >= $2 AND c.n < $3 AND c.applied_at IS NULL AND c.left_because IS NULL
),
deleted AS (
    DELETE FROM {table} t
    USING batch b
    WHERE t.{key} = b.key::{type} AND pg_catalog.to_jsonb(t) = b.before
    RETURNING b.key
)
UPDATE migrate.repair_change c
SET applied_at = CASE WHEN d.key IS NOT NULL THEN pg_catalog.now() END,
    left_because = CASE
        WHEN d.key IS NOT NULL THEN NULL
        WHEN EXISTS (SELECT FROM {table} t WHERE t.{key} = b.key::{type}) THEN 'changed'
        ELSE 'gone'
    END
FROM batch b
LEFT JOIN deleted d ON d.key = b.key
WHERE c.run_id = $1 AND c.n = b.n
