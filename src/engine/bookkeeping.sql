-- What the tool remembers, made on the first run that has something to do.
DO $$
BEGIN
    IF pg_catalog.to_regnamespace('migrate') IS NULL THEN
        CREATE SCHEMA migrate;
        COMMENT ON SCHEMA migrate IS 'Bookkeeping of the program migrate: history, hook runs, progress.';
    END IF;
END
$$;

{histories}
CREATE TABLE IF NOT EXISTS migrate.hook_run (
    id             bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    set_name       text NOT NULL,
    hook           text NOT NULL,
    before_version bigint NOT NULL,
    state          text NOT NULL,
    started_at     timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    finished_at    timestamptz,
    summary        text,
    details        jsonb,
    run_by         text NOT NULL DEFAULT session_user,
    tool_version   text DEFAULT pg_catalog.current_setting('migrate.tool_version', true),
    CONSTRAINT hook_run_state CHECK (state IN ('running', 'done', 'failed', 'interrupted', 'skipped'))
);

CREATE TABLE IF NOT EXISTS migrate.hook_state (
    set_name       text NOT NULL,
    hook           text NOT NULL,
    before_version bigint NOT NULL,
    state          jsonb NOT NULL,
    updated_at     timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (set_name, hook, before_version)
);

-- Repeatable files: what the last application of each has made, with its definition, to be compared with what is there.
CREATE TABLE IF NOT EXISTS migrate.repeatable (
    set_name        text NOT NULL,
    name            text NOT NULL,
    revision        bigint NOT NULL,
    checksum        text NOT NULL,
    made            jsonb NOT NULL,
    -- Hooks behind it whose work has not been done to its end.
    owed            text[] NOT NULL DEFAULT '{}',
    applied_because text NOT NULL,
    applied_at      timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    applied_by      text NOT NULL DEFAULT session_user,
    tool_version    text DEFAULT pg_catalog.current_setting('migrate.tool_version', true),
    PRIMARY KEY (set_name, name)
);

-- The lock of the run is held: whatever counts as running was killed.
UPDATE migrate.hook_run
SET state = 'interrupted'
WHERE state = 'running';
