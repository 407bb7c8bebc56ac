//! Exit codes. Scripts and jobs depend on them; a code never changes its meaning.

/// Done, or nothing to do.
pub const OK: u8 = 0;
/// Failed: a migration, a hook, a statement.
pub const FAILED: u8 = 1;
/// Wrong usage; the program did nothing.
pub const USAGE: u8 = 2;
/// Something is pending (`status --check`).
pub const PENDING: u8 = 3;
/// Drift: the history, the schema, or another subject of `verify` differs from what it should be.
pub const DRIFT: u8 = 4;
/// The program could not acquire a lock within `--lock-wait`.
pub const LOCKED: u8 = 5;
/// The database cannot be reached, or the connection cannot serve.
pub const UNREACHABLE: u8 = 6;
/// Refused: by a guard, or because this program does not fit the database.
pub const REFUSED: u8 = 7;
/// A repair had to leave rows: locked by others, out of its time, or written while it ran.
pub const ROWS_LEFT: u8 = 8;
/// Interrupted by Ctrl-C, after a clean rollback.
pub const SIGINT: u8 = 130;
/// Interrupted by SIGTERM, after a clean rollback.
pub const SIGTERM: u8 = 143;
