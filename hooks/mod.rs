//! The hooks of this program's own sets, one file each. A new one is listed here and named in `src/catalog.rs`.

mod hourly_backfill;

pub use hourly_backfill::HourlyBackfill;
