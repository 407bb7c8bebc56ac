-- golang-migrate keeps one row: its version and all before it are applied. It sets dirty before it runs a file.
SELECT version::text AS entry,
       NULL AS described_as,
       NULL AS checksum,
       {at} AS at,
       NULL AS written,
       CASE WHEN dirty THEN 'dirty' ELSE 'up to' END AS state
FROM {table}
ORDER BY version
