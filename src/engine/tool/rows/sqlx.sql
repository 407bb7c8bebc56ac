-- sqlx records a version once it is applied. It never writes success = false on PostgreSQL, but refuses it.
SELECT version::text AS entry,
       description::text AS described_as,
       pg_catalog.encode(checksum, 'hex') AS checksum,
       {at} AS at,
       NULL AS written,
       CASE WHEN success THEN 'applied' ELSE 'failed' END AS state
FROM {table}
ORDER BY version
