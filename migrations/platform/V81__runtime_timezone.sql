-- The time zone a runtime's days are counted in.
--
-- Why      A day on a runtime's page is meant to be the day of the people who look at it.
-- After    agent_runtime.timezone exists, 'UTC' for every runtime there is.
-- Cost     ACCESS EXCLUSIVE on agent_runtime for a catalog change; a constant default rewrites nothing.
-- Retry    One transaction.

ALTER TABLE agent_runtime ADD COLUMN IF NOT EXISTS timezone text NOT NULL DEFAULT 'UTC';
