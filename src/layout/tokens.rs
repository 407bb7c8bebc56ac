//! The tokens of a text, as PostgreSQL's own lexer sees them.
//!
//! `squawk-lexer` follows PostgreSQL's rules for strings, quoted names, comments and dollar quotes. Its one gap is filled here:
//! a string in several pieces.

use squawk_lexer::{BOM, LiteralKind, TokenKind, tokenize};

/// What PostgreSQL takes for whitespace. Any other space is part of a name.
const SPACE: [char; 6] = [' ', '\t', '\n', '\r', '\x0b', '\x0c'];

/// Either ends a line, and `--` comments with it. Together they end one line.
const NEWLINE: [char; 2] = ['\n', '\r'];

/// Names are cut to this many bytes.
const LONGEST_NAME: usize = 63;

/// What a token is, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Space, or a comment between `/*` and `*/`.
    Gap,
    /// A comment from `--` to the end of its line.
    LineComment,
    /// A keyword, or a name without quotes.
    Word,
    /// A name in quotes.
    Name,
    /// A string of any kind.
    String,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `;`
    Semicolon,
    /// Numbers and operators, and what does not belong into SQL at all.
    Other,
}

/// A piece of a text.
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// The piece.
    pub text: &'a str,
    /// Where it begins in the text that was read.
    pub start: usize,
}

impl Token<'_> {
    /// Whether it is this keyword.
    #[must_use]
    pub fn is(&self, keyword: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(keyword)
    }

    /// The name as the server knows it: unquoted ones are folded to lower case, as far as they are ASCII. None if it is
    /// not a name, or one written in Unicode escapes.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        let name = match self.kind {
            Kind::Word => self.text.to_ascii_lowercase(),
            Kind::Name => self.text.strip_prefix('"')?.strip_suffix('"')?.replace("\"\"", "\""),
            _ => return None,
        };
        Some(name[..name.floor_char_boundary(LONGEST_NAME)].to_owned())
    }
}

/// The tokens of a text, which is the beginning of a script or follows a token in it.
pub struct Tokens<'a> {
    text: &'a str,
    at: usize,
    lexer: Box<dyn Iterator<Item = squawk_lexer::Token> + 'a>,
}

impl<'a> Tokens<'a> {
    pub fn of(text: &'a str) -> Self {
        Self { text, at: 0, lexer: Box::new(tokenize(text)) }
    }

    /// Makes the lexer go on from here.
    fn resume(&mut self, at: usize) {
        self.at = at;
        self.lexer = Box::new(tokenize(&self.text[at..]));
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let token = self.lexer.next()?;
        let start = self.at;
        self.at += token.len as usize;
        let mut kind = kind(token.kind);
        if kind == Kind::Gap && self.text[start..].starts_with(BOM) {
            // The lexer skips the mark wherever it begins; for the server it is a letter, except before the whole file.
            let is_outside = |c: char| c.is_ascii() && !c.is_ascii_alphanumeric() && c != '_' && c != '$';
            let end = self.text[start..].find(is_outside).map_or(self.text.len(), |length| start + length);
            self.resume(end);
            kind = Kind::Word;
        } else if matches!(token.kind, TokenKind::Literal { kind: LiteralKind::EscStr { terminated: true } }) {
            // The following pieces have no E of their own, and yet backslashes count in them.
            let mut end = self.at;
            while let Some(gap) = gap_in_string(&self.text[end..]) {
                end += gap;
                end += escape_string(&self.text[end..]);
            }
            if end > self.at {
                self.resume(end);
            }
        }
        Some(Token { kind, text: &self.text[start..self.at], start })
    }
}

fn kind(token: TokenKind) -> Kind {
    match token {
        TokenKind::Whitespace | TokenKind::BlockComment { .. } => Kind::Gap,
        TokenKind::LineComment => Kind::LineComment,
        TokenKind::Ident => Kind::Word,
        TokenKind::QuotedIdent { .. } => Kind::Name,
        TokenKind::Literal { kind: LiteralKind::Int { .. } | LiteralKind::Numeric { .. } } => Kind::Other,
        TokenKind::Literal { .. } => Kind::String,
        TokenKind::OpenParen => Kind::Open,
        TokenKind::CloseParen => Kind::Close,
        TokenKind::Semi => Kind::Semicolon,
        _ => Kind::Other,
    }
}

/// How far it is from the end of one piece of a string to the quote that begins the next. There must be a line break
/// in between, and nothing but space and `--` comments.
fn gap_in_string(text: &str) -> Option<usize> {
    let mut rest = text;
    let mut on_another_line = false;
    loop {
        let next = rest.trim_start_matches(SPACE);
        on_another_line |= rest[..rest.len() - next.len()].contains(NEWLINE);
        match next.strip_prefix("--") {
            Some(comment) => rest = &comment[comment.find(NEWLINE)?..],
            None => return (on_another_line && next.starts_with('\'')).then_some(text.len() - next.len()),
        }
    }
}

/// The length of a piece of an escape string, with its quotes.
fn escape_string(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        at += match (bytes[at], bytes.get(at + 1)) {
            (b'\\', _) | (b'\'', Some(b'\'')) => 2,
            (b'\'', _) => return at + 1,
            _ => 1,
        };
    }
    bytes.len()
}
