-- The usage that the admin tool has recorded itself.
--
-- Why      For an empty database. One that has the table already: up --baseline 1, or 2 where the index is there, too.
-- After    usage_events is there, and empty.
-- Cost     New objects only.
-- Retry    One transaction.

CREATE TABLE usage_events (
    id            uuid NOT NULL DEFAULT gen_random_uuid(),
    key_id        uuid NOT NULL,
    model         text NOT NULL,
    timestamp     timestamptz NOT NULL,
    tokens_in     bigint,
    tokens_out    bigint,
    cost_estimate numeric,
    CONSTRAINT usage_events_pkey PRIMARY KEY (id)
);
