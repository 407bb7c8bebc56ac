//! The platform's repairs, one file each. A new one is named here, and in `catalog.rs`. The compiler warns of one that is not
//! there.

pub(crate) mod codex_cache;
pub(crate) mod hourly_rollup;
