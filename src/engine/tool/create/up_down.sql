CREATE TABLE IF NOT EXISTS {table} (
    version text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
