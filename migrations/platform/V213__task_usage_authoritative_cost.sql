-- What a provider says that usage has cost.
--
-- Why      Tokens times a price list is an estimate. Some providers report the cost itself; people should be billed that.
-- After    task_usage.cost_usd_ticks is NULL in every row there is: no provider has reported anything yet. A bucket of
--          task_usage_hourly has the cost of the rows that carry one, and apart from that the tokens of the rows that do
--          not. Those are NULL until the bucket is computed again; readers take the bucket's own tokens then, which is
--          right, since none of its rows has a cost. R__usage_pipeline.sql computes both from here on.
-- Cost     ACCESS EXCLUSIVE on task_usage and task_usage_hourly for catalog changes; no row is read or rewritten. Nothing
--          is rolled up again.
-- Retry    One transaction.

-- 1. Usage, in ticks of 1e-10 US dollars. NULL: the provider has reported none.
ALTER TABLE task_usage ADD COLUMN cost_usd_ticks bigint;

COMMENT ON COLUMN task_usage.cost_usd_ticks IS
    'What the provider says it has cost, in 1e-10 US dollars; NULL where it says nothing.';

-- 2. Buckets.
ALTER TABLE task_usage_hourly
    ADD COLUMN cost_usd_ticks              bigint NOT NULL DEFAULT 0,
    ADD COLUMN uncosted_input_tokens       bigint,
    ADD COLUMN uncosted_output_tokens      bigint,
    ADD COLUMN uncosted_cache_read_tokens  bigint,
    ADD COLUMN uncosted_cache_write_tokens bigint;

COMMENT ON COLUMN task_usage_hourly.cost_usd_ticks IS
    'Sum over the rows that have a cost, in 1e-10 US dollars.';
COMMENT ON COLUMN task_usage_hourly.uncosted_input_tokens IS
    'Input tokens of the rows that have no cost; NULL stands for input_tokens. The other three likewise.';
