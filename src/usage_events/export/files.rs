//! The files of an export: which, and how each is opened.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use super::error::ExportError;

/// One file.
#[derive(Clone, Debug)]
pub struct Source {
    /// As it was named.
    pub path: PathBuf,
    /// Its length in bytes, as it lies there.
    pub bytes: u64,
}

/// What a compressed file begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];
const BUFFER: usize = 64 * 1024;

/// The files that were named, each once.
///
/// # Errors
///
/// [`ExportError`]: none, one that is there twice, or that cannot be looked at.
pub fn sources(paths: Vec<PathBuf>) -> Result<Vec<Source>, ExportError> {
    if paths.is_empty() {
        return Err(ExportError::None);
    }
    let mut seen = BTreeSet::new();
    let mut sources = Vec::new();
    for path in paths {
        let real = fs::canonicalize(&path).map_err(|error| unreadable(&path, &error))?;
        let facts = fs::metadata(&real).map_err(|error| unreadable(&path, &error))?;
        if facts.is_dir() {
            let reason = "it is a folder; --csv-dir reads all of one".to_owned();
            return Err(ExportError::Unreadable { path, reason });
        }
        if !seen.insert(real) {
            return Err(ExportError::Twice(path));
        }
        sources.push(Source { path, bytes: facts.len() });
    }
    Ok(sources)
}

/// The CSV files of a folder, by name, compressed or not.
///
/// # Errors
///
/// [`ExportError`]: it cannot be read, or holds none.
pub fn in_folder(folder: &Path) -> Result<Vec<PathBuf>, ExportError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        if [".csv", ".csv.gz"].iter().any(|ending| name.ends_with(ending)) && !name.starts_with('.') && !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() { Err(ExportError::NoFiles(folder.to_owned())) } else { Ok(paths) }
}

impl Source {
    /// Opens it, and adds to `read` what is read of it. A compressed file is told by its first bytes.
    pub(super) fn open(&self, read: Arc<AtomicU64>) -> Result<Box<dyn Read + Send>, ExportError> {
        let mut file = File::open(&self.path).map_err(|error| unreadable(&self.path, &error))?;
        let mut start = Vec::new();
        // Put in front again, since a pipe cannot be wound back; the reader of CSV looks for a byte order mark in the first piece.
        file.by_ref().take(4096).read_to_end(&mut start).map_err(|error| unreadable(&self.path, &error))?;
        let is_gzip = start.starts_with(&GZIP);
        let counted = Counted { inner: Cursor::new(start).chain(file), read };
        Ok(if is_gzip {
            Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, counted)))
        } else {
            Box::new(counted)
        })
    }
}

pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> ExportError {
    ExportError::Unreadable { path: path.to_owned(), reason: error.to_string() }
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
