-- refinery keeps time and checksum as text.
SELECT version::text AS entry,
       name::text AS described_as,
       checksum::text AS checksum,
       {at} AS at,
       applied_on::text AS written,
       'applied' AS state
FROM {table}
ORDER BY version
