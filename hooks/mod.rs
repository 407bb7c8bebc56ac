//! The hooks of the platform's set, one file each. A new hook is named here, and in the catalog before its version. The compiler
//! warns of a hook that the catalog does not use.

pub(crate) mod hourly_backfill;
pub(crate) mod hourly_rebuild;

pub use hourly_backfill::HourlyBackfill;
