//! The columns of the row `u` that an expression mentions.

/// Their names, in order. A column that is mentioned twice appears twice.
pub(super) fn columns_of(expression: &str) -> impl Iterator<Item = &str> {
    parts(expression).filter_map(|(_, column)| column)
}

/// The expression with these columns replaced. Where `instead` returns none, the column stays.
pub(super) fn with_columns(expression: &str, instead: impl Fn(&str) -> Option<String>) -> String {
    parts(expression).fold(String::new(), |mut text, (before, column)| {
        text.push_str(before);
        if let Some(name) = column {
            text.push_str(&instead(name).unwrap_or_else(|| format!("u.{name}")));
        }
        text
    })
}

/// An expression in parts: text, and the column `u.name` that follows it; none after the last.
fn parts(expression: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rest = Some(expression);
    std::iter::from_fn(move || {
        let text = rest?;
        let is_quoted = |at: usize| text[..at].matches('\'').count() % 2 == 1;
        let found = text.match_indices("u.").find(|(at, _)| !text[..*at].ends_with(is_word) && !is_quoted(*at));
        let Some((at, _)) = found else {
            rest = None;
            return Some((text, None));
        };
        let name = &text[at + 2..];
        let end = name.find(|c| !is_word(c)).unwrap_or(name.len());
        rest = Some(&name[end..]);
        Some((&text[..at], Some(&name[..end])))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_a_row_are_found_in_an_expression_and_nowhere_else() {
        let expression = "greatest(u.a - menu.b, u.c) || 'u.d' || u.e_1";
        assert_eq!(columns_of(expression).collect::<Vec<_>>(), ["a", "c", "e_1"]);
        assert_eq!(columns_of("1").count(), 0);
        let replaced = with_columns(expression, |name| (name != "c").then(|| format!("[{name}]")));
        assert_eq!(replaced, "greatest([a] - menu.b, u.c) || 'u.d' || [e_1]");
    }
}
