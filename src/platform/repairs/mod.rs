//! The platform's repairs, one file each. A new one is listed here and in `catalog.rs`.

mod codex_cache;
mod hourly_rollup;

pub use codex_cache::CodexCache;
pub use hourly_rollup::HourlyRollup;
