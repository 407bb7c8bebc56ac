-- Supabase records a version once it is applied. Its first tables have no name.
SELECT version::text AS entry,
       {name} AS described_as,
       NULL AS checksum,
       {at} AS at,
       NULL AS written,
       'applied' AS state
FROM {table}
ORDER BY version
