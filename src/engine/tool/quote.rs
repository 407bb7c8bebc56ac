//! Values in SQL text. A record is sent in one message with the migration it is of, where no parameters can be.

/// Text as a literal, read alike whatever `standard_conforming_strings` says.
pub(super) fn text(value: &str) -> String {
    let doubled = value.replace('\'', "''");
    if doubled.contains('\\') { format!("E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

/// The same, or NULL.
pub(super) fn optional(value: Option<&str>) -> String {
    value.map_or_else(|| "NULL".to_owned(), text)
}

/// A number as it is, so that an index on the column can be used; anything else as text, which the server then refuses.
pub(super) fn number(value: &str) -> String {
    match value.parse::<i64>() {
        Ok(number) => number.to_string(),
        Err(_) => text(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_are_data() {
        assert_eq!(text("it's"), "'it''s'");
        assert_eq!(text(r"\'; DROP"), r"E'\\''; DROP'");
        assert_eq!((optional(None), optional(Some("a"))), ("NULL".into(), "'a'".into()));
        assert_eq!((number("007"), number("-1"), number("1; DROP")), ("7".into(), "-1".into(), "'1; DROP'".into()));
    }
}
