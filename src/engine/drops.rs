//! What the statements of a way back take away, as far as their words tell: tables, columns, rows. What they do in code,
//! nobody can tell before.

use migrate_layout::{Kind, Script, Token};

use super::sql::{self, Statement};

/// What one statement takes away, and on which line it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub line: usize,
    pub what: What,
}

/// What one statement takes away. Tables are written as in SQL, all else is called what the server calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A table.
    Table(String),
    /// A column.
    Column { table: String, column: String },
    /// Rows of a table; with `CASCADE` also those of the tables that refer to it.
    Rows { table: String, cascades: bool },
    /// All tables of a schema.
    Schema(String),
    /// All tables of an extension.
    Extension(String),
    /// It cannot be told: what the statement is.
    Unclear(String),
}

/// What a script takes away, and whether it gives tables or columns other names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Drops {
    pub taken: Vec<Taken>,
    pub renames: bool,
}

/// Statements that take no data away, by their first word.
const HARMLESS: [&str; 29] = [
    "CREATE",
    "COMMENT",
    "GRANT",
    "REVOKE",
    "SET",
    "RESET",
    "BEGIN",
    "START",
    "COMMIT",
    "END",
    "ROLLBACK",
    "ABORT",
    "SAVEPOINT",
    "RELEASE",
    "INSERT",
    "UPDATE",
    "LOCK",
    "ANALYZE",
    "VACUUM",
    "REINDEX",
    "REFRESH",
    "CLUSTER",
    "NOTIFY",
    "SHOW",
    "SECURITY",
    "LISTEN",
    "UNLISTEN",
    "VALUES",
    "REASSIGN",
];

/// What stands before a parenthesis and is no function, or one that takes nothing away.
const NO_CODE: [&str; 33] = [
    "IN",
    "EXISTS",
    "VALUES",
    "AS",
    "FROM",
    "WHERE",
    "AND",
    "OR",
    "NOT",
    "SELECT",
    "COALESCE",
    "NULLIF",
    "CAST",
    "COUNT",
    "MAX",
    "MIN",
    "SUM",
    "ANY",
    "ALL",
    "OVER",
    "FILTER",
    "JOIN",
    "ON",
    "USING",
    "INTO",
    "WITH",
    "MATERIALIZED",
    "SETVAL",
    "SET_CONFIG",
    "PG_GET_SERIAL_SEQUENCE",
    "CURRENT_SETTING",
    "NOW",
    "RETURNING",
];

/// Reads what a script takes away.
pub(super) fn of(script: &Script) -> Drops {
    let mut drops = Drops::default();
    let mut path_is_known = true;
    for statement in sql::statements(&script.text) {
        let words: Vec<Token> = statement.tokens().collect();
        let mut found = Vec::new();
        read(&words, statement, &mut found, &mut drops.renames);
        if !path_is_known && found.iter().any(is_unqualified) {
            found = vec![What::Unclear("drops something by a name whose schema the file has changed".to_owned())];
        }
        path_is_known &= !changes_path(&words);
        let line = script.line_at(statement.start);
        drops.taken.extend(found.into_iter().map(|what| Taken { line, what }));
    }
    drops
}

fn is_unqualified(what: &What) -> bool {
    match what {
        What::Table(table) | What::Column { table, .. } | What::Rows { table, .. } => !table.contains('.'),
        What::Schema(_) | What::Extension(_) | What::Unclear(_) => false,
    }
}

fn changes_path(words: &[Token]) -> bool {
    let says = |word: &str| words.iter().any(|token| token.text.trim_matches('\'').eq_ignore_ascii_case(word));
    let first = |word: &str| words.first().is_some_and(|token| token.is(word));
    (first("SET") || first("SELECT") || first("RESET")) && (says("search_path") || first("SET") && says("schema"))
}

/// The words of a statement, read one after the other.
struct Words<'a, 't> {
    words: &'t [Token<'a>],
    at: usize,
}

impl<'a, 't> Words<'a, 't> {
    fn of(words: &'t [Token<'a>]) -> Self {
        Self { words, at: 0 }
    }

    fn peek(&self) -> Option<&'t Token<'a>> {
        self.words.get(self.at)
    }

    /// Passes these words, if they come next.
    fn pass(&mut self, expected: &[&str]) -> bool {
        let next = self.words.get(self.at..self.at + expected.len());
        let said = next.is_some_and(|next| next.iter().zip(expected).all(|(token, word)| token.is(word)));
        self.at += if said { expected.len() } else { 0 };
        said
    }

    fn pass_sign(&mut self, sign: &str) -> bool {
        let said = self.peek().is_some_and(|token| token.text == sign);
        self.at += usize::from(said);
        said
    }

    /// A name, with its schema where that is said.
    fn name(&mut self) -> Option<String> {
        let mut parts = Vec::new();
        loop {
            parts.push(written(&self.peek()?.name()?));
            self.at += 1;
            if !self.pass_sign(".") {
                break;
            }
        }
        // A database may stand before the schema.
        Some(parts.split_off(parts.len().saturating_sub(2)).join("."))
    }

    /// A name that no schema belongs to, as the server knows it.
    fn bare_name(&mut self) -> Option<String> {
        let name = self.peek()?.name()?;
        self.at += 1;
        Some(name)
    }

    /// Bare names with commas between them.
    fn bare_names(&mut self) -> Option<Vec<String>> {
        let mut names = vec![self.bare_name()?];
        while self.pass_sign(",") {
            names.push(self.bare_name()?);
        }
        Some(names)
    }

    /// Names with commas between them.
    fn names(&mut self) -> Option<Vec<String>> {
        let mut names = Vec::new();
        loop {
            self.pass(&["ONLY"]);
            names.push(self.name()?);
            self.pass_sign("*");
            if !self.pass_sign(",") {
                return Some(names);
            }
        }
    }
}

/// A name as it is written in SQL, in quotes only where it needs them.
fn written(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.chars().all(is_plain) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn read(words: &[Token], statement: Statement, found: &mut Vec<What>, renames: &mut bool) {
    let mut rest = Words::of(words);
    let cascades = words.last().is_some_and(|token| token.is("CASCADE"));
    let unclear = |what: &str| What::Unclear(what.to_owned());
    if rest.pass(&["DROP"]) {
        dropped(&mut rest, cascades, found);
    } else if rest.pass(&["ALTER", "TABLE"]) {
        altered(&mut rest, found, renames);
    } else if rest.pass(&["ALTER", "TYPE"]) && words.iter().any(|token| token.is("ATTRIBUTE")) {
        found.push(unclear("changes the attributes of a type"));
    } else if rest.pass(&["ALTER", "SCHEMA"]) {
        found.push(unclear("alters a schema, after which names mean something else"));
    } else if rest.pass(&["VALUES"]) || (rest.pass(&["CREATE"]) && words.iter().take(5).any(|token| token.is("RULE"))) {
        found.push(unclear("makes or runs code"));
    } else if rest.at > 0 || rest.pass(&["ALTER"]) {
        // What is not a table holds no data, but may be called something else from here on.
        *renames |= words.iter().any(|token| token.is("RENAME"));
    } else if rest.pass(&["TRUNCATE"]) {
        rest.pass(&["TABLE"]);
        match rest.names() {
            Some(tables) => found.extend(tables.into_iter().map(|table| What::Rows { table, cascades })),
            None => found.push(unclear("truncates a table whose name cannot be read")),
        }
    } else if words.first().is_some_and(|first| first.is("DELETE") || first.is("WITH") || first.is("SELECT")) {
        deleted(words, found);
        if calls_code(words) {
            found.push(unclear("calls a function"));
        }
    } else if let Some(what) = runs_code(words, statement) {
        found.push(What::Unclear(what));
    }
}

/// Makes a name what a statement takes away.
type Made = fn(String) -> What;

fn dropped(rest: &mut Words, cascades: bool, found: &mut Vec<What>) {
    let kinds: [(&str, Made); 3] = [("TABLE", What::Table), ("SCHEMA", What::Schema), ("EXTENSION", What::Extension)];
    for (kind, what) in kinds {
        if rest.pass(&[kind]) {
            rest.pass(&["IF", "EXISTS"]);
            match if kind == "TABLE" { rest.names() } else { rest.bare_names() } {
                Some(names) => found.extend(names.into_iter().map(what)),
                None => found.push(What::Unclear(format!("drops a {} whose name cannot be read", kind.to_lowercase()))),
            }
            if kind == "EXTENSION" && cascades {
                found.push(What::Unclear("drops an extension with CASCADE".to_owned()));
            }
            return;
        }
    }
    let kind = rest.peek().map(|token| token.text.to_lowercase()).unwrap_or_default();
    match kind.as_str() {
        "owned" => found.push(What::Unclear("drops all that a role owns".to_owned())),
        "type" | "domain" | "collation" if cascades => {
            found.push(What::Unclear(format!("drops a {kind} with CASCADE, and the columns of it")));
        }
        _ => {}
    }
}

/// The actions of `ALTER TABLE`.
fn altered(rest: &mut Words, found: &mut Vec<What>, renames: &mut bool) {
    rest.pass(&["IF", "EXISTS"]);
    rest.pass(&["ONLY"]);
    let Some(table) = rest.name() else {
        found.push(What::Unclear("alters a table whose name cannot be read".to_owned()));
        return;
    };
    rest.pass_sign("*");
    let mut depth = 0_usize;
    let actions = rest.words[rest.at..].split(|token| {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && token.text == ","
    });
    for action in actions {
        let mut action = Words::of(action);
        *renames |= action.pass(&["RENAME"]) || action.pass(&["SET", "SCHEMA"]);
        if action.pass(&["ALTER"]) {
            if action.words.iter().any(|token| token.is("TYPE")) && action.words.iter().any(|token| token.is("USING")) {
                found.push(What::Unclear(format!("computes the values of a column of {table} anew")));
            }
            continue;
        }
        if !action.pass(&["DROP"]) || action.pass(&["CONSTRAINT"]) {
            continue;
        }
        action.pass(&["COLUMN"]);
        action.pass(&["IF", "EXISTS"]);
        found.push(match action.bare_name() {
            Some(column) => What::Column { table: table.clone(), column },
            None => What::Unclear(format!("drops a column of {table} whose name cannot be read")),
        });
    }
}

/// `DELETE FROM`, also within `WITH`. Which rows its condition means is not asked.
fn deleted(words: &[Token], found: &mut Vec<What>) {
    for at in 0..words.len() {
        let mut rest = Words { words, at };
        if rest.pass(&["DELETE", "FROM"]) {
            rest.pass(&["ONLY"]);
            found.push(match rest.name() {
                Some(table) => What::Rows { table, cascades: false },
                None => What::Unclear("deletes from a table whose name cannot be read".to_owned()),
            });
        }
    }
}

/// Whether a query calls a function that may do anything.
fn calls_code(words: &[Token]) -> bool {
    words.windows(2).any(|pair| {
        let is_name = matches!(pair[0].kind, Kind::Word | Kind::Name);
        is_name && pair[1].kind == Kind::Open && !NO_CODE.iter().any(|known| pair[0].is(known))
    })
}

/// A statement that runs code, or one that is not known here.
fn runs_code(words: &[Token], statement: Statement) -> Option<String> {
    let first = words.first()?;
    if HARMLESS.iter().any(|known| first.is(known)) {
        return None;
    }
    if first.is("DO") {
        return Some("runs a DO block".to_owned());
    }
    if first.is("CALL") {
        return Some("calls a procedure".to_owned());
    }
    let shown: String = statement.on_one_line().split(' ').take(3).collect::<Vec<_>>().join(" ");
    Some(format!("runs {shown} …"))
}

#[cfg(test)]
#[path = "drops_tests.rs"]
mod tests;
