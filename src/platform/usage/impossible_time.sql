-- A usage row whose {column} is in no calendar, if there is one. Reads both ends of the index.
SELECT r.id::text AS id, r.value::text AS value
FROM (
    (SELECT u.id, u.{column} AS value FROM task_usage u WHERE u.{column} IS NOT NULL
     ORDER BY u.{column} DESC LIMIT 1)
    UNION ALL
    (SELECT u.id, u.{column} FROM task_usage u WHERE u.{column} IS NOT NULL
     ORDER BY u.{column} LIMIT 1)
) r
WHERE r.value >= '9999-01-01 UTC' OR r.value < '0001-01-01 UTC'
LIMIT 1
