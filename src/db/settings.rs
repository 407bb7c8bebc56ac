//! The settings of a session, made before its first statement.

use super::waits::Waits;

/// Limits, which stay as the URL's options set them; and since which major version the server has them.
/// - Timeouts that a role or database sets for its application are reset: they would end a migration halfway. Timeouts in
///   the URL stay: they are meant for this program.
/// - If the client dies, the server ends its statement within a second, so that a killed run does not continue unseen.
/// - If the client's host vanishes, the server ends the session after half a minute. It sends a keepalive after six seconds,
///   then every three, and ends at thirty, so that a network failure of fifteen seconds is survived. `tcp_user_timeout`
///   limits unanswered data to the same time, minus a second, so that it has passed at the last keepalive. Local sockets
///   ignore these.
const LIMITS: [(&str, &str, i32); 10] = [
    ("statement_timeout", "0", 0),
    ("lock_timeout", "{lock_timeout}", 0),
    ("idle_in_transaction_session_timeout", "0", 0),
    ("idle_session_timeout", "0", 14),
    ("transaction_timeout", "0", 17),
    ("client_connection_check_interval", "1s", 14),
    ("tcp_keepalives_idle", "6", 0),
    ("tcp_keepalives_interval", "3", 0),
    ("tcp_keepalives_count", "8", 0),
    ("tcp_user_timeout", "29000", 12),
];

/// What this program relies on, whatever anybody has set.
/// - Times are written and read in UTC.
/// - Rows hidden by a policy are an error.
/// - Definitions of objects have the same text whatever the database's configuration.
const FORMS: [(&str, &str); 10] = [
    ("default_transaction_isolation", "read committed"),
    ("TimeZone", "UTC"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
    ("transform_null_equals", "off"),
    ("row_security", "off"),
    ("quote_all_identifiers", "off"),
    ("standard_conforming_strings", "on"),
];

/// The SQL that makes the settings of a session, or of its transaction if they are `local`. `major` is the server's version;
/// none if the URL has options, some of which may stay, or if nobody knows.
pub(super) fn settings(local: bool, major: Option<i32>, waits: &Waits) -> String {
    let sql = if let Some(major) = major {
        let set = if local { "SET LOCAL" } else { "SET" };
        let limits = LIMITS.into_iter().filter(|(.., since)| *since <= major).map(|(name, value, _)| (name, value));
        let all = limits.chain(FORMS).map(|(name, value)| format!("{set} {name} TO '{value}'"));
        all.collect::<Vec<_>>().join("; ")
    } else {
        let limits = LIMITS.into_iter().map(|(name, value, _)| format!("('{name}', '{value}', false)"));
        let forms = FORMS.into_iter().map(|(name, value)| format!("('{name}', '{value}', true)"));
        include_str!("settings.sql")
            .replace("{values}", &limits.chain(forms).collect::<Vec<_>>().join(", "))
            .replace("{local}", if local { "true" } else { "false" })
    };
    sql.replace("{lock_timeout}", &waits.lock_timeout().to_string())
}

/// The major version in what a server tells of itself when a session begins, for example `15.18 (Debian 15.18-1)`.
pub(super) fn major(server_version: &str) -> Option<i32> {
    let digits = server_version.find(|c: char| !c.is_ascii_digit()).unwrap_or(server_version.len());
    server_version[..digits].parse().ok()
}

/// When settings are made: they must not outlive their use if a pooler may hand the session to another client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// The session belongs to this program: settings are made once.
    Session,
    /// No settings yet; `Connection::settle` makes them.
    Bare,
    /// Every statement runs in a read-only transaction, which has the settings.
    ReadOnly,
}
