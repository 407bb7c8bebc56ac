-- Version, name, applied_on and checksum are refinery's; what follows is ours.
CREATE TABLE IF NOT EXISTS {history} (
    version      {type} PRIMARY KEY,
    name         text NOT NULL,
    applied_on   text NOT NULL,
    checksum     text NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    recorded_by  text NOT NULL DEFAULT session_user,
    tool_version text DEFAULT pg_catalog.current_setting('migrate.tool_version', true),
    -- Applied by an older migrator; then recorded_at is when, by what that one's ledger says.
    adopted      boolean NOT NULL DEFAULT false,
    -- The first schema of the search path: when the run began, and behind the file, which may have made that schema.
    in_schema    text[] DEFAULT ARRAY[pg_catalog.current_setting('migrate.in_schema', true), pg_catalog.current_schema()::text],
    -- The history of a tool that this one continues.
    continues    text DEFAULT pg_catalog.current_setting('migrate.continues', true)
);

DO $$
BEGIN
    -- A table from before there was such a thing.
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_attribute WHERE attrelid = '{history}'::regclass::oid AND attname = 'adopted' AND NOT attisdropped
    ) THEN
        ALTER TABLE {history} ADD COLUMN adopted boolean NOT NULL DEFAULT false;
    END IF;
    -- The same; only the owner can add them, and without them nothing is lost but a check. Rows that are there say nothing.
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_attribute WHERE attrelid = '{history}'::regclass::oid AND attname = 'continues' AND NOT attisdropped
    ) AND (
        SELECT pg_catalog.pg_has_role(relowner, 'USAGE') FROM pg_catalog.pg_class WHERE oid = '{history}'::regclass::oid
    ) THEN
        ALTER TABLE {history} ADD COLUMN in_schema text[], ADD COLUMN continues text;
        ALTER TABLE {history}
            ALTER COLUMN in_schema
                SET DEFAULT ARRAY[pg_catalog.current_setting('migrate.in_schema', true), pg_catalog.current_schema()::text],
            ALTER COLUMN continues SET DEFAULT pg_catalog.current_setting('migrate.continues', true);
    END IF;
END
$$;
