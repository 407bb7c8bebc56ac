//! The settings of a session, made before its first statement.

use super::waits::Waits;

/// The settings of a session. Limits that a role or database sets for its application would end a migration
/// halfway; limits given in the URL are meant for us and stay. A session whose client has died ends its statement within
/// a second, so that a killed run does not go on working unseen; if the client's machine has vanished, within half a
/// minute of silence. The server asks after six seconds, then every three, and gives up at thirty: a network may be gone
/// for a quarter of a minute. What it sends meanwhile is given as long again (`tcp_user_timeout`, a second less, so that
/// it is over when the clock of the questions strikes). Over a local socket these do nothing. Times are written and read
/// as UTC. What a policy would hide is an error, not an absence; and what the server says of its objects does not depend
/// on how a database is configured.
pub(super) fn settings(local: bool, waits: &Waits) -> String {
    include_str!("settings.sql")
        .replace("{local}", if local { "true" } else { "false" })
        .replace("{lock_timeout}", &waits.lock_timeout().to_string())
}

/// Settings must not outlive their use where a pooler may hand the server's session to another client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// The session is ours: settings are made once.
    Session,
    /// No settings yet; `Connection::settle` makes them.
    Bare,
    /// Every statement runs in a transaction that cannot write, and settings are made there.
    ReadOnly,
}
