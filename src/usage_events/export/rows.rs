//! Reading all files of an export, one after the other, into what `COPY` takes.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};
use time::OffsetDateTime;

use super::columns::{self, Columns};
use super::error::{ExportError, Fault};
use super::files::Source;
use super::guard::{Guard, Passed};
use super::row;

/// The columns of a row, in the order in which it is written for the server; behind them come the metrics.
pub const COLUMNS: [(&str, &str); 8] = [
    ("window_start", "timestamptz"),
    ("window_end", "timestamptz"),
    ("project_id", "text"),
    ("user_id", "text"),
    ("api_key_id", "text"),
    ("model", "text"),
    ("service_tier", "text"),
    ("batch", "boolean"),
];

/// How many faults are named.
const FAULTS: usize = 20;

/// About how much is sent at a time.
const CHUNK: usize = 64 * 1024;

/// The windows that count, by their start: `from` included, `to` not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Range {
    /// The first.
    pub from: Option<OffsetDateTime>,
    /// The end.
    pub to: Option<OffsetDateTime>,
}

/// An export that is being read.
pub struct Export {
    sources: std::vec::IntoIter<Source>,
    from: i64,
    to: i64,
    file: Option<Open>,
    faults: Vec<Fault>,
    read: Arc<AtomicU64>,
    /// Rows that count.
    pub rows: u64,
    /// Rows whose window begins outside of the range.
    pub outside: u64,
    /// Columns that nobody knows, of any file.
    pub unknown: BTreeSet<String>,
    /// Columns that some file does not have, and which count as empty there.
    pub absent: BTreeSet<&'static str>,
    /// Files whose last line is not ended.
    pub unended: Vec<String>,
}

struct Open {
    name: String,
    reader: Reader<Guard<Box<dyn Read + Send>>>,
    passed: Arc<Passed>,
    columns: Columns,
    record: ByteRecord,
}

impl Export {
    /// Begins to read these files.
    #[must_use]
    pub fn new(sources: Vec<Source>, range: Range) -> Self {
        let micros = |time: OffsetDateTime| i64::try_from(time.unix_timestamp_nanos() / 1000).unwrap_or_default();
        Self {
            sources: sources.into_iter(),
            from: range.from.map_or(i64::MIN, micros),
            to: range.to.map_or(i64::MAX, micros),
            file: None,
            faults: Vec::new(),
            read: Arc::default(),
            rows: 0,
            outside: 0,
            unknown: BTreeSet::new(),
            absent: BTreeSet::new(),
            unended: Vec::new(),
        }
    }

    /// How many bytes of the files have been read.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// The next rows, as `COPY` reads them; none behind the last.
    ///
    /// # Errors
    ///
    /// [`ExportError`]: at the end, or after many faults, what is wrong with the rows; at once, what cannot be read.
    pub fn chunk(&mut self) -> Result<Option<Vec<u8>>, ExportError> {
        let mut chunk = Vec::with_capacity(CHUNK + 1024);
        while chunk.len() < CHUNK {
            if self.faults.len() >= FAULTS {
                return Err(ExportError::Faults { faults: std::mem::take(&mut self.faults), more: true });
            }
            if self.file.is_none() {
                let Some(source) = self.sources.next() else { break };
                self.file = self.open(&source)?;
                continue;
            }
            self.row(&mut chunk);
        }
        if !chunk.is_empty() {
            return Ok(Some(chunk));
        }
        match (self.faults.is_empty(), self.rows + self.outside) {
            (false, _) => Err(ExportError::Faults { faults: std::mem::take(&mut self.faults), more: false }),
            (true, 0) => Err(ExportError::NoRows),
            (true, _) => Ok(None),
        }
    }

    fn open(&mut self, source: &Source) -> Result<Option<Open>, ExportError> {
        let name = source.path.display().to_string();
        let (guard, passed) = Guard::new(source.open(Arc::clone(&self.read))?);
        // The first line is taken as a row, so that one that is wrong is told like any other.
        let mut reader = ReaderBuilder::new().has_headers(false).buffer_capacity(CHUNK).from_reader(guard);
        let mut header = ByteRecord::new();
        let found = match reader.read_byte_record(&mut header) {
            Ok(true) => columns::read(&header),
            Ok(false) => Err("it is empty".to_owned()),
            Err(error) => Err(reason(&error)),
        };
        passed.row();
        match found {
            Ok(found) => {
                self.unknown.extend(found.unknown);
                self.absent.extend(found.absent);
                Ok(Some(Open { name, reader, passed, columns: found.columns, record: ByteRecord::new() }))
            }
            Err(reason) => {
                self.faults.push(Fault { file: name, line: None, reason });
                Ok(None)
            }
        }
    }

    /// Reads one row of the open file; closes it behind the last.
    fn row(&mut self, chunk: &mut Vec<u8>) {
        let Some(file) = &mut self.file else { return };
        let mut line = file.reader.position().line();
        let outcome = match file.reader.read_byte_record(&mut file.record) {
            Ok(true) => {
                line = file.record.position().map_or(line, csv::Position::line);
                row::window(&file.record, &file.columns).and_then(|window| {
                    if window.start < self.from || window.start >= self.to {
                        self.outside += 1;
                        return Ok(());
                    }
                    self.rows += 1;
                    row::write(&file.record, &file.columns, window, chunk)
                })
            }
            Ok(false) => {
                let file_is_open = file.passed.is_open();
                if !file.passed.ends_in_line() {
                    self.unended.push(file.name.clone());
                }
                let name = self.file.take().map(|file| file.name).unwrap_or_default();
                if file_is_open {
                    let reason = "it ends within quotes: it is cut off, or a quote is not closed".to_owned();
                    self.faults.push(Fault { file: name, line: None, reason });
                }
                return;
            }
            Err(error) => {
                let is_lost = matches!(error.kind(), ErrorKind::Io(_));
                line = error.position().map_or(line, csv::Position::line);
                let fault = Fault { file: file.name.clone(), line: Some(line), reason: reason(&error) };
                file.passed.row();
                self.faults.push(fault);
                if is_lost {
                    self.file = None;
                }
                return;
            }
        };
        file.passed.row();
        if let Err(reason) = outcome {
            self.faults.push(Fault { file: file.name.clone(), line: Some(line), reason });
        }
    }
}

/// What the reader of CSV, of gzip or of files says.
fn reason(error: &csv::Error) -> String {
    match error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } if len < expected_len => {
            format!("it has {len} fields instead of {expected_len}: it is cut off, or a field is missing")
        }
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("it has {len} fields instead of {expected_len}: is a comma not in quotes?")
        }
        ErrorKind::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the compressed file is cut off".to_owned()
        }
        ErrorKind::Io(error) => error.to_string(),
        _ => error.to_string(),
    }
}
