-- Token usage, one row per task, provider and model.
--
-- Why      Every task reports what it consumed; dashboards and bills add these rows up.
-- After    task_usage exists. The application upserts by (task_id, provider, model): the four counts are
--          overwritten, created_at stays.
-- Cost     A new table. The foreign key takes SHARE ROW EXCLUSIVE on agent_task_queue for an instant.
-- Retry    One transaction.

CREATE TABLE task_usage (
    id                 uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    task_id            uuid NOT NULL REFERENCES agent_task_queue (id) ON DELETE CASCADE,
    provider           text NOT NULL DEFAULT '',
    model              text NOT NULL,
    input_tokens       bigint NOT NULL DEFAULT 0,
    output_tokens      bigint NOT NULL DEFAULT 0,
    cache_read_tokens  bigint NOT NULL DEFAULT 0,
    cache_write_tokens bigint NOT NULL DEFAULT 0,
    created_at         timestamptz NOT NULL DEFAULT now(),
    UNIQUE (task_id, provider, model)
);

CREATE INDEX idx_task_usage_task_id ON task_usage (task_id);
