-- Flyway keeps events; the newest one of a version, or of the description of a repeatable file, rules. 1, 1.0 and 001 are one
-- version. SCHEMA says that Flyway has made the schema.
SELECT coalesce(version, description)::text AS entry,
       description::text AS described_as,
       checksum::text AS checksum,
       at,
       NULL AS written,
       CASE WHEN NOT success THEN 'failed'
            WHEN version IS NULL THEN 'repeatable'
            WHEN type LIKE '%BASELINE' OR type = 'INIT' THEN 'up to'
            ELSE 'applied'
       END AS state
FROM (
    SELECT DISTINCT ON (same_version, same_name)
           installed_rank, version, description, type, checksum, success, {at} AS at
    FROM {table}
    CROSS JOIN LATERAL (
        SELECT pg_catalog.regexp_replace(
                   pg_catalog.regexp_replace(pg_catalog.replace(version, '_', '.'), '(^|\.)0+(?=[0-9])', '\1', 'g'),
                   '(\.0)+$', ''
               ) AS same_version,
               CASE WHEN version IS NULL THEN description END AS same_name
    ) same
    WHERE type <> 'SCHEMA'
    ORDER BY same_version, same_name, installed_rank DESC
) newest
WHERE NOT success OR type NOT LIKE 'UNDO%' AND type <> 'DELETE'
ORDER BY installed_rank
