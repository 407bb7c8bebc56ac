CREATE TABLE IF NOT EXISTS {table} (
    installed_rank integer NOT NULL CONSTRAINT {key} PRIMARY KEY,
    version varchar(50),
    description varchar(200) NOT NULL,
    type varchar(20) NOT NULL,
    script varchar(1000) NOT NULL,
    checksum integer,
    installed_by varchar(100) NOT NULL,
    installed_on timestamp NOT NULL DEFAULT pg_catalog.now(),
    execution_time integer NOT NULL,
    success boolean NOT NULL
);
CREATE INDEX IF NOT EXISTS {index} ON {table} (success);
