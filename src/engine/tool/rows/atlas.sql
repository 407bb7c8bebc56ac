-- Atlas counts statements: fewer applied than there are is a file that has failed. A version that begins with a dot is a note
-- of Atlas to itself. Type 1 is a baseline.
SELECT version::text AS entry,
       description::text AS described_as,
       hash::text AS checksum,
       {at} AS at,
       NULL AS written,
       CASE WHEN applied < total OR coalesce({error}, '') <> '' THEN 'failed'
            WHEN type & 1 = 1 THEN 'up to'
            ELSE 'applied'
       END AS state
FROM {table}
WHERE version NOT LIKE '.%'
ORDER BY version COLLATE "C"
