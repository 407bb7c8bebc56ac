-- What a comparison needs in its own session: the export, the differences, and a sum that is an error where it does not fit.
CREATE TEMP TABLE usage_export (
    {columns},
    {metrics}
);

CREATE TEMP TABLE usage_difference (
    missing_in text,
    {columns},
    export     bigint[],
    recorded   bigint[]
);

CREATE AGGREGATE pg_temp.usage_sum(bigint) (
    SFUNC = pg_catalog.int8pl,
    STYPE = bigint,
    INITCOND = '0',
    PARALLEL = SAFE
);
