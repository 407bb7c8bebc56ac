//! Standard output and standard error, which may be closed, full, or read by nobody. Nothing that is written there may
//! end a run: it may hold locks.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

/// Why standard output did not take what was written.
static LOST: OnceLock<String> = OnceLock::new();

/// A line on standard output.
pub(in super::super) fn out(line: impl Display) {
    note(writeln!(anstream::stdout(), "{line}"));
}

/// A line on standard output as it is, without a look at the terminal.
pub(super) fn raw(line: impl Display) {
    note(writeln!(io::stdout(), "{line}"));
}

/// A line on standard error. Where that is gone, nobody can be told.
pub(in super::super) fn aside(line: impl Display) {
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// Why something is missing on standard output, if it is. A reader that has gone, such as `head`, wanted no more.
pub(in super::super) fn lost() -> Option<&'static str> {
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

/// Where log lines go: to standard error, and nowhere if that does not take them.
pub(in super::super) struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
