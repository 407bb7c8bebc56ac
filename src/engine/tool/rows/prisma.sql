-- Prisma keeps attempts. One that has neither finished nor been rolled back stops it; otherwise a finished one counts.
SELECT entry, NULL AS described_as, checksum, at, NULL AS written, state
FROM (
    SELECT DISTINCT ON (migration_name)
           started_at,
           migration_name::text AS entry,
           checksum::text AS checksum,
           {at} AS at,
           CASE WHEN rolled_back_at IS NOT NULL THEN 'again'
                WHEN finished_at IS NULL THEN 'failed'
                ELSE 'applied'
           END AS state
    FROM {table}
    ORDER BY migration_name, rolled_back_at IS NOT NULL, finished_at IS NOT NULL, started_at DESC
) ruling
WHERE state <> 'again'
ORDER BY started_at, entry
