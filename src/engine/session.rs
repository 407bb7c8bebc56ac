//! How the session that migrates is set before each file.

/// How long a migration may stand in the queue for a strong lock, with the application queueing behind it, before it
/// rolls back and tries again. Well under the second after which PostgreSQL looks for deadlocks: where a migration and
/// the application have locked each other out, it is the migration that steps back, and no write of the application
/// fails.
pub(super) const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout TO '300ms'";

/// How the server is to read a file: as it was read when the set was put together. It is told so before each file,
/// whatever an earlier one has set.
pub(super) const READ_AS_WRITTEN: &str = "SET client_encoding TO 'UTF8'; SET standard_conforming_strings TO on";

/// The same for a file that begins its transaction itself, so that it has to be set for the session; what was set before is
/// kept for [`WAIT_AGAIN`].
pub(super) const STEP_BACK_SOON: &str = "; SELECT pg_catalog.set_config('migrate.lock_timeout', \
    pg_catalog.current_setting('lock_timeout'), false), pg_catalog.set_config('lock_timeout', '300ms', false)";

/// Sets the time to wait for locks to what it was before [`STEP_BACK_SOON`].
pub(super) const WAIT_AGAIN: &str = "; SELECT pg_catalog.set_config('lock_timeout', \
    pg_catalog.current_setting('migrate.lock_timeout'), false)";
