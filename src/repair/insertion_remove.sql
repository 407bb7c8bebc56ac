-- The journal of inserted rows to be deleted: those of run $2 that are as it left them. (IS TRUE: no row of the table is made into
-- jsonb but those that the run has inserted.)
INSERT INTO migrate.repair_change (run_id, n, key, before, after)
SELECT $1, pg_catalog.row_number() OVER (ORDER BY c.n), c.key, c.after, '{}'::jsonb
FROM migrate.repair_change c
JOIN {table} t ON t.{key} = c.key::{type}
WHERE c.run_id = $2 AND c.applied_at IS NOT NULL AND (pg_catalog.to_jsonb(t) = c.after) IS TRUE
