//! How a migration's statements are sent to the server.

use migrate_layout::{Script, Sending};

use super::set_error::SetError;
use super::sql::Statement;
use super::{Token, forbidden, sql};

/// How a migration's statements are sent to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All of them and the history row in one transaction.
    Transaction,
    /// Each by itself, then the history row. A kill in between leaves those that have run, and runs them again.
    NoTransaction {
        /// The statements.
        statements: Vec<Alone>,
    },
    /// As one message, since the file begins and ends a transaction itself.
    OwnTransaction {
        /// Where in the text the history row can be written, within the file's own transaction: in front of the `COMMIT`
        /// that ends it. None if the file is more than that one transaction; a kill then leaves what it had committed.
        record_at: Option<usize>,
    },
}

/// A statement that is sent by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alone {
    /// The statement.
    pub sql: String,
    /// Where in the script it begins.
    pub start: usize,
    /// The index that it builds, if that is what it does.
    pub index: Option<ConcurrentIndex>,
    /// It is one or several statements that share a transaction, and give way where they cannot get their locks soon.
    pub in_transaction: bool,
}

/// An index that `CREATE INDEX CONCURRENTLY` builds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConcurrentIndex {
    /// The index, as the server knows it.
    pub name: String,
    /// The schema of the table, if the file names one; otherwise the search path decides.
    pub schema: Option<String>,
    /// The search path that the file itself has set before, where it has; it decides where no schema is named.
    pub path: Vec<String>,
    /// The table, as the server knows it.
    pub table: String,
}

impl Mode {
    /// How a file of this program's own form is run: either in a transaction, or it is one statement that may run twice, or
    /// several such around an index that is built without a transaction.
    pub(super) fn of_own(script: &Script, in_transaction: bool) -> Result<Self, SetError> {
        // Most files need not be taken apart.
        if in_transaction && forbidden::is_harmless(&script.text) {
            return Ok(Self::Transaction);
        }
        let statements = forbidden::statements(script)?;
        if in_transaction {
            return Ok(Self::Transaction);
        }
        let about_an_index = |statement: &Statement| {
            sql::needs_no_transaction(*statement) && statement.tokens().take(3).any(|word| word.is("INDEX"))
        };
        if statements.len() > 1 && statements.iter().any(about_an_index) {
            return Ok(Self::NoTransaction { statements: along_the_path(&statements, steps(script, &statements)?) });
        }
        Ok(Self::NoTransaction { statements: vec![single_statement(script, &statements)?] })
    }

    /// How a file that was written for another tool is run: to the same effect as that one runs it.
    pub(super) fn of_foreign(script: &Script) -> Result<Self, SetError> {
        let (statements, control) = forbidden::foreign_statements(script)?;
        if let Some(statement) = left_open(&statements) {
            let (file, line) = (script.path.clone(), script.line_at(statement.start));
            return Err(SetError::LeftOpen { file, line });
        }
        let alone = |statement: &Statement| Alone {
            sql: script.text[statement.start..statement.end()].to_owned(),
            start: statement.start,
            index: concurrent_index(statement, false).ok().flatten(),
            in_transaction: false,
        };
        Ok(match (script.sending, statements.as_slice()) {
            _ if control => Self::OwnTransaction { record_at: end_of_only_transaction(&statements) },
            (Sending::Statements, all) => {
                Self::NoTransaction { statements: along_the_path(all, all.iter().map(alone).collect()) }
            }
            // Several statements in one message are one transaction; one that cannot be in any comes alone.
            (Sending::Whole, [one]) if sql::needs_no_transaction(*one) => {
                Self::NoTransaction { statements: vec![alone(one)] }
            }
            (Sending::Transaction | Sending::Whole, _) => Self::Transaction,
        })
    }

    /// Whether a failure rolls back all of it.
    #[must_use]
    pub fn is_all_or_nothing(&self) -> bool {
        match self {
            Self::Transaction | Self::OwnTransaction { record_at: Some(_) } => true,
            Self::NoTransaction { .. } | Self::OwnTransaction { record_at: None } => false,
        }
    }

    /// Whether a kill can leave a part of the file committed, which another try then meets.
    pub(super) fn may_leave_a_part(&self) -> bool {
        match self {
            Self::Transaction | Self::OwnTransaction { record_at: Some(_) } => false,
            Self::NoTransaction { statements } => statements.len() > 1,
            Self::OwnTransaction { record_at: None } => true,
        }
    }

    /// The indexes that are built concurrently.
    pub fn indexes(&self) -> impl Iterator<Item = &ConcurrentIndex> {
        let statements = if let Self::NoTransaction { statements } = self { statements.as_slice() } else { &[] };
        statements.iter().filter_map(|statement| statement.index.as_ref())
    }
}

/// The same, where each index that is built knows the search path that the statements before it have set.
fn along_the_path(statements: &[Statement], mut steps: Vec<Alone>) -> Vec<Alone> {
    let mut path = Vec::new();
    for statement in statements {
        path = search_path(statement).unwrap_or(path);
        let step = steps.iter_mut().find(|step| step.start == statement.start);
        if let Some(index) = step.and_then(|step| step.index.as_mut()) {
            index.path.clone_from(&path);
        }
    }
    steps
}

/// The schemas of a statement that sets the search path; none if it is the session's own again.
fn search_path(statement: &Statement) -> Option<Vec<String>> {
    let words: Vec<_> = statement.tokens().take(100).collect();
    let at = words.iter().position(|word| word.is("search_path") || word.text.eq_ignore_ascii_case("'search_path'"))?;
    let sets = words.first()?.is("SET") && at <= 2;
    let resets = words.first()?.is("RESET") && at == 1;
    let calls = at >= 2 && words[at - 2].is("set_config");
    if !(sets || resets || calls) {
        return None;
    }
    // Of a call, the text behind the comma; of SET, all behind TO or =.
    let values = words.iter().skip(at + 2).take_while(|word| sets || word.text.starts_with('\''));
    let schemas = values.filter_map(|word| match word.text.strip_prefix('\'') {
        Some(text) => Some(text.trim_end_matches('\'').to_owned()),
        None => word.name().filter(|_| !word.is("DEFAULT")),
    });
    // One text of a call holds them all; of SET, each is a name.
    let split = |schemas: String| -> Vec<String> {
        let each = schemas.split(',').map(|schema| schema.trim().trim_matches('"').to_owned());
        if calls { each.collect() } else { vec![schemas] }
    };
    Some(schemas.flat_map(split).filter(|schema| !schema.is_empty() && schema != "$user").collect())
}

/// The statement that begins a transaction which the file does not end: what follows it would never be committed.
fn left_open<'a>(statements: &[Statement<'a>]) -> Option<Statement<'a>> {
    let mut open = None;
    for statement in statements.iter().filter(|statement| forbidden::is_control(**statement)) {
        let begins = statement.tokens().next().is_some_and(|word| word.is("BEGIN") || word.is("START"));
        let chains = statement.tokens().any(|word| word.is("CHAIN")) && !statement.tokens().any(|word| word.is("NO"));
        open = if begins { open.or(Some(*statement)) } else { chains.then_some(*statement) };
    }
    open
}

/// In front of the last `COMMIT` of a file that is `BEGIN; …; COMMIT;` and nothing else.
fn end_of_only_transaction(statements: &[Statement]) -> Option<usize> {
    let ends = |statement: &Statement| forbidden::is_control(*statement);
    let (first, rest) = statements.split_first()?;
    let (last, between) = rest.split_last()?;
    let begins = first.tokens().next().is_some_and(|word| word.is("BEGIN") || word.is("START"));
    let word = last.tokens().next()?;
    let commits =
        (word.is("COMMIT") || word.is("END")) && !last.tokens().any(|word| word.is("PREPARED") || word.is("CHAIN"));
    (begins && commits && !between.iter().any(ends)).then_some(last.start)
}

/// Checks that a file is one statement which may run twice, and finds the index it builds.
fn single_statement(script: &Script, statements: &[Statement]) -> Result<Alone, SetError> {
    let [statement] = statements else {
        let second = statements.get(1).map(|statement| script.line_at(statement.start));
        return Err(SetError::NotOneStatement { file: script.path.clone(), found: statements.len(), second });
    };
    alone(script, statement)
}

/// One statement by itself, if it may run twice.
fn alone(script: &Script, statement: &Statement) -> Result<Alone, SetError> {
    let index = concurrent_index(statement, true).map_err(|()| not_repeatable(script, statement))?;
    let sql = script.text[statement.start..statement.end()].to_owned();
    Ok(Alone { sql, start: statement.start, index, in_transaction: false })
}

fn not_repeatable(script: &Script, statement: &Statement) -> SetError {
    SetError::NotRepeatable { file: script.path.clone(), line: script.line_at(statement.start) }
}

/// The statements of a file around an index that is built without a transaction. What PostgreSQL refuses in a transaction, and
/// code that may end one, goes by itself; the statements between two of those share one. The last such transaction records
/// the file, too, and so never runs twice.
fn steps(script: &Script, statements: &[Statement]) -> Result<Vec<Alone>, SetError> {
    let is_alone = |statement: &Statement| {
        let may_end = |word: &str| statement.tokens().next().is_some_and(|first| first.is(word));
        sql::needs_no_transaction(*statement) || may_end("DO") || may_end("CALL")
    };
    let last_alone = statements.iter().rposition(is_alone);
    let mut steps: Vec<Alone> = Vec::new();
    for (at, statement) in statements.iter().enumerate() {
        if is_alone(statement) {
            steps.push(alone(script, statement)?);
            continue;
        }
        if last_alone.is_some_and(|last| at < last) && !bears_a_second_run(statement) {
            return Err(not_repeatable(script, statement));
        }
        if let Some(step) = steps.last_mut().filter(|step| step.in_transaction) {
            script.text[step.start..statement.end()].clone_into(&mut step.sql);
            continue;
        }
        let sql = script.text[statement.start..statement.end()].to_owned();
        steps.push(Alone { sql, start: statement.start, index: None, in_transaction: true });
    }
    Ok(steps)
}

/// Whether a statement says what is to be done where it has been done. What makes, changes and drops nothing is its author's.
fn bears_a_second_run(statement: &Statement) -> bool {
    let words: Vec<_> = statement.tokens().collect();
    let is = |at: usize, word: &str| words.get(at).is_some_and(|token| token.is(word));
    let said = |word: &str, behind: usize| (1..=behind).any(|at| is(at, word));
    let Some(first) = words.first() else { return true };
    match first.text.to_ascii_uppercase().as_str() {
        "CREATE" => said("REPLACE", 2) || said("IF", 4),
        "DROP" => said("IF", 4),
        // Each column that it adds or drops.
        "ALTER" if is(1, "TABLE") => words.iter().enumerate().all(|(at, word)| {
            let of_column = is(at + 1, "COLUMN") || is(at + 1, "CONSTRAINT");
            let of_property = ["DEFAULT", "NOT", "IDENTITY", "EXPRESSION"].iter().any(|word| is(at + 1, word));
            !(word.is("ADD") || word.is("DROP") || word.is("RENAME"))
                || of_property && word.is("DROP")
                || is(at + 1 + usize::from(of_column), "IF")
        }),
        "ALTER" => said("IF", 3),
        _ => true,
    }
}

/// The index that a statement builds concurrently. `twice`: an error if it could not run twice, or does not name the index.
fn concurrent_index(statement: &Statement, twice: bool) -> Result<Option<ConcurrentIndex>, ()> {
    // More words than the longest beginning has.
    let words: Vec<_> = statement.tokens().take(20).collect();
    let say = |at: usize, expected: &[&str]| {
        expected.iter().enumerate().all(|(i, word)| words.get(at + i).is_some_and(|token| token.is(word)))
    };
    if twice && say(0, &["DROP", "INDEX"]) && !say(3, &["IF", "EXISTS"]) {
        return Err(());
    }
    let unique = usize::from(say(1, &["UNIQUE"]));
    if !(say(0, &["CREATE"]) && say(1 + unique, &["INDEX", "CONCURRENTLY"])) {
        return Ok(None);
    }
    let mut at = 3 + unique;
    if say(at, &["IF", "NOT", "EXISTS"]) {
        at += 3;
    } else if twice {
        return Err(());
    }
    if !say(at + 1, &["ON"]) {
        return Err(());
    }
    let name = |at: usize| words.get(at).and_then(Token::name);
    let index = name(at);
    at += 2 + usize::from(say(at + 2, &["ONLY"]));
    // A database may stand before the schema.
    let mut schema = None;
    let mut table = name(at);
    while words.get(at + 1).is_some_and(|token| token.text == ".") {
        at += 2;
        schema = table;
        table = name(at);
    }
    match (index, table) {
        (Some(name), Some(table)) => Ok(Some(ConcurrentIndex { name, schema, path: Vec::new(), table })),
        _ => Err(()),
    }
}
