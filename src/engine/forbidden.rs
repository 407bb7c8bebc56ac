//! What a migration's file must not say, whatever else is in it.
//!
//! Refused is what ends or replaces the transaction that a file shares with its record: `BEGIN`, `START TRANSACTION`,
//! `COMMIT`, `END`, `ROLLBACK` and `ABORT` in all their forms, `PREPARE TRANSACTION`, and `COMMIT PREPARED` and `ROLLBACK
//! PREPARED`, which need to be outside of it. They are refused in a file without a transaction, too: after a `BEGIN` there,
//! nothing that is recorded would ever be committed. Savepoints are the file's own, and so is `ROLLBACK TO` one of them.
//!
//! Also refused are `DISCARD ALL`, which gives up the locks of the session; and what cannot be sent to the server as one
//! text of SQL: commands of psql, `COPY` from or to the client, and NUL.
//!
//! Everything else is between the author and the server, which says clearly what it does not do in a transaction:
//! `VACUUM`, or `COMMIT` in a routine that is called. That holds for the rest of what changes a session. `SET ROLE`, `SET SESSION
//! AUTHORIZATION` and their `RESET` are needed to act as another role. `SET TRANSACTION` and `SET SESSION CHARACTERISTICS`
//! change how a transaction works, but do not end it; one that cannot write any more cannot be recorded, and is rolled back. `SET
//! standard_conforming_strings` and `SET client_encoding` do not change how their own file is read, since the server takes all
//! of it apart before it runs the first statement; for the next file they are set again.

use super::Token;
use super::set_error::SetError;
use migrate_layout::Script;

use super::sql::{self, Statement};

/// How much of a command of psql is shown.
const SHOWN: usize = 40;

/// Whether a text holds neither a word nor a character that what is refused begins with: then nothing in it is.
pub(super) fn is_harmless(text: &str) -> bool {
    const WORDS: [&str; 9] = ["ABORT", "BEGIN", "COMMIT", "COPY", "DISCARD", "END", "PREPARE", "ROLLBACK", "START"];
    let is_one = |letters: &[u8]| WORDS.iter().any(|word| letters.eq_ignore_ascii_case(word.as_bytes()));
    let mut pieces = text.as_bytes().split(|byte| !byte.is_ascii_alphabetic());
    !text.contains(['\\', '\0']) && !pieces.any(|letters| matches!(letters.len(), 3..=8) && is_one(letters))
}

/// The statements of a file, unless there is something in it that must not be: then an error for the first such thing.
pub(super) fn statements(script: &Script) -> Result<Vec<Statement<'_>>, SetError> {
    let statements = sendable(script)?;
    for statement in &statements {
        let words: Vec<_> = statement.tokens().take(4).collect();
        if let Some(control) = transaction_control(&words) {
            let (file, line) = (script.path.clone(), script.line_at(statement.start));
            return Err(SetError::TransactionControl { file, line, statement: control });
        }
    }
    Ok(statements)
}

/// The same for a file of another tool, which may begin and end transactions; and whether it does.
pub(super) fn foreign_statements(script: &Script) -> Result<(Vec<Statement<'_>>, bool), SetError> {
    let statements = sendable(script)?;
    let control = statements.iter().any(|statement| is_control(*statement));
    Ok((statements, control))
}

/// Whether a statement begins or ends a transaction.
pub(super) fn is_control(statement: Statement) -> bool {
    transaction_control(&statement.tokens().take(4).collect::<Vec<_>>()).is_some()
}

/// The statements of a file, if the server can be sent all of them, and the run keeps its lock.
fn sendable(script: &Script) -> Result<Vec<Statement<'_>>, SetError> {
    let text = &*script.text;
    let (file, line) = (|| script.path.clone(), |at| script.line_at(at));
    let statements: Vec<_> = sql::statements(text).collect();
    let may_be_psql = text.contains('\\');
    if let Some(at) = text.find('\0') {
        return Err(SetError::NulCharacter { file: file(), line: line(at) });
    }
    for &statement in &statements {
        if may_be_psql && let Some(token) = statement.tokens().find(|token| token.text == "\\") {
            let command = text[token.start..].lines().next().unwrap_or_default().split('\r').next().unwrap_or_default();
            let command = command.trim_end();
            let command = match command.char_indices().nth(SHOWN) {
                Some((end, _)) => format!("{}…", &command[..end]),
                None => command.to_owned(),
            };
            return Err(SetError::PsqlCommand { file: file(), line: line(token.start), command });
        }
        let words: Vec<_> = statement.tokens().take(4).collect();
        if starts(&words, &["DISCARD", "ALL"]) {
            return Err(SetError::DiscardAll { file: file(), line: line(statement.start) });
        }
        if let Some((direction, instead)) = copies_by_client(statement, &words) {
            return Err(SetError::CopyByClient { file: file(), line: line(statement.start), direction, instead });
        }
    }
    Ok(statements)
}

fn starts(words: &[Token], with: &[&str]) -> bool {
    words.len() >= with.len() && words.iter().zip(with).all(|(token, word)| token.is(word))
}

/// The words with which a statement begins or ends a transaction, if it does.
fn transaction_control(words: &[Token]) -> Option<String> {
    const CONTROL: [&[&str]; 9] = [
        &["COMMIT", "PREPARED"],
        &["ROLLBACK", "PREPARED"],
        &["PREPARE", "TRANSACTION"],
        &["BEGIN"],
        &["START", "TRANSACTION"],
        &["COMMIT"],
        &["END"],
        &["ROLLBACK"],
        &["ABORT"],
    ];
    const TO_A_SAVEPOINT: [&[&str]; 3] =
        [&["ROLLBACK", "TO"], &["ROLLBACK", "WORK", "TO"], &["ROLLBACK", "TRANSACTION", "TO"]];
    if TO_A_SAVEPOINT.iter().any(|with| starts(words, with)) {
        return None;
    }
    CONTROL.iter().find(|with| starts(words, with)).map(|with| with.join(" "))
}

/// Whether a statement is a `COPY` whose other end is the client, in which direction, and what to use instead.
fn copies_by_client(statement: Statement, words: &[Token]) -> Option<(&'static str, &'static str)> {
    if !starts(words, &["COPY"]) {
        return None;
    }
    let mut depth = 0_usize;
    let mut tokens = statement.tokens().filter(|token| {
        depth = if token.text == "(" { depth + 1 } else { depth.saturating_sub(usize::from(token.text == ")")) };
        depth == 0 && token.text != ")"
    });
    let direction = tokens.find(|token| token.is("FROM") || token.is("TO"))?;
    let end = tokens.next()?;
    if !end.is("STDIN") && !end.is("STDOUT") {
        return None;
    }
    // The server does not mind if the two are mixed up.
    Some(if direction.is("FROM") { ("FROM STDIN", "INSERT") } else { ("TO STDOUT", "CREATE TABLE … AS") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        statements(&Script::own("V1__a.sql", text))
            .err()
            .unwrap_or_else(|| panic!("this is not refused: {text:?}"))
            .to_string()
    }

    #[test]
    fn a_file_must_not_end_or_replace_its_transaction() {
        for (text, statement) in [
            ("CREATE TABLE a (n int);\n/* now */ commit;", "COMMIT"),
            ("SELECT 1;\nBegin", "BEGIN"),
            (";\nstart transaction read only", "START TRANSACTION"),
            ("SELECT 1;\r\nEND TRANSACTION", "END"),
            ("SELECT 1;\rrollback and chain", "ROLLBACK"),
            ("\u{feff}\nABORT;", "ABORT"),
            ("\nPREPARE TRANSACTION 'x'", "PREPARE TRANSACTION"),
            ("\nCOMMIT PREPARED 'x'", "COMMIT PREPARED"),
            ("\nROLLBACK /* x */ PREPARED 'x'", "ROLLBACK PREPARED"),
        ] {
            let said = refused(text);
            assert!(said.starts_with(&format!("line 2 of V1__a.sql: a migration must not say {statement},")), "{said}");
        }
        for text in ["\u{feff}DISCARD ALL", "-- x\n\ndiscard all"] {
            assert!(refused(text).contains("DISCARD ALL"));
        }
    }

    #[test]
    fn a_text_is_harmless_only_without_any_word_that_is_refused() {
        assert!(is_harmless("CREATE TABLE ended (n int DEFAULT 1); COMMENT ON TABLE ended IS 'beginning';"));
        assert!(is_harmless("CREATE TABLE a ();\r\n-- it ends here; copying, too"));
        for text in
            ["\u{feff}copy", "x;END", "/**/Begin", "\"START\"", "--\rABORT", "$$commit$$", "a\\b", "\0", "END\u{e4}"]
        {
            assert!(!is_harmless(text), "{text:?}");
        }
    }

    #[test]
    fn a_hidden_end_is_found() {
        for text in [
            "SELECT E'it''s \\\\'; COMMIT; --'",
            "-- x\rCOMMIT;",
            "SELECT 'a' LIKE'\\'; COMMIT; --'",
            "SELECT 1 +--\rCOMMIT; \n1; COMMIT",
            "SELECT a$b$c$; COMMIT; -- $b$c$",
            "/* /* */ ; */; COMMIT",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS case; END; COMMIT; END",
            "CREATE VIEW v AS SELECT begin atomic FROM t; COMMIT; END",
        ] {
            assert!(refused(text).contains("must not say COMMIT"), "{text:?}");
        }
    }

    #[test]
    fn what_stays_in_the_transaction_is_allowed() {
        for text in [
            "DO $$ BEGIN PERFORM 1; COMMIT; END $$;",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE 1 WHEN 1 THEN 2 END; END;",
            "SAVEPOINT a; ROLLBACK TO a; ROLLBACK WORK TO SAVEPOINT a; rollback transaction to a; RELEASE a",
            "SELECT E'\\'; COMMIT; --'; SELECT E'a'\n'b\\'; COMMIT; --'",
            "PREPARE p AS SELECT 1; \"COMMIT\"; COMMIT$; COMMITÉ; COMMIT_1",
            "SET TRANSACTION READ ONLY; SET ROLE a; RESET ROLE; DISCARD PLANS; SET standard_conforming_strings = off",
            "COPY t FROM '/tmp/a'; COPY (SELECT * FROM stdin) TO PROGRAM 'cat'; COPY stdin TO '/tmp/b'",
        ] {
            statements(&Script::own("V1__a.sql", text)).unwrap();
        }
    }

    #[test]
    fn what_only_psql_understands_is_named() {
        assert_eq!(
            refused("SELECT 1;\r\n\\i other.sql\r\nSELECT 2;"),
            "line 2 of V1__a.sql: only psql understands \\i other.sql; a migration holds SQL alone"
        );
        assert!(refused(&format!("\\echo {}", "ü".repeat(60))).contains(&format!("\\echo {}…", "ü".repeat(34))));
        assert!(refused("SELECT 'CREATE TABLE a (n int)'\n  \\gexec").starts_with("line 2 of"));
        assert!(refused("\\copy t FROM 'a'").contains("\\copy t FROM 'a'"));
        assert!(
            refused("SELECT 1;\nCOPY t (a) FROM stdin;\n1\tit's\n\\.\n")
                .starts_with("line 2 of V1__a.sql: COPY FROM STDIN")
        );
        assert!(refused("COPY (SELECT 1 FROM t) TO STDOUT WITH (FORMAT csv)").contains("COPY TO STDOUT"));
        assert!(refused("SELECT '\n\0'").starts_with("line 2 of V1__a.sql: a NUL character"));
    }
}
