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
mod hidden;
mod layouts;
mod migrate;
mod names;
mod new;
mod prisma;
mod reading;
mod recognise;
mod refinery;
mod source;
pub mod sql;
mod sqlx;
mod supabase;
mod tokens;
mod up_down;
mod version;

pub use checksum::{Checksum, checksum_of, crc32, sha256};
pub use error::LayoutError;
pub use folder::{Directive, File, Folder, Options, Repeatable, Script, Sending, directives};
pub use hidden::Hidden;
pub use layouts::{Late, Layout};
pub use new::{New, new_files};
pub use recognise::{fits, why_not};
pub use source::{Source, Sources};
pub use tokens::{Kind, Token};
pub use version::Version;

/// Reads a folder as `layout` says.
///
/// # Errors
///
/// [`LayoutError`] for what is wrong with it, with file and line.
pub fn read(sources: &Sources, layout: Layout, options: &Options) -> Result<Folder, LayoutError> {
    let mut folder = read_files(sources, layout, options)?;
    if !matches!(layout, Layout::Dbmate | Layout::Goose) {
        refuse_two_ways(&folder)?;
    }
    for file in &mut folder.files {
        // Nobody wants to see it recorded before it is written. A section of a file may be empty.
        let is_empty = |text: &str| sql::without_mark(text).trim().is_empty();
        if is_empty(&file.up.text) && sources.find(&file.up.path).is_some_and(|source| is_empty(&source.text)) {
            return Err(LayoutError::EmptyFile { path: file.up.path.clone() });
        }
        // A file without a statement takes nothing back. Some tools want it to be there.
        if file.down.as_ref().is_some_and(|down| !sql::has_statement(&down.text)) {
            file.down = None;
        }
    }
    Ok(folder)
}

/// Refuses a file that holds the way back, too, as those of some tools do: another layout would apply it and take it back.
fn refuse_two_ways(folder: &Folder) -> Result<(), LayoutError> {
    for script in folder.files.iter().map(|file| &file.up) {
        for (number, line) in (script.line..).zip(script.text.lines()) {
            if let Some(other) = recognise::begins_way_back(line) {
                let reason = format!(
                    "here begins the way back of a file for {}, and {} would run it at once: give {:?} as the layout",
                    names::tool(other),
                    names::tool(folder.layout),
                    other.key()
                );
                return Err(LayoutError::content(&script.path, number, reason));
            }
        }
    }
    Ok(())
}

fn read_files(sources: &Sources, layout: Layout, options: &Options) -> Result<Folder, LayoutError> {
    if let Some(folder) = sources.folders.iter().find(|folder| folder.ends_with(".before")) {
        let reason = "a folder of hooks, which this build does not run; write them in Rust, or name built-in ones in migrate.toml";
        return Err(LayoutError::Name { path: folder.clone(), reason: reason.to_owned() });
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_both_ways_is_refused_by_layouts_that_run_all_of_it() {
        let read = |layout, text| {
            let sources = Sources::embedded("f", [("1_a.sql", text)]);
            super::read(&sources, layout, &Options::default()).map(|folder| folder.files.len())
        };
        let goose = "-- +goose Up\nCREATE TABLE a ();\n-- +goose Down\nDROP TABLE a;\n";
        assert_eq!(
            read(Layout::Sqlx, goose).unwrap_err().to_string(),
            "line 3 of 1_a.sql: here begins the way back of a file for goose, and sqlx would run it at once: give \
             \"goose\" as the layout"
        );
        assert_eq!(
            read(Layout::Supabase, "-- migrate:up\nSELECT 1;\n-- migrate:down\n").unwrap_err().to_string(),
            "line 3 of 1_a.sql: here begins the way back of a file for dbmate, and Supabase would run it at once: give \
             \"dbmate\" as the layout"
        );
        assert_eq!((read(Layout::Goose, goose), read(Layout::Migrate, "-- Down\nSELECT 1;")), (Ok(1), Ok(1)));
    }

    #[test]
    fn an_empty_file_is_refused_and_an_empty_way_back_is_none() {
        for (layout, path, down) in [
            (Layout::Migrate, "1_a.up.sql", "1_a.down.sql"),
            (Layout::Sqlx, "1_a.up.sql", "1_a.down.sql"),
            (Layout::GolangMigrate, "1_a.up.sql", "1_a.down.sql"),
            (Layout::UpDown, "1_a.up.sql", "1_a.down.sql"),
            (Layout::Flyway, "V1__a.sql", "U1__a.sql"),
            (Layout::Diesel, "1_a/up.sql", "1_a/down.sql"),
            (Layout::Prisma, "1_a/migration.sql", "1_a/down.sql"),
        ] {
            let read = |up, back| {
                let sources = Sources::embedded("f", [(path, up), (down, back)]);
                read(&sources, layout, &Options::default())
            };
            let empty = read("\u{feff}\r\n", "SELECT 1;").unwrap_err();
            assert_eq!(empty.to_string(), format!("{path} is empty"));
            assert!(read("SELECT 1;", "SELECT 2;").unwrap().files[0].down.is_some(), "{layout}");
            // In a folder that we own, it must say what it does.
            if layout != Layout::Migrate {
                assert_eq!(read("SELECT 1;", "-- nothing;\n").unwrap().files[0].down, None, "{layout}");
            }
        }
    }
}
