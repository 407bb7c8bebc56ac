//! Statements that PostgreSQL runs outside a transaction only.

use super::sql::Statement;
use super::tokens::{Kind, Token};

/// Whether PostgreSQL refuses a statement inside a transaction block.
///
/// As far as its words tell: what a routine does, and whether a table has partitions, they do not.
#[must_use]
pub fn needs_no_transaction(statement: Statement) -> bool {
    let tokens: Vec<_> = statement.tokens().collect();
    let word = |at: usize, keyword: &str| tokens.get(at).is_some_and(|token: &Token| token.is(keyword));
    let any = |at: usize, keywords: &[&str]| keywords.iter().any(|keyword| word(at, keyword));
    let says = |keyword: &str| tokens.iter().any(|token| token.is(keyword));
    let Some(first) = tokens.first() else { return false };
    match first.text.to_ascii_uppercase().as_str() {
        "VACUUM" => true,
        "CREATE" if any(1, &["DATABASE", "TABLESPACE"]) => true,
        "CREATE" if word(1, "SUBSCRIPTION") => !is_off(&tokens, "connect") && !is_off(&tokens, "create_slot"),
        "CREATE" => any(if word(1, "UNIQUE") { 3 } else { 2 }, &["CONCURRENTLY"]) && says("INDEX"),
        "DROP" if any(1, &["DATABASE", "TABLESPACE", "SUBSCRIPTION"]) => true,
        "DROP" => word(1, "INDEX") && word(2, "CONCURRENTLY"),
        "REINDEX" => {
            let options = if tokens.get(1).is_some_and(|token| token.kind == Kind::Open) {
                tokens.iter().position(|token| token.kind == Kind::Close).unwrap_or(0)
            } else {
                0
            };
            let is_concurrent = tokens[..=options].iter().any(|token| token.is("CONCURRENTLY"));
            is_concurrent && !is_off(&tokens[..=options], "concurrently")
                || any(options + 1, &["DATABASE", "SYSTEM", "SCHEMA"])
                || word(options + 2, "CONCURRENTLY")
        }
        // Without a table: all of them, one after the other.
        "CLUSTER" => {
            let rest = &tokens[1..];
            rest.is_empty() || rest.len() == 1 && word(1, "VERBOSE") || rest.last().is_some_and(|last| last.text == ")")
        }
        "ALTER" if word(1, "SYSTEM") => true,
        "ALTER" if word(1, "DATABASE") => word(3, "SET") && word(4, "TABLESPACE"),
        "ALTER" if word(1, "SUBSCRIPTION") => says("PUBLICATION") && !is_off(&tokens, "refresh"),
        "ALTER" => word(1, "TABLE") && says("DETACH") && tokens.last().is_some_and(|last| last.is("CONCURRENTLY")),
        "DISCARD" => word(1, "ALL"),
        "COMMIT" | "ROLLBACK" => word(1, "PREPARED"),
        _ => false,
    }
}

/// Whether an option is written with a value that turns it off: `connect = false`.
fn is_off(tokens: &[Token], option: &str) -> bool {
    let value = tokens.iter().position(|token| token.is(option)).and_then(|at| {
        let is_equals = tokens.get(at + 1).is_some_and(|token| token.text == "=");
        tokens.get(if is_equals { at + 2 } else { at + 1 })
    });
    value.is_some_and(|value| {
        let value = value.text.trim_matches('\'').to_ascii_lowercase();
        ["false", "off", "0"].contains(&value.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::super::sql::statements;
    use super::*;

    #[test]
    fn some_statements_need_to_be_alone() {
        let needs = |text: &str| needs_no_transaction(statements(text).next().unwrap());
        for text in [
            "create /* why */ index concurrently i on t (c)",
            "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (c)",
            "DROP INDEX CONCURRENTLY IF EXISTS i",
            "REINDEX INDEX CONCURRENTLY i",
            "REINDEX (VERBOSE, CONCURRENTLY) TABLE t",
            "REINDEX (VERBOSE) DATABASE d",
            "REINDEX SCHEMA s",
            "VACUUM (ANALYZE) t",
            "CREATE DATABASE d",
            "DROP TABLESPACE t",
            "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p",
            "ALTER SUBSCRIPTION s REFRESH PUBLICATION",
            "ALTER SYSTEM SET work_mem = '1MB'",
            "ALTER DATABASE d SET TABLESPACE t",
            "ALTER TABLE p DETACH PARTITION c CONCURRENTLY",
            "CLUSTER",
            "CLUSTER (VERBOSE)",
            "DISCARD ALL",
            "COMMIT PREPARED 'x'",
        ] {
            assert!(needs(text), "{text}");
        }
        for text in [
            "CREATE INDEX i ON t (concurrently)",
            "CREATE INDEX \"concurrently\" ON t (c)",
            "CREATE TABLE t (database int)",
            "CREATE VIEW v AS SELECT 'CREATE INDEX CONCURRENTLY'",
            "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
            "REINDEX (CONCURRENTLY false) TABLE t",
            "REINDEX TABLE t",
            "ALTER TYPE t ADD VALUE 'x'",
            "ALTER TABLE p DETACH PARTITION c",
            "ALTER DATABASE d SET work_mem = '1MB'",
            "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p WITH (connect = false)",
            "CLUSTER t USING i",
            "DISCARD TEMP",
            "COMMIT",
        ] {
            assert!(!needs(text), "{text}");
        }
    }
}
