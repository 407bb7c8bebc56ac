//! Where majors of PostgreSQL write the same thing differently, one of the forms.

use migrate_layout::{Kind, Token, sql};

/// Words that 16 to 18 have made keywords: since then the server puts a name in quotes that is one.
const NEWER_KEYWORDS: [&str; 13] = [
    "json",
    "json_array",
    "json_arrayagg",
    "json_exists",
    "json_object",
    "json_objectagg",
    "json_query",
    "json_scalar",
    "json_serialize",
    "json_table",
    "json_value",
    "merge_action",
    "system_user",
];

/// What ends the FROM clause of a query.
const AFTER_FROM: [&str; 12] =
    ["WHERE", "GROUP", "HAVING", "WINDOW", "ORDER", "LIMIT", "OFFSET", "FETCH", "FOR", "UNION", "INTERSECT", "EXCEPT"];

/// The text with names unquoted that only newer servers quote.
pub(super) fn names(text: &str) -> String {
    if !["\"json", "\"merge_action\"", "\"system_user\""].iter().any(|name| text.contains(name)) {
        return text.to_owned();
    }
    let quotes = sql::statements(text)
        .flat_map(|statement| statement.tokens().collect::<Vec<_>>())
        .filter(|token| token.kind == Kind::Name && NEWER_KEYWORDS.contains(&token.text.trim_matches('"')));
    let quotes = quotes.flat_map(|token| {
        let end = token.start + token.text.len();
        [(token.start, token.start + 1), (end - 1, end)]
    });
    without(text, quotes)
}

/// The definition of a view without the table's name before its columns, if it has only one table. Before 16, the server
/// writes it there.
pub(super) fn columns(text: &str) -> String {
    let Some(statement) = sql::statements(text).next() else { return text.to_owned() };
    let tokens: Vec<Token> = statement.tokens().collect();
    let depths = depths(&tokens);
    let Some((from, end)) = from_clause(&tokens, &depths) else { return text.to_owned() };
    let Some(table) = only_table(&tokens[from..end], &depths[from..end]) else { return text.to_owned() };
    let is_name = |at: usize| tokens.get(at).is_some_and(|token| matches!(token.kind, Kind::Word | Kind::Name));
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.text == text);
    let prefixes = (0..tokens.len()).filter(|&at| {
        let before = at.checked_sub(1).map_or("", |before| tokens[before].text);
        depths[at].query == 0
            && !(from..end).contains(&at)
            && tokens[at].text == table
            && is_name(at)
            && is(at + 1, ".")
            && is_name(at + 2)
            // Of a function, a type, a collation it is the schema.
            && !is(at + 3, "(")
            && !before.ends_with(['.', ':'])
            && !before.eq_ignore_ascii_case("COLLATE")
    });
    let prefixes = prefixes.map(|at| (tokens[at].start, tokens[at + 2].start)).collect::<Vec<_>>();
    without(text, prefixes)
}

/// The text without these pieces, which are in order.
fn without(text: &str, pieces: impl IntoIterator<Item = (usize, usize)>) -> String {
    let (mut left, mut at) = (String::with_capacity(text.len()), 0);
    for (start, end) in pieces {
        left.push_str(&text[at..start]);
        at = end;
    }
    left.push_str(&text[at..]);
    left
}

/// How deep a token stands.
#[derive(Clone, Copy, Default)]
struct Depth {
    /// In how many parentheses.
    all: usize,
    /// In how many of them that hold a query.
    query: usize,
}

fn depths(tokens: &[Token]) -> Vec<Depth> {
    let mut open: Vec<bool> = Vec::new();
    let mut depths = Vec::with_capacity(tokens.len());
    for (at, token) in tokens.iter().enumerate() {
        if token.kind == Kind::Close {
            open.pop();
        }
        depths.push(Depth { all: open.len(), query: open.iter().filter(|query| **query).count() });
        if token.kind == Kind::Open {
            let next = tokens.get(at + 1);
            open.push(next.is_some_and(|next| ["SELECT", "WITH", "VALUES"].iter().any(|word| next.is(word))));
        }
    }
    depths
}

/// The FROM clause of the outermost query, if that is one SELECT: the places of its tokens.
fn from_clause(tokens: &[Token], depths: &[Depth]) -> Option<(usize, usize)> {
    let outer = |at: &usize| depths[*at].all == 0;
    let word = |at: usize, words: &[&str]| words.iter().any(|word| tokens[at].is(word));
    let select = (0..tokens.len()).filter(outer).find(|&at| word(at, &["SELECT"]))?;
    let from =
        (select + 1..tokens.len()).filter(outer).find(|&at| word(at, &["FROM"]) && !word(at - 1, &["DISTINCT"]))?;
    let several = (select..tokens.len()).filter(outer).any(|at| word(at, &["UNION", "INTERSECT", "EXCEPT"]));
    let end = (from + 1..tokens.len()).filter(outer).find(|&at| word(at, &AFTER_FROM)).unwrap_or(tokens.len());
    (!several).then_some((from + 1, end))
}

/// What the only table of a FROM clause is called in its query. None if there are more.
fn only_table<'a>(clause: &[Token<'a>], depths: &[Depth]) -> Option<&'a str> {
    let several = clause
        .iter()
        .zip(depths)
        .any(|(token, depth)| depth.query == 0 && token.is("JOIN") || depth.all == 0 && token.text == ",");
    if several {
        return None;
    }
    // Its name and an alias stand outside of parentheses; the last of them counts.
    let outer: Vec<&Token> =
        clause.iter().zip(depths).filter(|(_, depth)| depth.all == 0).map(|(token, _)| token).collect();
    let sample = outer.iter().position(|token| token.is("TABLESAMPLE")).unwrap_or(outer.len());
    let names = outer[..sample].iter().filter(|token| matches!(token.kind, Kind::Word | Kind::Name));
    let mut names = names
        .filter(|token| !["ONLY", "LATERAL", "ROWS", "FROM", "WITH", "ORDINALITY"].iter().any(|word| token.is(word)));
    names.next_back().map(|token| token.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_of_one_table_has_no_prefixes() {
        for (written, portable) in [
            (
                " SELECT t.a,\n    t.b\n   FROM app.t\n  WHERE (t.a > 1)\n  ORDER BY t.b;",
                " SELECT a,\n    b\n   FROM app.t\n  WHERE (a > 1)\n  ORDER BY b;",
            ),
            (
                "SELECT x.a FROM app.t x WHERE x.a IS DISTINCT FROM x.b",
                "SELECT a FROM app.t x WHERE a IS DISTINCT FROM b",
            ),
            ("SELECT s.a FROM ( SELECT t.a FROM t) s", "SELECT a FROM ( SELECT t.a FROM t) s"),
            ("WITH w AS ( SELECT t.a FROM t) SELECT w.a FROM w", "WITH w AS ( SELECT t.a FROM t) SELECT a FROM w"),
            ("SELECT g.g FROM generate_series(1, 3) g(g)", "SELECT g FROM generate_series(1, 3) g(g)"),
            ("SELECT (t.c).d, t.* FROM ONLY app.t", "SELECT (c).d, t.* FROM ONLY app.t"),
            ("SELECT \"T\".\"A\" FROM app.\"T\"", "SELECT \"A\" FROM app.\"T\""),
        ] {
            assert_eq!(columns(written), portable);
            assert_eq!(columns(portable), portable);
        }
    }

    #[test]
    fn other_prefixes_stay() {
        for text in [
            "SELECT a.x, b.x FROM (a JOIN b ON (a.x = b.x))",
            "SELECT a.x FROM a, b",
            "SELECT a.x FROM a UNION SELECT b.x FROM b",
            "SELECT x FROM t WHERE (EXISTS ( SELECT 1 FROM u WHERE (u.x = t.x)))",
            "SELECT app.f(x), (y)::app.mood, (z COLLATE app.german), 'app.x' FROM app.app",
            "SELECT 1 AS one",
            " VALUES (1,2);",
        ] {
            assert_eq!(columns(text), text);
        }
    }

    #[test]
    fn a_name_that_has_become_a_keyword_is_not_quoted() {
        assert_eq!(names("column \"json\" json DEFAULT '\"json\"'::json"), "column json json DEFAULT '\"json\"'::json");
        assert_eq!(
            names("f(\"json_value\" text) AS $function$ \"json\" $function$"),
            "f(json_value text) AS $function$ \"json\" $function$"
        );
        assert_eq!(names("\"json x\", \"select\""), "\"json x\", \"select\"");
    }
}
