CREATE TABLE IF NOT EXISTS {table} (
    id serial PRIMARY KEY,
    hash text NOT NULL,
    created_at bigint,
    name text,
    applied_at timestamptz DEFAULT pg_catalog.now()
);
