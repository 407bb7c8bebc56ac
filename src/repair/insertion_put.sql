-- One batch of rows: inserted, and marked in the journal as the table then has them. What somebody else has inserted meanwhile
-- stays as it is.
WITH batch AS MATERIALIZED (
    SELECT c.n, c.key, c.after
    FROM migrate.repair_change c
    WHERE c.run_id = $1 AND c.n >= $2 AND c.n < $3 AND c.applied_at IS NULL AND c.left_because IS NULL
),
inserted AS (
    INSERT INTO {table} AS t ({key}, {columns})
    SELECT r.{key}, {of_record}
    FROM batch b
    CROSS JOIN LATERAL pg_catalog.jsonb_populate_record(NULL::{table}, b.after) r
    ON CONFLICT DO NOTHING
    RETURNING t.{key}::text AS key, pg_catalog.to_jsonb(t) AS row
)
UPDATE migrate.repair_change c
SET applied_at = CASE WHEN i.key IS NOT NULL THEN pg_catalog.now() END,
    left_because = CASE WHEN i.key IS NULL THEN 'changed' END,
    after = coalesce(i.row, c.after)
FROM batch b
LEFT JOIN inserted i ON i.key = b.key
WHERE c.run_id = $1 AND c.n >= $2 AND c.n < $3 AND c.n = b.n
