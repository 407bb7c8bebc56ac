-- goose's newest row of a version tells whether it is applied. Version 0 is no migration; its row makes the table goose's.
SELECT entry, NULL AS described_as, NULL AS checksum, at, NULL AS written, state
FROM (
    SELECT DISTINCT ON (version_id)
           id,
           version_id::text AS entry,
           {at} AS at,
           CASE WHEN is_applied THEN 'applied' ELSE 'rolled back' END AS state
    FROM {table}
    WHERE version_id <> 0
    ORDER BY version_id, id DESC
) newest
ORDER BY id
