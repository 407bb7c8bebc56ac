//! Standard output and standard error, which may be closed, full, or read by nobody. Nothing that is written there may
//! end a run: it may hold locks.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

use super::text::{DIM, RESET, Text, text};

/// Why standard output did not take what was written.
static LOST: OnceLock<String> = OnceLock::new();

/// A line on standard output.
pub(crate) fn out(line: impl Into<Text>) {
    note(writeln!(anstream::stdout(), "{}", line.into().as_str()));
}

/// A line of JSON on standard output.
pub(crate) fn json(line: impl Display) {
    note(writeln!(io::stdout(), "{line}"));
}

/// A line on standard error. Where that is gone, nobody can be told.
pub(crate) fn aside(line: impl Into<Text>) {
    let _ = writeln!(anstream::stderr(), "{}", line.into().as_str());
}

/// Why something is missing on standard output, if it is. A reader that has gone, such as `head`, wanted no more.
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

/// Where log lines go: to standard error, and nowhere if that does not take them. Each comes in one piece, with its line
/// break.
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
