-- What repairs remember, made by the first one that writes.
DO $$
BEGIN
    IF pg_catalog.to_regnamespace('migrate') IS NULL THEN
        CREATE SCHEMA migrate;
        COMMENT ON SCHEMA migrate IS 'Bookkeeping of the program migrate: history, hook runs, progress, repairs.';
    END IF;
END
$$;

-- Comments are their owner's to make, who need not be the one that repairs now.
DO $$
BEGIN
    IF pg_catalog.to_regclass('migrate.repair_run') IS NULL THEN
        CREATE TABLE migrate.repair_run (
            -- Without gaps: one repair at a time.
            id           bigint PRIMARY KEY,
            started_at   timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
            repair       text NOT NULL,
            -- What selects the rows. A run that is not finished is continued by the same ones.
            arguments    jsonb NOT NULL,
            state        text NOT NULL DEFAULT 'running',
            finished_at  timestamptz,
            -- Of what was inspected and authorised.
            digest       text,
            rows_found   bigint NOT NULL DEFAULT 0,
            -- At the end, or wherever it stopped.
            totals       jsonb,
            -- The run that this one takes back.
            undoes       bigint,
            -- Progress of a rebuild, which changes no rows and keeps no journal of them.
            progress     jsonb,
            -- The transactions whose rows derived data does not contain yet: start of the first and of the last.
            rollup_from  timestamptz,
            rollup_to    timestamptz,
            run_by       text NOT NULL DEFAULT session_user,
            run_from     text,
            tool_version text,
            -- The columns that repair_change.others is a hash of, with their types.
            hashed       jsonb,
            -- The set of migrations that the repair belongs to; null in runs of earlier builds.
            set_name     text,
            CONSTRAINT repair_run_state
                CHECK (state IN ('running', 'interrupted', 'stopped', 'failed', 'incomplete', 'closed', 'done', 'undone'))
        );

        COMMENT ON TABLE migrate.repair_run IS 'One row per run of a repair that wrote something, or was about to.';
    END IF;
END
$$;

DO $$
BEGIN
    IF pg_catalog.to_regclass('migrate.repair_change') IS NULL THEN
        -- No foreign key: it would be checked row by row. Room is left on each page for the update that comes with the
        -- correction, which then stays on it and touches no index.
        CREATE TABLE migrate.repair_change (
            run_id       bigint NOT NULL,
            n            bigint NOT NULL,
            key          text NOT NULL,
            before       jsonb NOT NULL,
            after        jsonb NOT NULL,
            -- Start of the transaction that corrected the row; null as long as it is not corrected.
            applied_at   timestamptz,
            left_because text,
            -- Hash of the columns that the run does not change, when it found the row.
            others       bigint,
            CONSTRAINT repair_change_key PRIMARY KEY (run_id, n),
            CONSTRAINT repair_change_left
                CHECK (left_because IS NULL OR (left_because IN ('changed', 'gone') AND applied_at IS NULL))
        ) WITH (fillfactor = 45);

        COMMENT ON TABLE migrate.repair_change IS
            'Every row that a repair found, as it was and as the repair left it. Taken before the first row was changed.';
        COMMENT ON COLUMN migrate.repair_change.n IS 'The order in which the run goes through them.';
        COMMENT ON COLUMN migrate.repair_change.left_because IS
            'Why the row was left as it is: changed by somebody else since it was found, or gone.';
    END IF;
END
$$;

-- An earlier build has made them without these.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_attribute
        WHERE attrelid = 'migrate.repair_run'::pg_catalog.regclass::oid AND attname = 'set_name' AND NOT attisdropped
    ) THEN
        ALTER TABLE migrate.repair_run
            ADD COLUMN IF NOT EXISTS hashed jsonb,
            ADD COLUMN set_name text,
            DROP CONSTRAINT repair_run_state,
            ADD CONSTRAINT repair_run_state
                CHECK (state IN ('running', 'interrupted', 'stopped', 'failed', 'incomplete', 'closed', 'done', 'undone'));
        ALTER TABLE migrate.repair_change ADD COLUMN IF NOT EXISTS others bigint;
    END IF;
END
$$;
