//! The folder that holds the evidence of one run.
//!
//! It says of itself that it is unfinished until all of it is on the disk: [`UNFINISHED`] is the first file that is written
//! and the last that goes. Room for what is written after the run is taken before it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::failure::Failure;
use crate::layout::sha256;

/// What a complete folder holds besides the sums; the schema after the run, and the difference, only where it could be read.
pub(super) const FILES: [&str; 12] = [
    "checks.json",
    "checks.txt",
    "environment.json",
    "index.html",
    "plan.json",
    "plan.sql",
    "rollback.txt",
    LOG,
    "schema-after.txt",
    "schema-before.txt",
    "schema.diff",
    "verdict.json",
];
/// The result of the rehearsal, where the run was held to one.
pub(super) const REHEARSAL: &str = "rehearsal.json";
/// There as long as the folder is no evidence.
pub(super) const UNFINISHED: &str = "UNFINISHED";
/// The sum of every other file, for `sha256sum -c`.
pub(super) const SUMS: &str = "SHA256SUMS";
/// The events.
pub(super) const LOG: &str = "run.log";
/// Takes the room for what is written later.
const RESERVE: &str = "RESERVE";

const NOT_YET: &str =
    "This folder is not evidence: the run that writes it is still at work, or was ended before it could finish it.\n";

/// A folder that is being written.
pub(super) struct Folder {
    path: PathBuf,
    log: Mutex<Log>,
}

struct Log {
    file: File,
    lines: usize,
    /// Why lines are missing.
    lost: Option<io::Error>,
}

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", file.display())]
pub(super) struct NotWritten {
    file: PathBuf,
    error: io::Error,
}

impl Folder {
    /// Makes the folder. One that exists is somebody's, even if it is empty: of two runs only one can make it.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        DirBuilder::new().mode(0o700).create(path).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                Failure::usage(format!("{shown} exists already, and evidence is never added to or replaced"))
                    .hint("nothing was done; name a folder that does not exist yet")
            }
            ErrorKind::NotFound => {
                Failure::usage(format!("the folder for the evidence cannot be made at {shown}: {error}"))
                    .hint("nothing was done; create the folder above it first")
            }
            _ => Failure::usage(format!("the folder for the evidence cannot be made at {shown}: {error}"))
                .hint("nothing was done"),
        })?;
        let begin = || -> Result<Self, NotWritten> {
            write(&path.join(UNFINISHED), NOT_YET.as_bytes())?;
            let log = open(&path.join(LOG))?;
            sync(path)?;
            sync(&above(path))?;
            Ok(Self { path: path.to_owned(), log: Mutex::new(Log { file: log, lines: 0, lost: None }) })
        };
        begin().map_err(|error| {
            remove(path);
            Failure::new(crate::exit::FAILED, format!("could not write the evidence, {error}")).hint("nothing was done")
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file, down to the disk.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), NotWritten> {
        write(&self.path.join(name), bytes)
    }

    /// Takes this much room. What fills it cannot be compressed, or the file system would not keep it free.
    pub fn reserve(&self, bytes: usize) -> Result<(), NotWritten> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let words = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        let filler: Vec<u8> = words.take(bytes.div_ceil(8)).flatten().collect();
        self.write(RESERVE, &filler)?;
        sync(&self.path)
    }

    /// Gives that room back.
    pub fn free(&self) {
        let _ = fs::remove_file(self.path.join(RESERVE));
    }

    /// Adds a line to the log. A line for which there is no room takes some of what is reserved.
    pub fn line(&self, line: &str) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.lost.is_some() {
            return;
        }
        let line = format!("{line}\n");
        let written = log.file.write_all(line.as_bytes()).or_else(|error| match error.kind() {
            ErrorKind::StorageFull => {
                self.free();
                // A part of the line may be there: the reader sees it cut off, and then whole.
                log.file.write_all(b"\n").and_then(|()| log.file.write_all(line.as_bytes()))
            }
            _ => Err(error),
        });
        log.lines += 1;
        log.lost = written.err();
    }

    /// How many lines the log has.
    pub fn events(&self) -> usize {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).lines
    }

    /// Ends the log, writes the sums and takes the mark away. Returns the sum of the sums.
    pub fn complete(&self) -> Result<String, NotWritten> {
        {
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            let ended = log.lost.take().map_or_else(|| log.file.sync_all(), Err);
            ended.map_err(|error| NotWritten { file: self.path.join(LOG), error })?;
        }
        self.free();
        let sums = self.sums().map_err(|error| NotWritten { file: self.path.clone(), error })?;
        self.write(SUMS, sums.as_bytes())?;
        sync(&self.path)?;
        let mark = self.path.join(UNFINISHED);
        fs::remove_file(&mark).map_err(|error| NotWritten { file: mark, error })?;
        sync(&self.path)?;
        Ok(sha256(sums.as_bytes()))
    }

    fn sums(&self) -> io::Result<String> {
        let mut sums = String::new();
        for name in names(&self.path)?.into_iter().filter(|name| ![UNFINISHED, SUMS].contains(&name.as_str())) {
            sums.extend([&sha256(&fs::read(self.path.join(&name))?), "  ", &name, "\n"]);
        }
        Ok(sums)
    }

    /// Removes it: there was no run that it could be evidence of.
    pub fn discard(&self) {
        remove(&self.path);
    }
}

/// The files of a folder, sorted.
pub(super) fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = entries.collect::<io::Result<Vec<String>>>()?;
    names.sort_unstable();
    Ok(names)
}

fn open(file: &Path) -> Result<File, NotWritten> {
    let opened = OpenOptions::new().append(true).create_new(true).mode(0o600).open(file);
    opened.map_err(|error| NotWritten { file: file.to_owned(), error })
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), NotWritten> {
    let mut to = open(file)?;
    to.write_all(bytes).and_then(|()| to.sync_all()).map_err(|error| NotWritten { file: file.to_owned(), error })
}

fn sync(folder: &Path) -> Result<(), NotWritten> {
    let synced = File::open(folder).and_then(|opened| match opened.sync_all() {
        // Some file systems have nothing to do for a folder, and say so.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        done => done,
    });
    synced.map_err(|error| NotWritten { file: folder.to_owned(), error })
}

fn above(path: &Path) -> PathBuf {
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Removes a folder that this run has made. What somebody else has put into it stays.
fn remove(path: &Path) {
    for name in FILES.into_iter().chain([REHEARSAL, UNFINISHED, SUMS, RESERVE]) {
        let _ = fs::remove_file(path.join(name));
    }
    let _ = fs::remove_dir(path);
}
