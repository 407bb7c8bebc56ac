-- How many windows are on one side only, and how many numbers differ in how many windows.
SELECT pg_catalog.count(*) FILTER (WHERE d.missing_in = 'db') AS missing_in_db,
       pg_catalog.count(*) FILTER (WHERE d.missing_in = 'csv') AS missing_in_csv,
       pg_catalog.count(*) FILTER (WHERE d.missing_in IS NULL) AS mismatched_windows,
       coalesce(pg_catalog.sum(n.numbers) FILTER (WHERE d.missing_in IS NULL), 0)::bigint AS mismatched
FROM pg_temp.usage_difference d
CROSS JOIN LATERAL (
    SELECT pg_catalog.count(*) AS numbers
    FROM ROWS FROM (pg_catalog.unnest(d.export), pg_catalog.unnest(d.recorded)) AS n (export, recorded)
    WHERE n.export <> n.recorded
) n
