//! Text that is safe to print on a terminal.
//!
//! Names and messages from a database are not trusted: an escape sequence clears the screen, a line break forges a line of
//! output, a bidirectional control shows a name as another one. So `output` accepts only a [`Text`]. [`text!`] makes one: it
//! escapes every invisible character in its arguments, except those of a [`Style`]. The caller need not remember to escape.
//!
//! Invisible characters are written as in Rust: `\n`, `\r`, `\t`, `\u{1b}`, `\u{202e}`. This form cannot be parsed back, as
//! a backslash is not escaped. JSON has the exact text.

use std::cell::Cell;
use std::fmt::{self, Write};

use crate::db::is_printable;

thread_local! {
    /// Whether the text being formatted is trusted. Only [`Style`] and [`Text`] set it, while they write.
    static OURS: Cell<bool> = const { Cell::new(false) };
}

/// Formats as [`Text`]: `text!("{RED}error:{RESET} {message}")`.
#[macro_export]
macro_rules! text {
    ($($args:tt)*) => {
        $crate::text::Text::of(format_args!($($args)*))
    };
}
pub use crate::text;

/// The style of the text that follows, or a line break.
#[derive(Clone, Copy)]
pub struct Style(&'static str);

/// Bold.
pub const BOLD: Style = Style("\x1b[1m");
/// Errors.
pub const RED: Style = Style("\x1b[1;31m");
/// Warnings.
pub const YELLOW: Style = Style("\x1b[33m");
/// Details.
pub const DIM: Style = Style("\x1b[2m");
/// Ends a style.
pub const RESET: Style = Style("\x1b[0m");
/// No style.
pub const PLAIN: Style = Style("");
/// A line break.
pub const NL: Style = Style("\n");

impl fmt::Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        as_ours(|| f.write_str(self.0))
    }
}

/// Text that is safe to print on a terminal.
#[derive(Clone, Default)]
pub struct Text(String);

impl Text {
    /// Use [`text!`].
    #[must_use]
    pub fn of(args: fmt::Arguments<'_>) -> Self {
        let mut door = Door(String::new());
        // This fails only if an implementation of `Display` fails. The text up to there is shown.
        let _ = door.write_fmt(args);
        Self(door.0)
    }

    /// Trusted text, such as a page of help with its colours.
    #[must_use]
    pub fn ours(text: String) -> Self {
        Self(text)
    }

    /// At most `most` lines of an untrusted text. Each line after the first is indented.
    #[must_use]
    pub fn lines(text: &str, indent: usize, most: usize) -> Self {
        let mut lines = text.lines();
        let mut shown = Self::from(lines.next().unwrap_or_default());
        for (at, line) in lines.enumerate() {
            let cut = at + 1 == most;
            shown = text!("{shown}{NL}{:indent$}{}", "", if cut { "..." } else { line });
            if cut {
                break;
            }
        }
        shown
    }

    /// Adds text.
    pub fn push(&mut self, more: &Self) {
        self.0.push_str(&more.0);
    }

    /// Without the spaces at its end.
    #[must_use]
    pub fn trim_end(mut self) -> Self {
        self.0.truncate(self.0.trim_end().len());
        self
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        as_ours(|| f.write_str(&self.0))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        text!("{text}")
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

fn as_ours(write: impl FnOnce() -> fmt::Result) -> fmt::Result {
    let before = OURS.replace(true);
    let written = write();
    OURS.set(before);
    written
}

/// Escapes text that is not trusted.
struct Door(String);

impl Write for Door {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if OURS.get() {
            self.0.push_str(text);
        } else {
            printable(text, &mut self.0);
        }
        Ok(())
    }
}

/// A page with all invisible characters escaped, except line breaks.
pub(crate) fn visible(page: &str) -> String {
    let mut shown = String::with_capacity(page.len());
    for (at, line) in page.split('\n').enumerate() {
        if at > 0 {
            shown.push('\n');
        }
        printable(line, &mut shown);
    }
    shown
}

/// Appends a text with its invisible characters escaped.
fn printable(text: &str, onto: &mut String) {
    for c in text.chars() {
        match c {
            _ if is_printable(c) => onto.push(c),
            '\n' | '\r' | '\t' => onto.extend(c.escape_default()),
            _ => onto.extend(c.escape_unicode()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_untrusted_character_controls_the_terminal() {
        for c in '\0'..=char::MAX {
            let (one, other) = (text!("{c}"), Text::from(c.to_string()));
            let one = one.as_str();
            assert_eq!(one, other.as_str());
            assert!(one.chars().all(|c| !c.is_control() && is_printable(c)), "{c:?} becomes {one:?}");
            assert!(one == c.to_string() || one.starts_with('\\'), "{c:?} becomes {one:?}");
        }
    }

    #[test]
    fn what_is_visible_stays_as_it_is() {
        for text in ["a \"b\" 'c' \\d", "é e\u{301} नमस्ते 中文 עברית 😀", "=1+1"] {
            assert_eq!(Text::from(text).as_str(), text);
        }
    }

    #[test]
    fn what_is_not_is_shown() {
        for (text, shown) in [
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("\u{1b}[1m\u{7}\u{9b}\u{7f}", "\\u{1b}[1m\\u{7}\\u{9b}\\u{7f}"),
            ("\u{202e}\u{2066}\u{200b}\u{2028}\u{feff}", "\\u{202e}\\u{2066}\\u{200b}\\u{2028}\\u{feff}"),
            ("\u{a0}\u{ad}\u{3164}\u{e0041}\u{fffe}", "\\u{a0}\\u{ad}\\u{3164}\\u{e0041}\\u{fffe}"),
        ] {
            assert_eq!(Text::from(text).as_str(), shown);
        }
    }

    #[test]
    fn a_style_is_ours_and_its_text_is_not() {
        let forged = "\x1b[1m\n";
        let inner = text!("{RED}{forged}{RESET}{NL}");
        assert_eq!(inner.as_str(), "\x1b[1;31m\\u{1b}[1m\\n\x1b[0m\n");
        assert_eq!(text!("{inner}{forged:>8}").as_str(), format!("{}   \\u{{1b}}[1m\\n", inner.as_str()));
        // A style in an ordinary string is not trusted any more.
        assert_eq!(Text::from(format!("{BOLD}a")).as_str(), "\\u{1b}[1ma");
    }

    #[test]
    fn the_lines_of_others_are_indented() {
        assert_eq!(Text::lines("a\r\nb\nnext: c", 2, 9).as_str(), "a\n  b\n  next: c");
        assert_eq!(Text::lines("a\nb\nc\nd", 1, 2).as_str(), "a\n b\n ...");
    }
}
