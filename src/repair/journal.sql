-- The history of repairs. The first repair that writes creates these tables.
DO $$
BEGIN
    IF pg_catalog.to_regnamespace('migrate') IS NULL THEN
        CREATE SCHEMA migrate;
        COMMENT ON SCHEMA migrate IS 'Bookkeeping of the program migrate: history, hook runs, progress, repairs.';
    END IF;
END
$$;

-- Only the owner of a table may comment on it, so comments are made with the table.
DO $$
BEGIN
    IF pg_catalog.to_regclass('migrate.repair_run') IS NULL THEN
        CREATE TABLE migrate.repair_run (
            -- Without gaps: only one repair runs at a time.
            id           bigint PRIMARY KEY,
            started_at   timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
            repair       text NOT NULL,
            -- What selects the rows. An unfinished run is continued by the same arguments.
            arguments    jsonb NOT NULL,
            state        text NOT NULL DEFAULT 'running',
            finished_at  timestamptz,
            -- The digest of the rows that were inspected and authorised.
            digest       text,
            rows_found   bigint NOT NULL DEFAULT 0,
            -- The totals when the run ended or stopped.
            totals       jsonb,
            -- The run that this one undoes.
            undoes       bigint,
            -- Progress of a rebuild, which has no journal of rows.
            progress     jsonb,
            -- Start of the first and of the last transaction whose rows are not in the derived data yet.
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
        -- No foreign key: PostgreSQL would check it row by row. The fill factor leaves room on each page for the update
        -- that marks the correction: the new row version stays on the page, and no index changes.
        CREATE TABLE migrate.repair_change (
            run_id       bigint NOT NULL,
            n            bigint NOT NULL,
            key          text NOT NULL,
            before       jsonb NOT NULL,
            after        jsonb NOT NULL,
            -- Start of the transaction that corrected the row; null until then.
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
            'Why the row was left as it is: changed by another session since it was found, or deleted.';
    END IF;
END
$$;

-- An earlier build created the tables without these columns.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_attribute
        WHERE attrelid = 'migrate.repair_run'::pg_catalog.regclass::oid AND attname = 'hashed' AND NOT attisdropped
    ) THEN
        ALTER TABLE migrate.repair_run
            ADD COLUMN hashed jsonb,
            DROP CONSTRAINT repair_run_state,
            ADD CONSTRAINT repair_run_state
                CHECK (state IN ('running', 'interrupted', 'stopped', 'failed', 'incomplete', 'closed', 'done', 'undone'));
        ALTER TABLE migrate.repair_change ADD COLUMN others bigint;
    END IF;
END
$$;

-- Runs are recorded without their set where this role may not add the column, or the table is in use.
DO $$
DECLARE
    v_lock_timeout text := pg_catalog.current_setting('lock_timeout');
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_attribute
        WHERE attrelid = 'migrate.repair_run'::pg_catalog.regclass::oid AND attname = 'set_name' AND NOT attisdropped
    ) THEN
        PERFORM pg_catalog.set_config('lock_timeout', '200ms', true);
        ALTER TABLE migrate.repair_run ADD COLUMN set_name text;
        PERFORM pg_catalog.set_config('lock_timeout', v_lock_timeout, true);
    END IF;
EXCEPTION
    WHEN insufficient_privilege OR lock_not_available THEN NULL;
END
$$;
