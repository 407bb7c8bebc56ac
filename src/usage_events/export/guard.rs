//! What the reader of CSV lets pass, and an export must not have: a quote that nobody closes, and another encoding.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// No row is longer than this. Behind a quote that is never closed, the rest of the file would be one field.
const LONGEST_ROW: u64 = 1024 * 1024;

/// What has passed so far.
#[derive(Debug, Default)]
pub(super) struct Passed {
    open: AtomicBool,
    since_row: AtomicU64,
    ends_in_line: AtomicBool,
}

impl Passed {
    /// A row has been read.
    pub fn row(&self) {
        self.since_row.store(0, Ordering::Relaxed);
    }

    /// Whether a quote is still open: within a field, a quote is written twice.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether the last line was ended.
    pub fn ends_in_line(&self) -> bool {
        self.ends_in_line.load(Ordering::Relaxed)
    }
}

/// Notes what passes.
pub(super) struct Guard<R> {
    inner: R,
    passed: Arc<Passed>,
    begun: bool,
}

impl<R: Read> Guard<R> {
    pub fn new(inner: R) -> (Self, Arc<Passed>) {
        let passed = Arc::new(Passed::default());
        (Self { inner, passed: Arc::clone(&passed), begun: false }, passed)
    }
}

impl<R: Read> Read for Guard<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A buffer's worth may lie behind the row that is being read.
        if self.passed.since_row.load(Ordering::Relaxed) > LONGEST_ROW {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a row of more than a megabyte: a quote is not closed, or this is no CSV",
            ));
        }
        let read = self.inner.read(buffer)?;
        let bytes = &buffer[..read];
        if !std::mem::replace(&mut self.begun, true)
            && (bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]))
        {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is UTF-16: save it as UTF-8"));
        }
        let is_odd = bytes.iter().fold(false, |is_odd, byte| is_odd ^ (*byte == b'"'));
        self.passed.open.fetch_xor(is_odd, Ordering::Relaxed);
        self.passed.since_row.fetch_add(read as u64, Ordering::Relaxed);
        if let Some(last) = bytes.last() {
            self.passed.ends_in_line.store(*last == b'\n' || *last == b'\r', Ordering::Relaxed);
        }
        Ok(read)
    }
}
