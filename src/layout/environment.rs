//! Variables of the environment inside a line of SQL, as goose's `ENVSUB` has them.

use std::collections::BTreeMap;

/// Puts values in place of `$NAME` and `${NAME}`. `${NAME:-other}` means the other where the variable is not set or
/// empty, `${NAME-other}` only where it is not set; with `?`, the run stops. Any other `$` stays: `$$`, `$1`.
///
/// # Errors
///
/// The reason, for a variable that is not set, and for what has another form.
pub(crate) fn insert(line: &str, environment: &BTreeMap<String, String>) -> Result<String, String> {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('$') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(inside) = rest.strip_prefix('{') {
            let end = inside.find('}').ok_or("`${` without `}`")?;
            text.push_str(&braced(&inside[..end], environment)?);
            rest = &inside[end + 1..];
        } else if let Some(next) = rest.strip_prefix('$') {
            text.push_str("$$");
            rest = next;
        } else {
            let (name, next) = name(rest);
            if name.is_empty() {
                text.push('$');
            } else {
                text.push_str(value(name, environment)?);
            }
            rest = next;
        }
    }
    text.push_str(rest);
    Ok(text)
}

/// What stands between braces.
fn braced(inside: &str, environment: &BTreeMap<String, String>) -> Result<String, String> {
    let (name, rest) = name(inside);
    let set = environment.get(name).map(String::as_str);
    let (set, rest) = match rest.strip_prefix(':') {
        Some(rest) => (set.filter(|value| !value.is_empty()), rest),
        None => (set, rest),
    };
    match (name, rest.chars().next()) {
        ("", _) => Err(format!("${{{inside}}} names no environment variable")),
        (_, Some('-')) => Ok(set.unwrap_or(&rest[1..]).to_owned()),
        (_, Some('?')) => set.map(str::to_owned).ok_or_else(|| format!("{name}: {}", &rest[1..])),
        (_, None) if !inside.ends_with(':') => value(name, environment).map(str::to_owned),
        _ => Err(format!("${{{inside}}} is not known; known: ${{NAME}}, ${{NAME:-value}}, ${{NAME:?message}}")),
    }
}

/// A name at the beginning of a text, and what follows it.
fn name(text: &str) -> (&str, &str) {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return ("", text);
    }
    text.split_at(text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len()))
}

/// A value that must be there: SQL with a gap in it does something else than was meant.
fn value<'a>(name: &str, environment: &'a BTreeMap<String, String>) -> Result<&'a str, String> {
    let value = environment.get(name).map(String::as_str);
    value.ok_or_else(|| format!("the environment variable {name} is not set; goose would insert nothing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inserted(line: &str) -> Result<String, String> {
        let environment = [("A", "one"), ("EMPTY", ""), ("_b2", "two")];
        insert(line, &environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }

    #[test]
    fn variables_are_inserted() {
        for (line, expected) in [
            ("$A ${A}x $_b2. '$A'", "one onex two. 'one'"),
            ("$$ $1 $ $", "$$ $1 $ $"),
            ("AS $A$A$$", "AS oneone$$"),
            ("${A:-x} ${NONE:-x y} ${NONE-} ${EMPTY:-x} [${EMPTY-x}]", "one x y  x []"),
            ("${A?no} ${A:?no}", "one one"),
        ] {
            assert_eq!(inserted(line).unwrap(), expected);
        }
    }

    #[test]
    fn a_variable_that_is_missing_or_of_another_form_is_refused() {
        for (line, expected) in [
            ("$NONE", "the environment variable NONE is not set; goose would insert nothing"),
            ("${NONE}", "the environment variable NONE is not set; goose would insert nothing"),
            ("${NONE:?set it}", "NONE: set it"),
            ("${EMPTY:?set it}", "EMPTY: set it"),
            ("${A", "`${` without `}`"),
            ("${}", "${} names no environment variable"),
            ("${A:0:1}", "${A:0:1} is not known; known: ${NAME}, ${NAME:-value}, ${NAME:?message}"),
            ("${A:}", "${A:} is not known; known: ${NAME}, ${NAME:-value}, ${NAME:?message}"),
        ] {
            assert_eq!(inserted(line).unwrap_err(), expected);
        }
    }
}
