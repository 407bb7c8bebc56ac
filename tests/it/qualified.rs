//! Every function of PostgreSQL's is called as `pg_catalog.…`: in what the program sends, and in what it leaves in a database.
//! Whoever may create functions in a schema of the search path could otherwise have one picked whose arguments fit better.
//! `hostile` tries it; this finds the calls that no test comes by.
//!
//! The versioned files are left out. Their checksums are in the histories of databases, so they cannot change. What they
//! call, they call once, as the owner of the tables; the functions that they leave are replaced by `R__usage_pipeline.sql`
//! or dropped at 103.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use squawk_lexer::{LiteralKind, TokenKind, tokenize};

use crate::harness::{server_url, session};

/// What is looked at.
const FOLDERS: [&str; 3] = ["src", "hooks", "migrations/platform"];

/// Names of types and syntax that PostgreSQL has a function of the same name for.
const SYNTAX: [&str; 14] = [
    "bit",
    "char",
    "date",
    "extract",
    "interval",
    "name",
    "numeric",
    "overlay",
    "position",
    "substring",
    "text",
    "time",
    "timestamp",
    "varchar",
];

#[tokio::test]
async fn every_call_of_a_function_of_postgresql_is_qualified() {
    let builtin = builtin_functions().await;
    let (mut calls, mut unqualified) = (0, Vec::new());
    for file in files() {
        let source = std::fs::read_to_string(&file).expect("a source file");
        let is_sql = file.extension().is_some_and(|extension| extension == "sql");
        let texts = if is_sql { vec![(0, source.clone())] } else { strings(&source) };
        for (start, text) in texts {
            for call in calls_in(&text, &builtin) {
                calls += 1;
                if !call.qualified {
                    let line = source[..start].matches('\n').count() + text[..call.at].matches('\n').count() + 1;
                    unqualified.push(format!("{}:{line}: {}(…)", file.display(), call.name));
                }
            }
        }
    }
    assert!(unqualified.is_empty(), "without pg_catalog.:\n{}", unqualified.join("\n"));
    assert!(calls > 300, "only {calls} calls were found at all");
}

#[tokio::test]
async fn an_unqualified_call_is_found_wherever_it_stands() {
    let builtin = builtin_functions().await;
    let found = |text: &str| -> Vec<String> {
        let calls = calls_in(text, &builtin).into_iter().filter(|call| !call.qualified);
        calls.map(|call| call.name).collect()
    };
    assert_eq!(found("SELECT now(), pg_catalog.now(), x.count(*), mine(1), extract(epoch FROM a)"), ["now", "count"]);
    assert_eq!(found("SELECT pg_catalog . now (), NOW ( ), \"now\"()"), ["now", "now"]);
    assert_eq!(found("DO $do$ BEGIN PERFORM format($f$ SELECT unnest(a) $f$); END $do$"), ["format", "unnest"]);
    assert_eq!(found("-- now()\n/* now() */ SELECT 'now()'\n--cost , sum(a)"), ["sum"]);
    let rust = "const A: &str = \"SELECT \\\"x\\\", now()\"; // \"max()\"\nfn f<'a>() { g('\"', r#\"min(\"x\")\"#) }";
    let texts: Vec<String> = strings(rust).into_iter().flat_map(|(_, text)| found(&text)).collect();
    assert_eq!(texts, ["now", "min"]);
}

async fn builtin_functions() -> HashSet<String> {
    let sql = "SELECT DISTINCT proname::text FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace";
    let rows = session(&server_url()).await.query(sql, &[]).await.expect("a list of functions");
    rows.into_iter().map(|row| row.get(0)).filter(|name: &String| !SYNTAX.contains(&name.as_str())).collect()
}

fn files() -> Vec<PathBuf> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if entry.is_dir() {
                walk(&entry, files);
            } else if (name.ends_with(".sql") && !name.starts_with('V'))
                || (name.ends_with(".rs") && !name.ends_with("_tests.rs"))
            {
                files.push(entry);
            }
        }
    }
    let mut files = Vec::new();
    FOLDERS.iter().for_each(|folder| walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut files));
    files.sort();
    files
}

struct Call {
    name: String,
    at: usize,
    qualified: bool,
}

/// Names in front of a parenthesis that PostgreSQL has functions of; also in dollar quotes, and in the lines behind `--cost`,
/// which become part of a statement. What has no schema before its name, or another one than `pg_catalog`, is not qualified.
fn calls_in(text: &str, builtin: &HashSet<String>) -> Vec<Call> {
    let mut calls = Vec::new();
    // The last words: a schema, whether a dot came behind it, and a name.
    let (mut schema, mut dot, mut name): (Option<String>, bool, Option<(String, usize)>) = (None, false, None);
    let mut at = 0;
    for token in tokenize(text) {
        let piece = &text[at..at + token.len as usize];
        match token.kind {
            TokenKind::Whitespace | TokenKind::BlockComment { .. } => {}
            TokenKind::LineComment => {
                if let Some(statement) = piece.strip_prefix("--cost") {
                    let inner = calls_in(statement, builtin);
                    calls.extend(inner.into_iter().map(|call| Call { at: at + 6 + call.at, ..call }));
                }
            }
            TokenKind::Ident | TokenKind::QuotedIdent { .. } => {
                schema = if dot { name.take().map(|(schema, _)| schema) } else { None };
                name = Some((piece.trim_matches('"').to_lowercase(), at));
                dot = false;
            }
            TokenKind::Dot => dot = true,
            TokenKind::OpenParen => {
                if let Some((name, at)) = name.take().filter(|(name, _)| builtin.contains(name)) {
                    calls.push(Call { name, at, qualified: schema.as_deref() == Some("pg_catalog") });
                }
                (schema, dot) = (None, false);
            }
            TokenKind::Literal { kind: LiteralKind::DollarQuotedString { .. } } => {
                let tag = piece[1..].find('$').map_or(piece.len(), |end| end + 2);
                if piece.len() >= 2 * tag {
                    let inner = calls_in(&piece[tag..piece.len() - tag], builtin);
                    calls.extend(inner.into_iter().map(|call| Call { at: at + tag + call.at, ..call }));
                }
                (schema, dot, name) = (None, false, None);
            }
            _ => (schema, dot, name) = (None, false, None),
        }
        at += token.len as usize;
    }
    calls
}

/// The string literals of a Rust source, without those of its unit tests: where each begins, and its text, in which escapes are
/// spaces.
fn strings(source: &str) -> Vec<(usize, String)> {
    let end = source.find("#[cfg(test)]\nmod ").unwrap_or(source.len());
    let bytes = &source.as_bytes()[..end];
    let (mut strings, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let rest = &source[at..end];
        let hashes = rest.strip_prefix('r').map_or(0, |raw| raw.bytes().take_while(|byte| *byte == b'#').count());
        let starts_word = at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        at += if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if starts_word && rest.starts_with('r') && rest[1 + hashes..].starts_with('"') {
            let quote = format!("\"{}", "#".repeat(hashes));
            let from = 2 + hashes;
            let length = rest[from..].find(&quote).expect("a raw string ends");
            strings.push((at + from, rest[from..from + length].to_owned()));
            from + length + quote.len()
        } else if let Some(rest) = rest.strip_prefix('"') {
            let (text, length) = plain_string(rest);
            strings.push((at + 1, text));
            length + 2
        } else if rest.starts_with("'\"'") {
            3
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
    }
    strings
}

/// A string literal up to its quote, and its length in the source.
fn plain_string(source: &str) -> (String, usize) {
    let (mut text, mut escaped) = (String::new(), false);
    for (at, c) in source.char_indices() {
        match c {
            '"' if !escaped => return (text, at),
            '\\' if !escaped => text.push(' '),
            '\n' => text.push('\n'),
            _ if escaped => (0..c.len_utf8()).for_each(|_| text.push(' ')),
            _ => text.push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    panic!("a string does not end");
}
