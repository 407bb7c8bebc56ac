//! Lines that say exactly what is there and cannot be taken for others.

use crate::db::is_printable;

/// How far a line is indented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Indent(usize);

/// An object.
pub(super) const HEADING: Indent = Indent(0);
/// Something that an object has.
pub(super) const LINE: Indent = Indent(4);
/// Code. Tabs are usual in it, and behind other characters they do no harm.
pub(super) const CODE: Indent = Indent(8);

/// Appends a line and its line break. If it holds what cannot be seen, a backslash stands before it, two columns to the left; its
/// invisible characters are written `\n` or `\u{202e}`, and its backslashes are doubled.
pub(super) fn push(text: &mut String, indent: Indent, line: &str) {
    let Indent(width) = indent;
    let is_plain = |c: char| is_printable(c) || indent == CODE && c == '\t';
    if line.chars().all(is_plain) {
        // An empty line of code leaves no spaces.
        if !line.is_empty() {
            text.extend(std::iter::repeat_n(' ', width));
            text.push_str(line);
        }
    } else {
        text.extend(std::iter::repeat_n(' ', width.saturating_sub(2)));
        text.push_str("\\ ");
        for c in line.chars() {
            match c {
                '\\' | '\n' | '\r' | '\t' => text.extend(c.escape_default()),
                _ if is_printable(c) => text.push(c),
                _ => text.extend(c.escape_unicode()),
            }
        }
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(indent: Indent, line: &str) -> String {
        let mut text = String::new();
        push(&mut text, indent, line);
        text
    }

    #[test]
    fn what_can_be_seen_stays_as_it_is() {
        assert_eq!(pushed(HEADING, "table a.b"), "table a.b\n");
        assert_eq!(pushed(LINE, "comment 'a\\nb é'"), "    comment 'a\\nb é'\n");
        assert_eq!(pushed(CODE, "\tBEGIN  "), "        \tBEGIN  \n");
        assert_eq!(pushed(CODE, ""), "\n");
    }

    #[test]
    fn no_two_lines_look_the_same() {
        assert_eq!(pushed(HEADING, "table \"a\nb\""), "\\ table \"a\\nb\"\n");
        assert_eq!(pushed(LINE, "comment '\n\\n\u{202e}'"), "  \\ comment '\\n\\\\n\\u{202e}'\n");
        assert_eq!(pushed(CODE, "END\r"), "      \\ END\\r\n");
        assert_eq!(pushed(LINE, "a\tb"), "  \\ a\\tb\n");
    }
}
