//! The settings of a session, made before its first statement.

use super::waits::Waits;

/// The settings of a session.
/// - Timeouts that a role or database sets for its application are reset: they would end a migration halfway. Timeouts in
///   the URL stay: they are meant for this program.
/// - If the client dies, the server ends its statement within a second, so that a killed run does not continue unseen.
/// - If the client's host vanishes, the server ends the session after half a minute. It sends a keepalive after six seconds,
///   then every three, and ends at thirty, so that a network failure of fifteen seconds is survived. `tcp_user_timeout`
///   limits unanswered data to the same time, minus a second, so that it has passed at the last keepalive. Local sockets
///   ignore these.
/// - Times are written and read in UTC.
/// - Rows hidden by a policy are an error.
/// - Definitions of objects have the same text whatever the database's configuration.
///
/// `kept`: the URL has options, which stay. Which those are, only the server's list of all settings tells, and that is slow.
pub(super) fn settings(local: bool, kept: bool, waits: &Waits) -> String {
    let sql = include_str!("settings.sql");
    let from = if kept {
        "pg_catalog.pg_settings g JOIN s ON g.name = s.name AND (s.always OR g.source <> 'client')"
    } else {
        "s"
    };
    sql.replace("{from}", from)
        .replace("{local}", if local { "true" } else { "false" })
        .replace("{lock_timeout}", &waits.lock_timeout().to_string())
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
