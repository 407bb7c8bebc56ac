-- Drizzle 1.0 compares names, never the hash. A row without a name has nothing to be compared with.
SELECT name AS entry,
       NULL AS described_as,
       NULL AS checksum,
       {at} AS at,
       NULL AS written,
       'applied' AS state
FROM {table}
WHERE name IS NOT NULL
ORDER BY id
