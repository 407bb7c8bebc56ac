//! The hooks of this program's own sets, one file each. A new one is named here, and in the catalog before its version. The
//! compiler warns of one that is not there.

pub(crate) mod hourly_backfill;
pub(crate) mod hourly_rebuild;

pub use hourly_backfill::HourlyBackfill;
