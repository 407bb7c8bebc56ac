//! The log, on standard error.

use tracing_subscriber::EnvFilter;

use super::output;

/// Writes what `MIGRATE_LOG` asks for, else what this many `-v` do.
pub(super) fn set_up(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "migrate=debug,warn",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("MIGRATE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| output::Log)
        .log_internal_errors(false)
        .with_ansi(false)
        .with_target(false)
        .init();
}
