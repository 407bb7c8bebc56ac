//! The files of a folder, read once: what is compared, planned and applied is the same text.

use std::fs;
use std::path::{Path, PathBuf};

use super::LayoutError;

/// A file of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its path inside the folder, with `/` between its parts.
    pub path: String,
    /// Its text, as it is: with a byte order mark and carriage returns, where it has them.
    pub text: String,
}

/// The files of a folder, by path.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The folder, for messages.
    pub folder: String,
    /// Its files, hidden ones left out, ordered by path, byte by byte.
    pub files: Vec<Source>,
    /// The folders directly in it, hidden ones left out, ordered by name; also those without a file that matters.
    pub folders: Vec<String>,
}

/// Deeper than any tool looks.
const DEEPEST: usize = 6;

/// A file that is longer is no migration.
const LONGEST: u64 = 256 * 1024 * 1024;

impl Sources {
    /// Reads what a layout may need: `.sql` files and what stands beside them for a tool.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] for a folder or file that cannot be read, one that is not UTF-8, a link that leads out of it.
    pub fn read(folder: &Path) -> Result<Self, LayoutError> {
        let shown = folder.display().to_string();
        let root = folder.canonicalize().map_err(|error| unreadable(&shown, &error))?;
        let mut files = Vec::new();
        let mut folders = Vec::new();
        collect(&root, &root, 0, &mut files, &mut folders)?;
        files.sort_by(|a: &Source, b| a.path.cmp(&b.path));
        folders.sort();
        Ok(Self { folder: shown, files, folders })
    }

    /// Files that were compiled into a program, as (path, text).
    pub fn embedded<'a>(folder: &str, files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let file = |(path, text): (&str, &str)| Source { path: path.to_owned(), text: text.to_owned() };
        let mut files: Vec<_> = files.into_iter().map(file).filter(|file| is_wanted(&file.path)).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut folders: Vec<_> =
            files.iter().filter_map(|file| Some(file.path.split_once('/')?.0.to_owned())).collect();
        folders.dedup();
        Self { folder: folder.to_owned(), files, folders }
    }

    /// The file of this path.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&Source> {
        let at = self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok()?;
        Some(&self.files[at])
    }
}

fn unreadable(path: &str, error: &std::io::Error) -> LayoutError {
    LayoutError::Unreadable { path: path.to_owned(), reason: error.to_string() }
}

/// Whether some layout reads a file of this name.
fn is_wanted(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let beside = ["atlas.sum", "migration_lock.toml", "metadata.toml", "_journal.json"];
    let ending = name.rsplit('.').next().unwrap_or_default();
    ending.eq_ignore_ascii_case("sql") || beside.contains(&name) || name.ends_with(".sql.conf") || is_rust(name)
}

/// Whether a file is a migration in Rust, as refinery has them. It cannot be run, but must not be missed either.
pub(crate) fn is_rust(name: &str) -> bool {
    let version = name.strip_suffix(".rs").and_then(|stem| stem.strip_prefix(['V', 'U'])?.split_once("__"));
    version.is_some_and(|(version, _)| version.bytes().all(|byte| byte.is_ascii_digit()))
}

fn collect(
    root: &Path,
    folder: &Path,
    depth: usize,
    files: &mut Vec<Source>,
    folders: &mut Vec<String>,
) -> Result<(), LayoutError> {
    let shown = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
    let entries = fs::read_dir(folder).map_err(|error| unreadable(&folder.display().to_string(), &error))?;
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(&folder.display().to_string(), &error))?;
        let path = entry.path();
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            let reason = "the name is not UTF-8".to_owned();
            return Err(LayoutError::Name { path: shown(&path), reason });
        };
        if name.starts_with('.') {
            continue;
        }
        let real = resolved(root, &path, &shown(&path))?;
        let about = fs::metadata(&real).map_err(|error| unreadable(&shown(&path), &error))?;
        if about.is_dir() {
            if depth == 0 {
                folders.push(name);
            }
            if depth < DEEPEST {
                collect(root, &path, depth + 1, files, folders)?;
            }
        } else if is_wanted(&name) {
            files.push(Source { path: shown(&path), text: text(&real, &shown(&path), about.len())? });
        }
    }
    Ok(())
}

/// Where a path leads, which must be inside the folder.
fn resolved(root: &Path, path: &Path, shown: &str) -> Result<PathBuf, LayoutError> {
    if !path.is_symlink() {
        return Ok(path.to_owned());
    }
    let real = path.canonicalize().map_err(|error| unreadable(shown, &error))?;
    if real.starts_with(root) {
        return Ok(real);
    }
    Err(LayoutError::Outside { path: shown.to_owned(), target: real.display().to_string() })
}

fn text(path: &Path, shown: &str, length: u64) -> Result<String, LayoutError> {
    if length > LONGEST {
        let reason = format!("it is longer than {} MiB", LONGEST / 1024 / 1024);
        return Err(LayoutError::Unreadable { path: shown.to_owned(), reason });
    }
    let bytes = fs::read(path).map_err(|error| unreadable(shown, &error))?;
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.split(|byte| *byte == b'\n').count();
        LayoutError::content(shown, line, "it is not UTF-8: save it in that encoding")
    })
}
