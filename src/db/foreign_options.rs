//! Connection URL options of other programs, and what to write instead.

use super::Error;
use super::conninfo::Form;

/// What to do about an option of another program.
#[derive(Clone, Copy)]
enum Instead {
    /// It configures a driver or its pool; it has no effect here.
    Remove,
    /// It has another name here.
    Write(&'static str),
    /// It is a setting of the server, with an example of a value.
    Set(&'static str, &'static str),
    /// It is not supported.
    Never(&'static str),
}

use Instead::{Never, Remove, Set, Write};

const CLIENT_CERTIFICATE: Instead = Never("use a password: client certificates are not supported");
const NO_SUCH_CHECK: Instead = Never("leave it out: there is no such check");
const KERBEROS: Instead = Never("use a password: Kerberos and GSSAPI are not supported");
const NEWEST: Instead = Never("leave it out: the connection uses protocol version 3.0");
const TLS: Instead = Never("leave it out: the connection uses TLS 1.2 or 1.3");
const SERVICE: Instead = Never("write host, user, password and database: service files are not read");

/// Option names in lower case, with `_` for `-`.
#[rustfmt::skip]
const FOREIGN: &[(&str, Instead)] = &[
    // libpq
    ("authtype", Remove), ("gssdelegation", KERBEROS), ("gsslib", KERBEROS), ("krbsrvname", KERBEROS),
    ("max_protocol_version", NEWEST), ("min_protocol_version", NEWEST), ("oauth_client_id", Never("use a password")),
    ("oauth_issuer", Never("use a password")),
    ("passfile", Never("write the password into the URL: password files are not read")),
    ("replication", Never("leave it out: migrations need an ordinary session")),
    ("require_auth", Never("use channel_binding=require and sslmode=verify-full")), ("requirepeer", NO_SUCH_CHECK),
    ("requiressl", Write("sslmode=require")), ("scram_client_key", Never("use a password")),
    ("scram_server_key", Never("use a password")), ("service", SERVICE), ("servicefile", SERVICE),
    ("sslcert", CLIENT_CERTIFICATE), ("sslcertmode", Remove), ("sslcompression", Remove), ("sslcrl", NO_SUCH_CHECK),
    ("sslcrldir", NO_SUCH_CHECK), ("sslkey", CLIENT_CERTIFICATE), ("sslkeylogfile", Remove),
    ("sslpassword", CLIENT_CERTIFICATE), ("sslsni", Remove), ("ssl_max_protocol_version", TLS),
    ("ssl_min_protocol_version", TLS), ("tty", Remove),
    // Settings of the server
    ("bytea_output", Remove), ("currentschema", Set("search_path", "app")), ("datestyle", Remove),
    ("default_transaction_isolation", Remove),
    ("idle_in_transaction_session_timeout", Set("idle_in_transaction_session_timeout", "60s")),
    ("lock_timeout", Set("lock_timeout", "5s")), ("role", Set("role", "app")), ("schema", Set("search_path", "app")),
    ("schema_search_path", Set("search_path", "app")), ("search_path", Set("search_path", "app")),
    ("statement_timeout", Set("statement_timeout", "60s")), ("synchronous_commit", Set("synchronous_commit", "on")),
    ("timezone", Remove), ("work_mem", Set("work_mem", "64MB")),
    // Other spellings
    ("applicationname", Write("application_name=...")), ("charset", Remove),
    ("connecttimeout", Write("connect_timeout=10")), ("connection_timeout", Write("connect_timeout=10")),
    ("connectiontimeoutmillis", Write("connect_timeout=10")), ("database", Write("dbname=...")),
    ("db", Write("dbname=...")), ("encoding", Remove), ("hostname", Write("host=...")),
    ("keepalive", Write("keepalives=1")), ("keep_alive", Write("keepalives=1")),
    ("loadbalancehosts", Write("load_balance_hosts=random")), ("logintimeout", Write("connect_timeout=10")),
    ("pass", Write("password=...")), ("passwd", Write("password=...")), ("pwd", Write("password=...")),
    ("server", Write("host=...")), ("ssl", Write("sslmode=require, or sslmode=disable")),
    ("ssl_ca", Write("sslrootcert=/path/ca.pem")), ("ssl_mode", Write("sslmode=require")),
    ("ssl_root_cert", Write("sslrootcert=/path/ca.pem")),
    ("sslaccept", Write("sslmode=verify-full, or sslmode=require")), ("sslca", Write("sslrootcert=/path/ca.pem")),
    ("sslfactory", Write("sslmode=require")), ("sslidentity", CLIENT_CERTIFICATE), ("sslinline", CLIENT_CERTIFICATE),
    ("ssl_cert", CLIENT_CERTIFICATE), ("ssl_key", CLIENT_CERTIFICATE),
    ("targetservertype", Write("target_session_attrs=read-write")), ("tcpkeepalive", Write("keepalives=1")),
    ("username", Write("user=...")), ("uselibpqcompat", Remove), ("direct_tls", Write("sslnegotiation=direct")),
    ("endpoint", Write("options=endpoint%3D...")),
    // Pools and statement caches: pgx, sqlx, Prisma, node-postgres, SQLAlchemy, asyncpg, Django, Rails, JDBC, lib/pq
    ("acquire_timeout", Remove), ("advisory_locks", Remove), ("async_fallback", Remove), ("autosave", Remove),
    ("binary_parameters", Remove), ("binarytransfer", Remove), ("checkout_timeout", Remove),
    ("command_timeout", Remove), ("conn_health_checks", Remove), ("conn_max_age", Remove),
    ("connection_limit", Remove), ("default_query_exec_mode", Remove), ("defaultrowfetchsize", Remove),
    ("description_cache_capacity", Remove), ("disable_prepared_binary_result", Remove), ("idle_timeout", Remove),
    ("idletimeoutmillis", Remove), ("max", Remove), ("max_cached_statement_lifetime", Remove),
    ("max_cacheable_statement_size", Remove), ("max_connections", Remove), ("max_idle", Remove),
    ("max_lifetime", Remove), ("max_overflow", Remove), ("max_size", Remove), ("min", Remove),
    ("min_connections", Remove), ("min_read_buffer_size", Remove), ("min_size", Remove), ("pgbouncer", Remove),
    ("plan_cache_mode", Remove), ("pool", Remove), ("pool_health_check_period", Remove),
    ("pool_max_conn_idle_time", Remove), ("pool_max_conn_lifetime", Remove),
    ("pool_max_conn_lifetime_jitter", Remove), ("pool_max_conns", Remove), ("pool_min_conns", Remove),
    ("pool_min_idle_conns", Remove), ("pool_mode", Remove), ("pool_pre_ping", Remove), ("pool_recycle", Remove),
    ("pool_size", Remove), ("pool_timeout", Remove), ("prefer_simple_protocol", Remove), ("preferquerymode", Remove),
    ("prepare", Remove), ("prepared_statement_cache_size", Remove), ("prepared_statement_name_func", Remove),
    ("prepared_statements", Remove), ("preparethreshold", Remove), ("query_timeout", Remove), ("readonly", Remove),
    ("reaping_frequency", Remove), ("rewritebatchedinserts", Remove), ("server_settings", Remove),
    ("simple_protocol", Remove), ("single_use_connections", Remove), ("socket_timeout", Remove),
    ("sockettimeout", Remove), ("statement_cache_capacity", Remove), ("statement_cache_mode", Remove),
    ("statement_cache_size", Remove), ("stringtype", Remove), ("supa", Remove), ("timeout", Remove),
    ("workaround", Remove),
    // Migrators: golang-migrate, dbmate, refinery, Flyway
    ("migrations_table", Remove), ("table_name", Remove), ("x_advisory_lock", Remove), ("x_lock_strategy", Remove),
    ("x_lock_table", Remove), ("x_migrations_table", Remove), ("x_migrations_table_quoted", Remove),
    ("x_multi_statement", Remove), ("x_multi_statement_max_size", Remove),
    ("x_statement_timeout", Set("statement_timeout", "60s")),
];

/// The error for an option that is not supported. It shows only names of this list.
pub(super) fn refuse(name: &str, form: Form) -> Error {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let Some((name, instead)) = FOREIGN.iter().find(|(foreign, _)| *foreign == name) else {
        return Error::BadUrl {
            reason: "it has an option whose name is not shown, because it may be a part of the password".to_owned(),
            advice: match form {
                Form::Url => "in the password write & as %26, @ as %40, / as %2F, ? as %3F, # as %23, % as %25; \
                              remove options that are not libpq's"
                    .to_owned(),
                Form::Keywords => "put the password into quotes, '...', and write ' as \\' and \\ as \\\\ there; \
                                   remove options that are not libpq's"
                    .to_owned(),
            },
        };
    };
    let advice = match instead {
        Remove => "remove it; it has no effect here".to_owned(),
        Write(text) => format!("write {text} instead"),
        Set(setting, value) if form == Form::Url => format!("write options=-c{setting}%3D{value} instead"),
        Set(setting, value) => format!("write options='-c {setting}={value}' instead"),
        Never(advice) => (*advice).to_owned(),
    };
    Error::BadUrl { reason: format!("it has the option {name}, which is not supported"), advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_written_as_it_is_looked_for_and_only_once() {
        let names: std::collections::BTreeSet<&str> = FOREIGN.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), FOREIGN.len());
        for name in names {
            assert_eq!(name, name.to_ascii_lowercase().replace('-', "_"));
        }
    }
}
