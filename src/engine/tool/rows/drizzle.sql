-- Drizzle, to 0.45, looks at the youngest only, and applies what is younger. It never compares the hash.
SELECT created_at::text AS entry,
       NULL AS described_as,
       NULL AS checksum,
       {at} AS at,
       NULL AS written,
       'up to' AS state
FROM {table}
WHERE created_at IS NOT NULL
ORDER BY created_at DESC
LIMIT 1
