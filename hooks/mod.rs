//! The hooks of this program's own sets, one file each. A new one is listed here and named in `src/catalog.rs`.

mod hourly_backfill;
mod hourly_rebuild;
mod walk;

pub use hourly_backfill::HourlyBackfill;
pub use hourly_rebuild::HourlyRebuild;
