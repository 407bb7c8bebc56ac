//! Just enough SQL to read a migration file: its directive, its statements, and the index that it builds.

use std::ops::Range;

/// Splits a script at its semicolons, leaving out comments. Strings, quoted names and dollar quotes are kept whole.
pub(super) fn statements(script: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut current = String::new();
    for (kind, range) in pieces(script) {
        match kind {
            Piece::Comment => current.push(' '),
            Piece::End => statements.push(std::mem::take(&mut current)),
            Piece::Text => current.push_str(&script[range]),
        }
    }
    statements.push(current);
    statements.iter().map(|statement| statement.trim().to_owned()).filter(|statement| !statement.is_empty()).collect()
}

/// What follows `-- migrate:` in the comments that open a script.
pub(super) fn directives(script: &str) -> impl Iterator<Item = &str> {
    script
        .lines()
        .map(str::trim)
        .take_while(|line| line.is_empty() || line.starts_with("--"))
        .filter_map(|line| line.trim_start_matches('-').trim().strip_prefix("migrate:"))
        .map(str::trim)
}

/// The words of a statement without its comments: bare words, quoted names and punctuation, as written.
pub(super) fn words(statement: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = statement.char_indices().peekable();
    while let Some((start, c)) = rest.next() {
        if c.is_whitespace() {
            continue;
        }
        let mut end = start + c.len_utf8();
        if c == '"' {
            // Two quotes in a row stand for one and do not end the name.
            while let Some((at, c)) = rest.next() {
                end = at + c.len_utf8();
                if c == '"' && rest.next_if(|(_, next)| *next == '"').is_none() {
                    break;
                }
            }
        } else if c.is_alphanumeric() || c == '_' {
            while let Some((at, c)) = rest.next_if(|(_, c)| c.is_alphanumeric() || *c == '_' || *c == '$') {
                end = at + c.len_utf8();
            }
        }
        words.push(statement[start..end].to_owned());
    }
    words
}

/// A name as the server knows it: unquoted names fold to lower case.
pub(super) fn fold(word: &str) -> String {
    match word.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => word.to_lowercase(),
    }
}

#[derive(Clone, Copy)]
enum Piece {
    Text,
    Comment,
    End,
}

fn pieces(script: &str) -> Vec<(Piece, Range<usize>)> {
    let bytes = script.as_bytes();
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &script[at..];
        let previous = at.checked_sub(1).map(|before| bytes[before]);
        let (kind, length) = match bytes[at] {
            b'-' if rest.starts_with("--") => (Piece::Comment, rest.find('\n').unwrap_or(rest.len())),
            b'/' if rest.starts_with("/*") => (Piece::Comment, block_comment(rest)),
            b';' => (Piece::End, 1),
            b'\'' => (Piece::Text, quoted(rest, '\'', matches!(previous, Some(b'e' | b'E')))),
            b'"' => (Piece::Text, quoted(rest, '"', false)),
            b'$' if !previous.is_some_and(|c| c.is_ascii_alphanumeric() || c == b'_') => {
                (Piece::Text, dollar_quoted(rest).unwrap_or(1))
            }
            _ => (Piece::Text, rest.chars().next().map_or(1, char::len_utf8)),
        };
        pieces.push((kind, at..at + length));
        at += length;
    }
    pieces
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// The length of a quoted piece. A doubled quote reads as the end of one piece and the beginning of the next, which
/// comes to the same; a backslash counts only in `E''` strings.
fn quoted(rest: &str, quote: char, backslash: bool) -> usize {
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == '\\' && backslash {
            chars.next();
        } else if c == quote {
            return at + 1;
        }
    }
    rest.len()
}

fn dollar_quoted(rest: &str) -> Option<usize> {
    let tag_end = rest[1..].find('$')? + 2;
    let tag = &rest[..tag_end];
    let inner = &tag[1..tag_end - 1];
    let is_tag =
        inner.chars().all(|c| c.is_alphanumeric() || c == '_') && !inner.starts_with(|c: char| c.is_ascii_digit());
    if !is_tag {
        return None;
    }
    Some(rest[tag_end..].find(tag).map_or(rest.len(), |at| tag_end + at + tag.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_outside_quotes_and_comments() {
        let script = "
            -- one; not two
            SELECT ';', \"a;b\", E'\\';', $$;$$, $tag$ ; $$ ; $tag$ /* ; /* ; */ ; */;
            SELECT 'it''s; fine', $1;
            -- the end;";
        assert_eq!(
            statements(script),
            ["SELECT ';', \"a;b\", E'\\';', $$;$$, $tag$ ; $$ ; $tag$", "SELECT 'it''s; fine', $1"]
        );
    }

    #[test]
    fn an_unfinished_quote_reaches_to_the_end() {
        for script in ["SELECT 'a; b", "SELECT $$ a; b", "SELECT \"ü; b", "SELECT /* a; b"] {
            assert_eq!(statements(script).len(), 1, "{script}");
        }
    }

    #[test]
    fn directives_stand_before_the_first_statement() {
        let script = "-- migrate: no-transaction\n--\n-- why\n\nSELECT 1;\n-- migrate: too-late\n";
        assert_eq!(directives(script).collect::<Vec<_>>(), ["no-transaction"]);
    }

    #[test]
    fn words_keep_quoted_names_whole() {
        assert_eq!(
            words("CREATE INDEX \"My \"\"Index\"\"\" ON a.b (c)"),
            ["CREATE", "INDEX", "\"My \"\"Index\"\"\"", "ON", "a", ".", "b", "(", "c", ")"]
        );
        assert_eq!(fold("\"My \"\"Index\"\"\""), "My \"Index\"");
        assert_eq!(fold("Idx_A"), "idx_a");
    }
}
