-- Takes back the table.

DROP TABLE usage_events;
