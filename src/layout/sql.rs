//! Just enough SQL to read a migration file: its directives, its statements, and their words.
//!
//! No parser is needed: PostgreSQL's grammar has only two places where a semicolon does not end a statement, and tokens tell them: inside
//! parentheses (the actions of a rule), and in the body of a routine from `BEGIN ATOMIC` to the `END` that follows a
//! semicolon. (An `END` of `CASE`, or one that names a column, never does.)
//!
//! Where PostgreSQL would refuse a file as a whole for its syntax, it does not matter how it is read: nothing of it is run.

use std::iter;

use squawk_lexer::BOM;

pub use super::alone::needs_no_transaction;
use super::tokens::{Kind, Token, Tokens};

/// A statement of a script, without the semicolon, and without comments around it.
#[derive(Clone, Copy, Debug)]
pub struct Statement<'a> {
    text: &'a str,
    /// Where it begins in the script.
    pub start: usize,
}

impl<'a> Statement<'a> {
    /// Its tokens, without space and comments.
    pub fn tokens(self) -> impl Iterator<Item = Token<'a>> {
        let tokens = Tokens::of(self.text).filter(|token| !matches!(token.kind, Kind::Gap | Kind::LineComment));
        tokens.map(move |token| Token { start: self.start + token.start, ..token })
    }

    /// Where it ends in the script.
    #[must_use]
    pub fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// The statement on one line, without comments, as far as its strings allow.
    #[must_use]
    pub fn on_one_line(self) -> String {
        let mut line = String::new();
        let mut previous: Option<Token> = None;
        for token in self.tokens() {
            if let Some(before) = previous.filter(|before| before.start + before.text.len() < token.start) {
                // Only a line break makes the second string go on where the first one ends.
                let pieces = before.kind == Kind::String && token.kind == Kind::String;
                line.push(if pieces { '\n' } else { ' ' });
            }
            line.push_str(token.text);
            previous = Some(token);
        }
        line
    }
}

/// The text without the mark that some editors put before it. The server would take it for part of the first word.
#[must_use]
pub fn without_mark(text: &str) -> &str {
    text.strip_prefix(BOM).unwrap_or(text)
}

/// The number of the line, from 1, that a byte of the text is in.
#[must_use]
pub fn line_at(text: &str, byte: usize) -> usize {
    let before = &text.as_bytes()[..byte.min(text.len())];
    let ends = before.iter().enumerate().filter(|(at, c)| match c {
        b'\n' => true,
        b'\r' => text.as_bytes().get(at + 1) != Some(&b'\n'),
        _ => false,
    });
    ends.count() + 1
}

/// What follows `-- migrate:` in the comments that open a script, and where in the script the comment begins.
pub fn directives(script: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = without_mark(script);
    let skipped = script.len() - text.len();
    let opening = Tokens::of(text).take_while(|token| matches!(token.kind, Kind::Gap | Kind::LineComment));
    opening.filter_map(move |token| {
        let comment = token.text.strip_prefix("--")?.trim_start_matches('-').trim();
        Some((skipped + token.start, comment.strip_prefix("migrate:")?.trim()))
    })
}

/// The statements of a script, empty ones left out.
pub fn statements(script: &str) -> impl Iterator<Item = Statement<'_>> {
    let skipped = script.len() - without_mark(script).len();
    let mut tokens = Tokens::of(&script[skipped..]);
    iter::from_fn(move || {
        let mut place = Place::default();
        let mut range: Option<(usize, usize)> = None;
        for token in tokens.by_ref() {
            if matches!(token.kind, Kind::Gap | Kind::LineComment) {
                continue;
            }
            if token.kind == Kind::Semicolon && place.depth == 0 && place.bodies == 0 {
                if range.is_some() {
                    break;
                }
                continue;
            }
            place.pass(&token);
            let start = range.map_or(token.start, |(start, _)| start);
            range = Some((start, token.start + token.text.len()));
        }
        range.map(|(start, end)| (start + skipped, end + skipped))
    })
    .map(|(start, end)| Statement { text: &script[start..end], start })
}

/// Whether a script holds a statement. Its first word tells.
#[must_use]
pub fn has_statement(script: &str) -> bool {
    Tokens::of(without_mark(script)).any(|token| !matches!(token.kind, Kind::Gap | Kind::LineComment | Kind::Semicolon))
}

/// Whether a script says `IF NOT EXISTS` of this name.
#[must_use]
pub fn says_if_not_exists(script: &str, name: &str) -> bool {
    statements(script).any(|statement| {
        let tokens: Vec<_> = statement.tokens().collect();
        tokens.windows(3).enumerate().any(|(at, words)| {
            let said = words[0].is("IF") && words[1].is("NOT") && words[2].is("EXISTS");
            // The name may be qualified.
            said && tokens[at + 3..].iter().step_by(2).take(2).any(|token| token.name().as_deref() == Some(name))
        })
    })
}

/// How far into a statement a reader is.
#[derive(Default)]
struct Place {
    /// Parentheses that are open.
    depth: usize,
    /// Bodies of routines that are open.
    bodies: usize,
    head: Head,
    after_begin: bool,
}

/// The words that a statement has begun with: `CREATE [OR REPLACE] {FUNCTION | PROCEDURE}`, if so.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Head {
    #[default]
    Nothing,
    Create,
    Or,
    Replace,
    Routine,
    Another,
}

impl Head {
    fn then(self, token: &Token) -> Self {
        match self {
            Self::Nothing if token.is("CREATE") => Self::Create,
            Self::Create if token.is("OR") => Self::Or,
            Self::Or if token.is("REPLACE") => Self::Replace,
            Self::Create | Self::Replace if token.is("FUNCTION") || token.is("PROCEDURE") => Self::Routine,
            Self::Routine => Self::Routine,
            _ => Self::Another,
        }
    }
}

impl Place {
    fn pass(&mut self, token: &Token) {
        let outside = self.depth == 0;
        match token.kind {
            Kind::Open => self.depth += 1,
            Kind::Close => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if outside && token.kind == Kind::Semicolon {
            // The next statement of the body.
            self.head = Head::Nothing;
        } else if outside && self.bodies > 0 && self.head == Head::Nothing && token.is("END") {
            self.bodies -= 1;
            self.head = Head::Another;
        } else if outside && self.head == Head::Routine && self.after_begin && token.is("ATOMIC") {
            self.bodies += 1;
            self.head = Head::Nothing;
        } else {
            self.head = self.head.then(token);
        }
        self.after_begin = outside && token.is("BEGIN");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(script: &str) -> Vec<String> {
        statements(script).map(Statement::on_one_line).collect()
    }

    #[test]
    fn statements_end_at_semicolons_outside_quotes_and_comments() {
        let script = "
            -- one; not two
            SELECT ';', \"a;b\", E'\\';', $$;$$, $tag$ ; $$ ; $tag$ /* ; /* ; */ ; */;
            ;; SELECT 'it''s; fine', $1;
            -- the end;";
        assert_eq!(
            texts(script),
            ["SELECT ';', \"a;b\", E'\\';', $$;$$, $tag$ ; $$ ; $tag$", "SELECT 'it''s; fine', $1"]
        );
    }

    #[test]
    fn statements_do_not_end_in_parentheses_or_in_the_body_of_a_routine() {
        for script in [
            "CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT (2); NOTIFY n)",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END",
            "create or replace procedure begin() begin /* ; */ atomic end",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END end; SELECT 1 AS case; END",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 end; SELECT (SELECT 1); ; END",
            "CREATE FUNCTION f() BEGIN ATOMIC CREATE FUNCTION g() BEGIN ATOMIC SELECT 1; END; SELECT 2; END",
        ] {
            assert_eq!(statements(&format!("{script}; SELECT 3")).count(), 2, "{script}");
        }
        // Neither of these is a body.
        for script in [
            "CREATE VIEW v AS SELECT begin atomic FROM t",
            "CREATE FUNCTION begin(atomic int) RETURNS begin LANGUAGE sql AS 'SELECT 1'",
            "CREATE FUNCTION f(begin atomic) RETURNS int LANGUAGE sql RETURN 1",
            "CREATE FUNCTION \"begin\" ATOMIC",
        ] {
            assert_eq!(statements(&format!("{script}; SELECT 3; END")).count(), 3, "{script}");
        }
    }

    #[test]
    fn a_string_goes_on_on_another_line() {
        for one in [
            "SELECT E'it''s \\'; SELECT '",
            "SELECT E'a'\n'b\\'; SELECT '",
            "SELECT e'a' -- '\r -- ;\n\t'b\\'; SELECT ' \x0c\r 'c\\''",
            "SELECT E''\n'''\\';'",
            "SELECT U&'a'\n';', N'\\' , B''\r';', X'' --\n';'",
        ] {
            assert_eq!(statements(one).count(), 1, "{one:?}");
        }
        for two in [
            "SELECT 'a'\n'b\\'; SELECT 1",
            "SELECT E'a' 'b\\'; SELECT 1",
            "SELECT E'a' /*\n*/ 'b\\'; SELECT 1",
            "SELECT E'a' --'\n, 'b\\'; SELECT 1",
            "SELECT E'a'\n\u{feff}'b\\'; SELECT 1",
            "SELECT E'a'\n'b'\u{feff}$a$; SELECT '$a$'",
            "SELECT x LIKE'\\'; SELECT 1",
            "SELECT éE'\\'; SELECT 1",
            "SELECT a1e'\\', $E'\\'; SELECT 1",
        ] {
            assert_eq!(statements(two).count(), 2, "{two:?}");
        }
        assert_eq!(texts("SELECT 'a'  -- b\n  'c  d' ,  1"), ["SELECT 'a'\n'c  d' , 1"]);
    }

    #[test]
    fn names_are_not_dollar_quotes_and_operators_hold_comments() {
        assert_eq!(statements("SELECT a$b$c$; SELECT $b$;$b$").count(), 2);
        assert_eq!(statements("SELECT é$a$; SELECT 1 $a$;$a$").count(), 2);
        assert_eq!(statements("SELECT $1$a$; SELECT $a$").count(), 1);
        assert_eq!(statements("SELECT $a$ ; $ab$ ; $b$a$; SELECT 1").count(), 2);
        assert_eq!(texts("SELECT 1 +--;\r2; SELECT 3 */* ; /*;*/ */ 4"), ["SELECT 1 + 2", "SELECT 3 * 4"]);
        assert_eq!(texts("SELECT U&\";\" UESCAPE '!', u&';'; x"), ["SELECT U&\";\" UESCAPE '!', u&';'", "x"]);
        // Only PostgreSQL's own whitespace separates words.
        assert_eq!(statements("SELECT\u{a0}1").next().unwrap().tokens().count(), 1);
    }

    #[test]
    fn an_unfinished_quote_reaches_to_the_end() {
        for script in ["SELECT 'a; b", "SELECT $$ a; b", "SELECT \"ü; b", "SELECT /* a; b", "SELECT E'\\", "E'a'\n'ü\\"]
        {
            assert_eq!(statements(script).count(), 1, "{script}");
        }
    }

    #[test]
    fn directives_stand_before_the_first_statement() {
        let found = |script| directives(script).map(|(at, found)| (line_at(script, at), found)).collect::<Vec<_>>();
        let script = "-- migrate: a b\n--\n/* why\n*/--migrate:c\n\nSELECT 1;\n-- migrate: too-late\n";
        assert_eq!(found(script), [(1, "a b"), (4, "c")]);
        for newline in ["\n", "\r", "\r\n"] {
            for mark in ["", "\u{feff}"] {
                let script = format!("{mark}-- a{newline}-- migrate: b{newline}SELECT 1 -- migrate: c");
                assert_eq!(directives(&script).map(|(_, found)| found).collect::<Vec<_>>(), ["b"], "{script:?}");
            }
        }
        assert_eq!(found("-- a\r\n-- migrate: b\rSELECT 1"), [(2, "b")]);
    }

    #[test]
    fn a_mark_before_the_file_is_no_part_of_a_word() {
        let first = statements("\u{feff}COMMIT").next().unwrap();
        assert!(first.start == 3 && first.tokens().all(|token| token.is("COMMIT")));
        let inside = statements("; \u{feff}COMMIT").next().unwrap();
        assert!(inside.start == 2 && !inside.tokens().any(|token| token.is("COMMIT")));
    }

    #[test]
    fn a_name_is_what_the_server_makes_of_it() {
        let name = |text: &str| statements(text).next().unwrap().tokens().next().unwrap().name();
        assert_eq!(name("\"My \"\"Index\"\"\"").unwrap(), "My \"Index\"");
        assert_eq!(name("Idx_Ä$1").unwrap(), "idx_Ä$1");
        assert_eq!(name(&format!("{}éa", "x".repeat(62))).unwrap(), "x".repeat(62));
        assert_eq!(name("U&\"a\""), None);
        assert_eq!(name("'a'"), None);
    }
}
