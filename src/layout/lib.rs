//! Folders of SQL files, as migration tools lay them out: which files they hold, in which order, how each is sent, and
//! what its tool's history would say of it. No database is asked.
//!
//! [`Sources`] reads a folder once; [`fits`] tells which layouts it fits; [`read`] reads it as one of them.

mod alone;
mod atlas;
mod checksum;
mod dbmate;
mod diesel;
mod drizzle;
mod environment;
mod error;
mod flyway;
mod flyway_conf;
mod flyway_script;
mod folder;
#[cfg(test)]
mod fuzz;
mod golang_migrate;
mod goose;
mod layouts;
mod migrate;
mod names;
mod prisma;
mod reading;
mod refinery;
mod source;
pub mod sql;
mod sqlx;
mod supabase;
mod tokens;
mod up_down;
mod version;

pub use checksum::{Checksum, checksum_of, crc32};
pub use error::LayoutError;
pub use folder::{Directive, File, Folder, Options, Repeatable, Script, Sending, directives};
pub use layouts::{Late, Layout};
pub use source::{Source, Sources};
pub use tokens::{Kind, Token};
pub use version::Version;

/// The layouts that a folder fits, markers and names considered. More than one where their files look alike.
#[must_use]
pub fn fits(sources: &Sources) -> Vec<Layout> {
    let _ = sources;
    Vec::new()
}

/// Reads a folder as `layout` says.
///
/// # Errors
///
/// [`LayoutError`] for what is wrong with it, with file and line.
#[allow(clippy::match_same_arms)]
pub fn read(sources: &Sources, layout: Layout, options: &Options) -> Result<Folder, LayoutError> {
    match layout {
        Layout::Migrate => migrate::read(sources),
        Layout::Sqlx => sqlx::read(sources),
        Layout::GolangMigrate => golang_migrate::read(sources),
        Layout::UpDown => up_down::read(sources),
        Layout::Supabase => supabase::read(sources),
        Layout::Atlas => atlas::read(sources),
        Layout::Dbmate => dbmate::read(sources),
        Layout::Goose => goose::read(sources, options),
        Layout::Refinery => refinery::read(sources),
        Layout::Flyway => flyway::read(sources, options),
        Layout::Diesel => diesel::read(sources),
        Layout::Prisma => prisma::read(sources),
        Layout::Drizzle => drizzle::read(sources),
        Layout::DrizzleFolders => drizzle::read_folders(sources),
    }
}

fn unread(sources: &Sources) -> LayoutError {
    LayoutError::Empty { folder: sources.folder.clone() }
}
