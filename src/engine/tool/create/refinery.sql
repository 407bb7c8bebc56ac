CREATE TABLE IF NOT EXISTS {table} (
    version {version} PRIMARY KEY,
    name varchar(255),
    applied_on varchar(255),
    checksum varchar(255)
);
