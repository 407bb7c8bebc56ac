-- The time zone of a runtime goes away with the daily tables that used it.
--
-- Why      Hourly buckets are UTC; a reader adds them up to days in the zone it likes.
-- After    agent_runtime has no column timezone.
-- Cost     ACCESS EXCLUSIVE on agent_runtime for a catalog change; no row is rewritten.
-- Retry    One transaction.

ALTER TABLE agent_runtime DROP COLUMN IF EXISTS timezone;
