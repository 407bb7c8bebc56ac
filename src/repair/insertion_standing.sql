-- What has become of the rows that run $1 has inserted.
SELECT pg_catalog.count(*) FILTER (WHERE pg_catalog.to_jsonb(t) = c.after) AS rows,
       pg_catalog.count(*) FILTER (WHERE pg_catalog.to_jsonb(t) <> c.after) AS changed,
       pg_catalog.count(*) FILTER (WHERE t.{key} IS NULL) AS gone
FROM migrate.repair_change c
LEFT JOIN {table} t ON t.{key} = c.key::{type}
WHERE c.run_id = $1 AND c.applied_at IS NOT NULL
