-- Tables of the hourly rollup.
--
-- Why      One table of UTC hours serves every page and bill: whoever reads it adds hours up to days in the time
--          zone that is wanted. It replaces both daily tables (V103).
-- After    task_usage_hourly and its queue are empty; the watermark stands at 1970: nothing is rolled up yet.
-- Cost     New tables only. NULLS NOT DISTINCT needs PostgreSQL 15.
-- Retry    One transaction.

-- 0. Everything goes where task_usage is, and the functions stay there, whatever search path their callers have.
SELECT set_config('search_path', c.relnamespace::regnamespace || ', pg_temp', true)
FROM pg_class c
WHERE c.oid = 'task_usage'::regclass;

-- 1. The buckets. A bucket without usage does not exist. Usage outside any project has project_id NULL, and two
--    such rows are the same bucket.
CREATE TABLE task_usage_hourly (
    bucket_hour        timestamptz NOT NULL,
    workspace_id       uuid NOT NULL,
    runtime_id         uuid NOT NULL,
    agent_id           uuid NOT NULL,
    project_id         uuid,
    provider           text NOT NULL,
    model              text NOT NULL,
    input_tokens       bigint NOT NULL DEFAULT 0,
    output_tokens      bigint NOT NULL DEFAULT 0,
    cache_read_tokens  bigint NOT NULL DEFAULT 0,
    cache_write_tokens bigint NOT NULL DEFAULT 0,
    task_count         bigint NOT NULL DEFAULT 0,
    event_count        bigint NOT NULL DEFAULT 0,
    updated_at         timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT uq_task_usage_hourly_key UNIQUE NULLS NOT DISTINCT
        (bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model)
);

CREATE INDEX idx_task_usage_hourly_workspace_time
    ON task_usage_hourly (workspace_id, bucket_hour DESC);
CREATE INDEX idx_task_usage_hourly_runtime_time
    ON task_usage_hourly (runtime_id, bucket_hour DESC);
CREATE INDEX idx_task_usage_hourly_workspace_agent_time
    ON task_usage_hourly (workspace_id, agent_id, bucket_hour DESC);
CREATE INDEX idx_task_usage_hourly_workspace_project_time
    ON task_usage_hourly (workspace_id, project_id, bucket_hour DESC)
    WHERE project_id IS NOT NULL;

-- 2. How far the rollup has come: one row, always.
CREATE TABLE task_usage_hourly_rollup_state (
    id                   smallint PRIMARY KEY DEFAULT 1,
    watermark_at         timestamptz NOT NULL DEFAULT 'epoch',
    last_run_started_at  timestamptz,
    last_run_finished_at timestamptz,
    last_run_rows        bigint,
    last_error           text,
    CONSTRAINT task_usage_hourly_rollup_state_single_row CHECK (id = 1)
);

INSERT INTO task_usage_hourly_rollup_state (id) VALUES (1);

-- 3. Buckets that somebody knows to be out of date. The next window that ends after enqueued_at rebuilds them.
CREATE TABLE task_usage_hourly_dirty (
    bucket_hour  timestamptz NOT NULL,
    workspace_id uuid NOT NULL,
    runtime_id   uuid NOT NULL,
    agent_id     uuid NOT NULL,
    project_id   uuid,
    provider     text NOT NULL,
    model        text NOT NULL,
    enqueued_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT uq_task_usage_hourly_dirty_key UNIQUE NULLS NOT DISTINCT
        (bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model)
);

CREATE INDEX idx_task_usage_hourly_dirty_enqueued_at ON task_usage_hourly_dirty (enqueued_at);
