//! Standard output and standard error, which may be closed, full, or without a reader. A failed write must not end a run,
//! which may hold locks.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

use super::text::{DIM, RESET, Text, text};

/// Why writing to standard output failed.
static LOST: OnceLock<String> = OnceLock::new();

/// A line on standard output.
pub(crate) fn out(line: impl Into<Text>) {
    note(writeln!(anstream::stdout(), "{}", line.into().as_str()));
}

/// A line of JSON on standard output.
pub(crate) fn json(line: impl Display) {
    note(writeln!(io::stdout(), "{line}"));
}

/// A line on standard error. There is no place to report that this failed.
pub(crate) fn aside(line: impl Into<Text>) {
    let _ = writeln!(anstream::stderr(), "{}", line.into().as_str());
}

/// Why standard output is incomplete, if it is. A reader that closed the pipe, such as `head`, wanted no more.
pub(crate) fn lost() -> Option<&'static str> {
    note(io::stdout().flush());
    LOST.get().map(String::as_str)
}

fn note(written: io::Result<()>) {
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
    {
        LOST.get_or_init(|| error.to_string());
    }
}

/// Writes log lines to standard error, and ignores a failed write. Each call brings one whole line, with its line break.
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        aside(text!("{DIM}{}{RESET}", line.strip_suffix('\n').unwrap_or(&line)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
