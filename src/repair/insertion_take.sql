-- One batch of rows: deleted, if they are as they were, and marked in the journal. A row is looked for by the columns of an index;
-- one that somebody has moved to other values of these since the journal was made is gone from there, and stays. The journal is
-- not joined with what was deleted: statistics know nothing of a new run, and a join could read all of it for every batch.
WITH batch AS MATERIALIZED (
    SELECT c.n, c.key, c.before
    FROM migrate.repair_change c
    WHERE c.run_id = $1 AND c.n >= $2 AND c.n < $3 AND c.applied_at IS NULL AND c.left_because IS NULL
),
deleted AS (
    DELETE FROM {table} t
    USING batch b
    WHERE {found} AND t.{key} = b.key::{type} AND pg_catalog.to_jsonb(t) = b.before
    RETURNING b.n
)
UPDATE migrate.repair_change b
SET applied_at = CASE WHEN b.n IN (SELECT d.n FROM deleted d) THEN pg_catalog.now() END,
    left_because = CASE
        WHEN b.n IN (SELECT d.n FROM deleted d) THEN NULL
        WHEN EXISTS (SELECT FROM {table} t WHERE {found} AND t.{key} = b.key::{type} OFFSET 0) THEN 'changed'
        ELSE 'gone'
    END
WHERE b.run_id = $1 AND b.n >= $2 AND b.n < $3 AND b.applied_at IS NULL AND b.left_because IS NULL
