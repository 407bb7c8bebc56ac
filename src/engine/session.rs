//! How the session that migrates is set before each file.

/// How long a migration may stand in the queue for a strong lock, with the application queueing behind it, before it
/// rolls back and tries again. Well under the second after which PostgreSQL looks for deadlocks: where a migration and
/// the application have locked each other out, it is the migration that steps back, and no write of the application
/// fails.
pub(super) const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout TO '300ms'";

/// How the server is to read a file: as it was read when the set was put together. It is told so before each file,
/// whatever an earlier one has set.
pub(super) const READ_AS_WRITTEN: &str = "SET client_encoding TO 'UTF8'; SET standard_conforming_strings TO on";
