//! The provider's export: CSV files, read row by row.

mod columns;
mod error;
mod files;
mod guard;
mod row;
mod rows;

pub use error::{ExportError, Fault};
pub use files::{Source, in_folder, sources};
pub use rows::{COLUMNS, Export, Range};
