//! Sets that are folders of files: read when the program runs, or compiled into it.

use std::path::Path;

use include_dir::{Dir, DirEntry};
use migrate_layout::{self as layout, Folder, Layout, LayoutError, Options, Sources};

use super::{Set, SetBuilder, SetError};

/// Compiles a folder of migrations into the program, for [`Set::from_embedded`].
///
/// ```text
/// Set::from_embedded("notes", &migrate::embed!("$CARGO_MANIFEST_DIR/migrations"))?.build()
/// ```
///
/// The path begins with `$CARGO_MANIFEST_DIR`, the folder of the package's `Cargo.toml`. Cargo notices by itself that a file
/// has changed. That one was added or removed it notices with a `build.rs` beside `Cargo.toml`:
///
/// ```
/// println!("cargo:rerun-if-changed=migrations"); // in its main
/// ```
#[macro_export]
macro_rules! embed {
    ($path:tt) => {{
        #[allow(
            unused_imports,
            clippy::single_component_path_imports,
            reason = "the inner macro looks for this name"
        )]
        use $crate::include_dir;
        const FOLDER: include_dir::Dir<'static> = include_dir::include_dir!($path);
        FOLDER
    }};
}

impl Set {
    /// Starts a set with the migrations of a folder, which is read once, now. Its files tell how it is laid out; where they
    /// fit this program's own layout and another one, that is the one. [`Set::from_folder`] takes any other.
    ///
    /// A path that is not absolute begins in the current folder of the process.
    ///
    /// # Errors
    ///
    /// [`SetError::Folder`] for a folder or file that cannot be read, and for one that fits no layout, or several.
    pub fn from_dir(name: &str, path: impl AsRef<Path>) -> Result<SetBuilder, SetError> {
        from_sources(name, &Sources::read(path.as_ref())?)
    }

    /// The same for a folder that [`embed!`](crate::embed) has compiled into the program.
    ///
    /// # Errors
    ///
    /// As [`Set::from_dir`].
    pub fn from_embedded(name: &str, folder: &Dir<'_>) -> Result<SetBuilder, SetError> {
        let mut files = Vec::new();
        collect(folder, &mut files);
        from_sources(name, &Sources::embedded_bytes("the embedded folder", files)?)
    }

    /// The same for a folder that has been read with a layout and options of your choice.
    #[must_use]
    pub fn from_folder(name: &str, folder: Folder) -> SetBuilder {
        Self::builder(name).folder(folder)
    }
}

fn from_sources(name: &str, sources: &Sources) -> Result<SetBuilder, SetError> {
    let fits = layout::fits(sources);
    let chosen = match fits.as_slice() {
        [] => return Err(layout::why_not(sources).into()),
        [only] => *only,
        several if several.contains(&Layout::Migrate) => Layout::Migrate,
        _ => return Err(LayoutError::Ambiguous { folder: sources.folder.clone(), layouts: fits }.into()),
    };
    let folder = layout::read(sources, chosen, &Options::default())?;
    let shown = sources.folder.clone();
    Ok(Set::from_folder(name, folder).with_origin(|origin| origin.folder = Some(shown)))
}

/// The files of a folder and those in it, each with its path. Other paths than UTF-8 cannot be compiled in.
fn collect<'a>(folder: &Dir<'a>, files: &mut Vec<(&'a str, &'a [u8])>) {
    for entry in folder.entries() {
        match entry {
            DirEntry::Dir(folder) => collect(folder, files),
            DirEntry::File(file) => files.extend(file.path().to_str().map(|path| (path, file.contents()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hook::{Hook, HookError};
    use crate::{Forecast, HookContext, Outcome, Version};

    struct Fill;

    #[async_trait::async_trait]
    impl Hook for Fill {
        fn name(&self) -> &'static str {
            "fill"
        }

        async fn plan(&self, _: &HookContext) -> Result<Forecast, HookError> {
            Ok(Forecast::nothing("nothing"))
        }

        async fn run(&self, _: &HookContext) -> Result<Outcome, HookError> {
            Ok(Outcome::new("nothing"))
        }
    }

    fn embedded(files: &[(&str, &str)]) -> Result<SetBuilder, SetError> {
        from_sources("notes", &Sources::embedded("notes", files.iter().copied()))
    }

    #[test]
    fn a_hook_is_registered_by_version_or_by_the_name_of_a_file() {
        let files = [("1_note.sql", "CREATE TABLE note ();"), ("2_slug.sql", "ALTER TABLE note ADD slug text;")];
        let set = embedded(&files).unwrap().before(1, Fill).before_named("2_slug", Fill).build().unwrap();
        let hooks = |version: i64| set.hooks_before(version).len();
        assert_eq!((hooks(1), hooks(2), set.latest()), (1, 1, Version::number(2)));
        let error = embedded(&files).unwrap().before_named("3_tag", Fill).build().err().unwrap();
        assert_eq!(error.to_string(), "hook fill is registered at version 3_tag, which the set does not have");
    }

    #[test]
    fn a_folder_of_several_layouts_is_ours_or_nobodys() {
        let set = embedded(&[("1_a.sql", "SELECT 1;")]).unwrap().build().unwrap();
        assert_eq!(set.origin().map(|origin| origin.layout), Some(Layout::Migrate));
        let empty = embedded(&[]).err().unwrap().to_string();
        assert_eq!(empty, "notes holds no migration");
    }

    #[test]
    fn a_folder_is_compiled_in() {
        let folder = embed!("$CARGO_MANIFEST_DIR/../../examples/notes");
        let set = Set::from_embedded("notes", &folder).unwrap().build().unwrap();
        assert_eq!(
            set.migrations().iter().map(crate::Migration::file).collect::<Vec<_>>(),
            ["1_note.sql", "2_note_slug.sql"]
        );
    }
}
