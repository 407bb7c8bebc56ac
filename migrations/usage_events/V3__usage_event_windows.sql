-- migrate: no-transaction
--
-- The windows of the provider's export: when, for whom, and every count.
--
-- Why      The export has one row per window, project, user, key, model, tier and batch. A row that keeps these can be compared
--          with it, and several windows of one key and model may begin at the same time.
-- After    usage_events has nineteen more columns, all NULL in the rows that are there. usage_admin_bucket_idx is unique over
--          the window's identity, NULL being equal to NULL, for rows with a window_start. Rows without one are unique no more.
-- Cost     Nothing is rewritten. Steps 1 and 3 change the catalog alone: each waits for its lock for 0.3 s at most, then rolls
--          back and tries again. Step 2 scans usage_events twice beside its writers.
-- Beside   Until step 3, writers of ON CONFLICT (key_id, model, timestamp) find their index. Step 3 waits for those at work and
--          excludes them for the length of two catalog changes; afterwards that clause fails with SQLSTATE 42P10, and the
--          application must name the new key, with WHERE window_start IS NOT NULL. Writers that know both forms never fail.
--          What the new index refuses, nobody can write from the second scan of step 2 on: it is valid before the old one goes.
--          Duplicate windows that somebody writes between steps 1 and 2 make step 2 fail, and the index of V2 stays in force.
-- Retry    A kill in step 2 leaves an invalid index under its temporary name, which the next run drops first. One between 2 and
--          3 leaves it valid, and the next run takes it as it is. Step 3 and the record of this version are one transaction.

-- 1. Nullable, and without a default: no row is read or written.
ALTER TABLE usage_events
    ADD COLUMN IF NOT EXISTS window_start              timestamptz,
    ADD COLUMN IF NOT EXISTS window_end                timestamptz,
    ADD COLUMN IF NOT EXISTS project_id                text,
    ADD COLUMN IF NOT EXISTS openai_user_id            text,
    ADD COLUMN IF NOT EXISTS openai_api_key_id         text,
    ADD COLUMN IF NOT EXISTS service_tier              text,
    ADD COLUMN IF NOT EXISTS batch                     boolean,
    ADD COLUMN IF NOT EXISTS num_model_requests        bigint,
    ADD COLUMN IF NOT EXISTS input_cached_tokens       bigint,
    ADD COLUMN IF NOT EXISTS input_uncached_tokens     bigint,
    ADD COLUMN IF NOT EXISTS input_text_tokens         bigint,
    ADD COLUMN IF NOT EXISTS output_text_tokens        bigint,
    ADD COLUMN IF NOT EXISTS input_cached_text_tokens  bigint,
    ADD COLUMN IF NOT EXISTS input_audio_tokens        bigint,
    ADD COLUMN IF NOT EXISTS input_cached_audio_tokens bigint,
    ADD COLUMN IF NOT EXISTS output_audio_tokens       bigint,
    ADD COLUMN IF NOT EXISTS input_image_tokens        bigint,
    ADD COLUMN IF NOT EXISTS input_cached_image_tokens bigint,
    ADD COLUMN IF NOT EXISTS output_image_tokens       bigint;

-- 2. Under a name of its own, while the old one is in force.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS usage_admin_bucket_idx_new ON usage_events
    (key_id, model, window_start, window_end, project_id, openai_user_id, openai_api_key_id, service_tier, batch)
    NULLS NOT DISTINCT
    WHERE window_start IS NOT NULL;

-- 3. In the old one's place.
DROP INDEX IF EXISTS usage_admin_bucket_idx;
ALTER INDEX usage_admin_bucket_idx_new RENAME TO usage_admin_bucket_idx;
