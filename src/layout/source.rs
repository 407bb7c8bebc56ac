//! The files of a folder, read once: what is compared, planned and applied is the same text.

use std::fs::{self, FileType};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{LayoutError, sql};

/// A file of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its path inside the folder, with `/` between its parts.
    pub path: String,
    /// Its text, as it is: with a byte order mark and carriage returns, where it has them.
    pub text: Arc<str>,
}

impl Source {
    /// The text without a mark before it. It is kept once, as far as it is the same.
    pub(crate) fn without_mark(&self) -> Arc<str> {
        let text = sql::without_mark(&self.text);
        if text.len() == self.text.len() { Arc::clone(&self.text) } else { text.into() }
    }
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
    /// The paths of other files, in the same order: a tool may take one for a migration in another language.
    pub others: Vec<String>,
}

/// Deeper than any tool looks.
const DEEPEST: usize = 6;

/// Most migrations are shorter, and are read at once.
const BUFFER: usize = 16 * 1024;

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
        let mut sources = Self { folder: shown, files: Vec::new(), folders: Vec::new(), others: Vec::new() };
        sources.collect(&root, &root, "", &mut Vec::with_capacity(BUFFER))?;
        sources.files.sort_by(|a, b| a.path.cmp(&b.path));
        sources.folders.sort();
        sources.others.sort();
        Ok(sources)
    }

    /// Reads a folder, and those in it as deep as any tool looks. `within`: what the paths of its files begin with. `buffer`
    /// is used for one file after the other.
    fn collect(&mut self, root: &Path, folder: &Path, within: &str, buffer: &mut Vec<u8>) -> Result<(), LayoutError> {
        let depth = within.matches('/').count();
        let entries = fs::read_dir(folder).map_err(|error| unreadable(&folder.display().to_string(), &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(&folder.display().to_string(), &error))?;
            let path = entry.path();
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                let reason = "the name is not UTF-8".to_owned();
                let path = format!("{within}{}", entry.file_name().display());
                return Err(LayoutError::Name { path, reason });
            };
            if name.starts_with('.') {
                continue;
            }
            let shown = format!("{within}{name}");
            let kind = entry.file_type().map_err(|error| unreadable(&shown, &error))?;
            let link = if kind.is_symlink() { Some(resolved(&path, &shown)?) } else { None };
            let kind = link.as_ref().map_or(kind, |(_, kind)| *kind);
            let is_wanted = is_wanted(&name);
            let target = link.map(|(target, _)| target);
            // Nobody reads the others; they may lead anywhere.
            let is_read = is_wanted || kind.is_dir();
            if let Some(target) = target.as_ref().filter(|target| is_read && !target.starts_with(root)) {
                return Err(LayoutError::Outside { path: shown, target: target.display().to_string() });
            }
            if kind.is_dir() {
                if depth == 0 {
                    self.folders.push(name);
                }
                if depth < DEEPEST {
                    self.collect(root, &path, &format!("{shown}/"), buffer)?;
                }
            } else if !is_wanted {
                self.others.push(shown);
            } else if kind.is_file() {
                let text = text(target.as_ref().unwrap_or(&path), &shown, buffer)?;
                self.files.push(Source { text: text.into(), path: shown });
            } else {
                let reason = "it is neither a file nor a folder".to_owned();
                return Err(LayoutError::Unreadable { path: shown, reason });
            }
        }
        Ok(())
    }

    /// Files that were compiled into a program, as (path, text).
    pub fn embedded<'a>(folder: &str, files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let file = |(path, text): (&str, &str)| Source { path: path.to_owned(), text: text.into() };
        let (mut files, others): (Vec<_>, Vec<_>) = files.into_iter().map(file).partition(|file| is_wanted(&file.path));
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut others: Vec<_> = others.into_iter().map(|file| file.path).collect();
        others.sort();
        let paths = files.iter().map(|file| &file.path).chain(&others);
        let mut folders: Vec<_> = paths.filter_map(|path| Some(path.split_once('/')?.0.to_owned())).collect();
        folders.sort();
        folders.dedup();
        Self { folder: folder.to_owned(), files, folders, others }
    }

    /// The same for bytes. Files that are hidden are left out.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] for a file that some layout reads and that is not UTF-8.
    pub fn embedded_bytes<'a>(
        folder: &str,
        files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, LayoutError> {
        let shown = files.into_iter().filter(|(path, _)| !path.split('/').any(|part| part.starts_with('.')));
        let read = shown.map(|(path, bytes)| {
            let text = if is_wanted(path) { checked(bytes, path)? } else { "" };
            Ok((path, text))
        });
        let read = read.collect::<Result<Vec<_>, LayoutError>>()?;
        Ok(Self::embedded(folder, read))
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
    ending.eq_ignore_ascii_case("sql") || beside.contains(&name) || name.ends_with(".sql.conf")
}

/// Where a link leads, and what is there.
fn resolved(path: &Path, shown: &str) -> Result<(PathBuf, FileType), LayoutError> {
    let resolved = path.canonicalize().and_then(|real| Ok((real.clone(), fs::metadata(&real)?.file_type())));
    resolved.map_err(|error| unreadable(shown, &error))
}

fn text<'a>(path: &Path, shown: &str, buffer: &'a mut Vec<u8>) -> Result<&'a str, LayoutError> {
    buffer.clear();
    // One more than may be there tells.
    let read = fs::File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(buffer));
    if read.map_err(|error| unreadable(shown, &error))? as u64 > LONGEST {
        let reason = format!("it is longer than {} MiB", LONGEST / 1024 / 1024);
        return Err(LayoutError::Unreadable { path: shown.to_owned(), reason });
    }
    checked(buffer, shown)
}

/// The text of a file, if it can be sent to the server.
fn checked<'a>(bytes: &'a [u8], shown: &str) -> Result<&'a str, LayoutError> {
    let text = str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.split(|byte| *byte == b'\n').count();
        LayoutError::content(shown, line, "it is not UTF-8: save it in that encoding")
    })?;
    match text.find('\0') {
        None => Ok(text),
        Some(at) => {
            let line = text[..at].split('\n').count();
            Err(LayoutError::content(shown, line, "it holds a byte of value 0, which PostgreSQL does not take"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that is gone afterwards.
    struct Trial(PathBuf);

    impl Trial {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("migrate-layout-{}-{name}", std::process::id()));
            fs::create_dir_all(path.join("in")).unwrap();
            Self(path)
        }

        /// The folder that is read.
        fn folder(&self) -> PathBuf {
            self.0.join("in")
        }

        fn write(&self, path: &str, text: &[u8]) {
            let path = self.folder().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn refusal(&self) -> String {
            Sources::read(&self.folder()).unwrap_err().to_string().replace(&self.0.display().to_string(), "T")
        }
    }

    impl Drop for Trial {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_folder_is_read_by_path_and_without_what_is_hidden() {
        let trial = Trial::new("read");
        for path in
            ["b.sql", "a/up.sql", "B.SQL", "c.sql.conf", "atlas.sum", ".hidden.sql", ".d/a.sql", "e.go", "README"]
        {
            trial.write(path, path.as_bytes());
        }
        trial.write("mark.sql", b"\xef\xbb\xbfSELECT 1;\r\n");
        let sources = Sources::read(&trial.folder()).unwrap();
        let paths: Vec<_> = sources.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["B.SQL", "a/up.sql", "atlas.sum", "b.sql", "c.sql.conf", "mark.sql"]);
        assert_eq!(sources.others, ["README", "e.go"]);
        assert_eq!((&*sources.files[1].text, &*sources.files[5].text), ("a/up.sql", "\u{feff}SELECT 1;\r\n"));
    }

    #[test]
    fn a_file_that_is_no_text_is_refused_with_its_line() {
        let trial = Trial::new("utf-8");
        trial.write("1_a.sql", b"SELECT 1;\nSELECT '\xe4';\n");
        assert_eq!(trial.refusal(), "line 2 of 1_a.sql: it is not UTF-8: save it in that encoding");
        trial.write("1_a.sql", b"SELECT 1;\n\nSELECT '\0';\n");
        let expected = "line 3 of 1_a.sql: it holds a byte of value 0, which PostgreSQL does not take";
        assert_eq!(trial.refusal(), expected);
    }

    #[test]
    fn a_folder_that_is_missing_is_an_error() {
        let trial = Trial::new("missing");
        fs::remove_dir(trial.folder()).unwrap();
        assert_eq!(trial.refusal(), "T/in cannot be read: No such file or directory (os error 2)");
    }

    #[test]
    fn compiled_in_bytes_are_read_as_a_folder_is() {
        let files: [(&str, &[u8]); 4] =
            [("2_b.sql", b"SELECT 2;"), (".git/x.sql", b"\xff"), ("logo.png", b"\xff"), ("1_a.sql", b"SELECT 1;")];
        let sources = Sources::embedded_bytes("m", files).unwrap();
        let paths: Vec<_> = sources.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!((paths, sources.others), (vec!["1_a.sql", "2_b.sql"], vec!["logo.png".to_owned()]));
        let error = Sources::embedded_bytes("m", [("1_a.sql", &b"--\n\xff"[..])]).unwrap_err();
        assert_eq!(error.to_string(), "line 2 of 1_a.sql: it is not UTF-8: save it in that encoding");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_may_not_lead_out_of_the_folder() {
        let trial = Trial::new("links");
        let link = |target: &str, path: &str| std::os::unix::fs::symlink(target, trial.folder().join(path)).unwrap();
        trial.write(".data/1_a.sql", b"SELECT 1;");
        fs::write(trial.0.join("outside.sql"), "SELECT 2;").unwrap();
        link(".data/1_a.sql", "1_a.sql");
        // Nobody reads this one.
        link("../outside.sql", "README");
        let sources = Sources::read(&trial.folder()).unwrap();
        assert_eq!((sources.files.len(), &*sources.files[0].text), (1, "SELECT 1;"));
        link("../outside.sql", "2_b.sql");
        assert_eq!(trial.refusal(), "2_b.sql is a link to T/outside.sql, outside the folder");
        fs::remove_file(trial.folder().join("2_b.sql")).unwrap();
        link("..", "up");
        assert_eq!(trial.refusal(), "up is a link to T, outside the folder");
        fs::remove_file(trial.folder().join("up")).unwrap();
        link("nowhere", "3_c.sql");
        assert_eq!(trial.refusal(), "3_c.sql cannot be read: No such file or directory (os error 2)");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let trial = Trial::new("socket");
        let _socket = std::os::unix::net::UnixListener::bind(trial.folder().join("1_a.sql")).unwrap();
        assert_eq!(trial.refusal(), "1_a.sql cannot be read: it is neither a file nor a folder");
    }
}
