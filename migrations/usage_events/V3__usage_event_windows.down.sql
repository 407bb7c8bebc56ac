-- migrate: no-transaction
--
-- Takes back the windows, and puts the index of V2 in force again.
--
-- Why      The version before knows one row per key, model and time.
-- After    The nineteen columns are gone with what they held, and usage_admin_bucket_idx is that of V2.
-- Refuses  where rows would collide: with how many, and examples, before anything is changed. Delete or merge those first.
-- Cost     Step 1 reads the table once. Step 2 scans it twice beside its writers. Step 3 changes the catalog alone, and waits for
--          its lock for 0.3 s at most, then rolls back and tries again.
-- Beside   From the second scan of step 2 on, nobody can write a row that collides. One that was committed between steps 1 and 2
--          makes step 2 fail: its index is dropped again, nothing else has changed, and the next try refuses in step 1.
-- Retry    A kill in step 2 leaves an invalid index under its temporary name; one between 2 and 3 a valid one. Both refuse rows
--          that collide. The next try continues from there; to keep the windows instead:
--          DROP INDEX CONCURRENTLY usage_admin_bucket_idx_old. Step 3 and the end of the record are one transaction.

-- 1. Rows that differ only in what is dropped.
DO $$
DECLARE
    v_keys     bigint;
    v_rows     bigint;
    v_examples text;
BEGIN
    WITH colliding AS MATERIALIZED (
        SELECT key_id, model, timestamp, count(*) AS rows
        FROM usage_events
        GROUP BY key_id, model, timestamp
        HAVING count(*) > 1
    ),
    examples AS (
        SELECT format('%s rows: key_id %s, model %s, timestamp %s', rows, key_id, model, timestamp) AS example
        FROM colliding
        ORDER BY rows DESC, timestamp, key_id, model
        LIMIT 5
    )
    SELECT count(*), coalesce(sum(rows), 0), (SELECT string_agg(example, E'\n') FROM examples)
    INTO v_keys, v_rows, v_examples
    FROM colliding;

    IF v_keys > 0 THEN
        RAISE EXCEPTION 'refusing to take the windows away: % rows would collide in % keys', v_rows, v_keys
            USING
                ERRCODE = 'object_not_in_prerequisite_state',
                DETAIL = v_examples,
                HINT = 'Without their windows they are the same key, model and time. Delete or merge them first.';
    END IF;
END
$$;

-- 2. Under a name of its own, while the present one is in force.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS usage_admin_bucket_idx_old ON usage_events (key_id, model, timestamp);

-- 3. In the present one's place; and the columns.
DROP INDEX IF EXISTS usage_admin_bucket_idx;
ALTER INDEX usage_admin_bucket_idx_old RENAME TO usage_admin_bucket_idx;
ALTER TABLE usage_events
    DROP COLUMN window_start,
    DROP COLUMN window_end,
    DROP COLUMN project_id,
    DROP COLUMN openai_user_id,
    DROP COLUMN openai_api_key_id,
    DROP COLUMN service_tier,
    DROP COLUMN batch,
    DROP COLUMN num_model_requests,
    DROP COLUMN input_cached_tokens,
    DROP COLUMN input_uncached_tokens,
    DROP COLUMN input_text_tokens,
    DROP COLUMN output_text_tokens,
    DROP COLUMN input_cached_text_tokens,
    DROP COLUMN input_audio_tokens,
    DROP COLUMN input_cached_audio_tokens,
    DROP COLUMN output_audio_tokens,
    DROP COLUMN input_image_tokens,
    DROP COLUMN input_cached_image_tokens,
    DROP COLUMN output_image_tokens;
