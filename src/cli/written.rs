//! Files that hold a result. Each appears whole, when there is a result, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::exit;
use super::failure::Failure;

/// A file that will be written. Dropped before, it leaves nothing.
pub struct Reserved {
    path: PathBuf,
    partial: PathBuf,
    file: Option<File>,
}

impl Reserved {
    /// Makes sure that the file can be written, and is not there yet: an old result must not pass for a new one.
    ///
    /// # Errors
    ///
    /// [`Failure`]: it is there, or cannot be written.
    pub fn new(path: &Path) -> Result<Self, Failure> {
        if path.symlink_metadata().is_ok() {
            let message = format!("{} is there already, and is not replaced", path.display());
            return Err(Failure::usage(message).hint("name another file, or remove it"));
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let partial = path.with_file_name(format!(".{name}.{}.partial", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&partial) {
            Ok(file) => Ok(Self { path: path.to_owned(), partial, file: Some(file) }),
            Err(error) => Err(Failure::new(exit::FAILED, format!("cannot write {}: {error}", path.display()))),
        }
    }

    /// Writes it, whole.
    ///
    /// # Errors
    ///
    /// [`Failure`] with what the system says.
    pub fn write(mut self, text: &str) -> Result<(), Failure> {
        self.fill(text)?;
        self.publish()
    }

    /// Writes it, but not to be seen yet: another file of the same result may still fail.
    ///
    /// # Errors
    ///
    /// [`Failure`] with what the system says.
    pub fn fill(&mut self, text: &str) -> Result<(), Failure> {
        let written = (|| {
            let Some(mut file) = self.file.take() else { return Err(io::Error::other("it is closed")) };
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })();
        written.map_err(|error| self.failed(&error))
    }

    /// Makes it appear. In the same folder, so that it is there at once.
    ///
    /// # Errors
    ///
    /// [`Failure`] with what the system says.
    pub fn publish(self) -> Result<(), Failure> {
        fs::rename(&self.partial, &self.path).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::new(exit::FAILED, format!("cannot write {}: {error}", self.path.display()))
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.partial);
    }
}
