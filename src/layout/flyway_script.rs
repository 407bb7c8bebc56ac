//! What Flyway sends of a file: its text with `${name}` replaced, in a transaction unless a statement cannot be in one.

use super::flyway_conf::Conf;
use super::hidden::Hidden;
use super::reading::script;
use super::sql::{self, Statement};
use super::{LayoutError, Options, Script, Sending, Source};

/// The script of a file.
pub(crate) fn flyway_script(source: &Source, conf: Conf, options: &Options) -> Result<Script, LayoutError> {
    let mut script = script(source, Sending::Transaction)?;
    if conf.replaces {
        let (text, hidden) = replaced(&source.path, &script.text, options)?;
        (script.text, script.hidden) = (text.into(), hidden.map(Box::new));
    }
    script.sending = sending(&script, conf)?;
    Ok(script)
}

/// The text with every `${name}` replaced, in comments and strings, too; and what of that is not to be shown.
fn replaced(path: &str, text: &str, options: &Options) -> Result<(String, Option<Hidden>), LayoutError> {
    let mut result = String::with_capacity(text.len());
    let mut hidden = Hidden::default();
    let mut at = 0;
    while let Some(found) = text[at..].find("${") {
        let start = at + found;
        let wrong = |reason: String| LayoutError::content(path, sql::line_at(text, start), reason);
        let name = text[start + 2..].split_once('}').map(|(name, _)| name);
        let Some(name) = name else {
            return Err(wrong("${ begins a placeholder that no } ends".to_owned()));
        };
        let value = options.placeholders.get(name).ok_or_else(|| wrong(unknown(name, options)))?;
        for result in [&mut result, &mut hidden.shown] {
            result.push_str(&text[at..start]);
        }
        result.push_str(value);
        let shown = if options.secrets.contains(name) { hidden.note(name, value) } else { value.clone() };
        hidden.shown.push_str(&shown);
        at = start + "${}".len() + name.len();
    }
    for result in [&mut result, &mut hidden.shown] {
        result.push_str(&text[at..]);
    }
    Ok((result, Some(hidden).filter(|hidden| !hidden.values.is_empty())))
}

fn unknown(name: &str, options: &Options) -> String {
    let shown: String = name.chars().take(60).collect();
    if name.starts_with("flyway:") {
        return format!(
            "${{{shown}}} is a placeholder that Flyway itself fills in; here it needs a value like any other"
        );
    }
    let known: Vec<_> = options.placeholders.keys().map(String::as_str).collect();
    if known.is_empty() {
        return format!("no value is given for ${{{shown}}}, nor for any placeholder");
    }
    format!("no value is given for ${{{shown}}}; there are values for {}", known.join(", "))
}

fn sending(script: &Script, conf: Conf) -> Result<Sending, LayoutError> {
    let mut alone: Option<Statement> = None;
    let mut is_mixed = false;
    for statement in sql::statements(&script.text) {
        let wrong = |reason: &str| Err(LayoutError::content(&script.path, line(script, statement), reason));
        if is_copy_from_stdin(statement) {
            return wrong("COPY … FROM STDIN needs rows that only Flyway sends; use INSERT, or COPY from a file");
        }
        let is_alone = sql::needs_no_transaction(statement);
        if is_alone && conf.in_transaction == Some(true) {
            return wrong("the statement cannot run in a transaction, but the .conf has executeInTransaction=true");
        }
        if is_alone && alone.is_none() {
            alone = Some(statement);
        }
        is_mixed |= !is_alone;
    }
    match (conf.in_transaction, alone) {
        (Some(false), _) => Ok(Sending::Statements),
        (Some(true), _) | (None, None) => Ok(Sending::Transaction),
        (None, Some(_)) if !is_mixed => Ok(Sending::Statements),
        (None, Some(statement)) => {
            let reason = format!(
                "the statement cannot run in a transaction, and others of the file would run in one: move it to a file \
                 of its own, or write executeInTransaction=false to {}",
                Conf::path(&script.path)
            );
            Err(LayoutError::content(&script.path, line(script, statement), reason))
        }
    }
}

fn line(script: &Script, statement: Statement) -> usize {
    sql::line_at(&script.text, statement.start)
}

fn is_copy_from_stdin(statement: Statement) -> bool {
    let mut tokens = statement.tokens();
    if !tokens.next().is_some_and(|first| first.is("COPY")) {
        return false;
    }
    let tokens: Vec<_> = tokens.collect();
    tokens.windows(2).any(|two| two[0].is("FROM") && two[1].is("STDIN"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Conf = Conf { in_transaction: None, replaces: true, runs: true };

    fn read(text: &str, conf: Conf) -> Result<Script, String> {
        let source = Source { path: "V1__a.sql".into(), text: text.into() };
        let placeholders = [("schema", "app"), ("empty", ""), ("flyway:table", "h")];
        let placeholders = placeholders.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let options = Options { placeholders, ..Options::default() };
        flyway_script(&source, conf, &options).map_err(|error| error.to_string())
    }

    #[test]
    fn placeholders_are_replaced_everywhere() {
        let text = "SELECT '${schema}' /* ${empty} */, $${schema}$$ -- ${flyway:table} $ { ${schema}";
        let script = read(text, DEFAULT).unwrap();
        assert_eq!(&*script.text, "SELECT 'app' /*  */, $app$$ -- h $ { app");
        let kept = read(text, Conf { replaces: false, ..DEFAULT }).unwrap();
        assert_eq!(&*kept.text, text);
    }

    #[test]
    fn what_comes_from_the_environment_is_sent_and_not_shown() {
        let source =
            Source { path: "V1__a.sql".into(), text: "ALTER ROLE ${role} PASSWORD '${password}' -- ${role}".into() };
        let placeholders = [("role", "app"), ("password", "s3cret")];
        let placeholders = placeholders.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let options = Options { placeholders, secrets: ["password".to_owned()].into(), ..Options::default() };
        let script = flyway_script(&source, DEFAULT, &options).unwrap();
        assert_eq!(&*script.text, "ALTER ROLE app PASSWORD 's3cret' -- app");
        assert_eq!(script.shown(), "ALTER ROLE app PASSWORD '${password}' -- app");
        assert_eq!(script.hidden.unwrap().mask("near \"s3cret\""), "near \"${password}\"");
    }

    #[test]
    fn a_placeholder_without_a_value_is_refused_with_its_line() {
        assert_eq!(
            read("SELECT 1;\n-- ${shema}\n", DEFAULT).unwrap_err(),
            "line 2 of V1__a.sql: no value is given for ${shema}; there are values for empty, flyway:table, schema"
        );
        assert_eq!(
            read("SELECT '${flyway:user}'", DEFAULT).unwrap_err(),
            "line 1 of V1__a.sql: ${flyway:user} is a placeholder that Flyway itself fills in; \
             here it needs a value like any other"
        );
        assert_eq!(
            read("\r\nSELECT '${a'", DEFAULT).unwrap_err(),
            "line 2 of V1__a.sql: ${ begins a placeholder that no } ends"
        );
        let source = Source { path: "a.sql".into(), text: "${a}".into() };
        assert_eq!(
            flyway_script(&source, DEFAULT, &Options::default()).unwrap_err().to_string(),
            "line 1 of a.sql: no value is given for ${a}, nor for any placeholder"
        );
    }

    #[test]
    fn the_statements_decide_about_the_transaction() {
        let sending = |text: &str| read(text, DEFAULT).map(|script| script.sending);
        let concurrently = "CREATE INDEX CONCURRENTLY i ON t (c);";
        assert_eq!(sending("SELECT 1; SELECT 2"), Ok(Sending::Transaction));
        assert_eq!(sending("-- nothing"), Ok(Sending::Transaction));
        assert_eq!(sending(&format!("-- why\n{concurrently}\nVACUUM t;")), Ok(Sending::Statements));
        let mixed = format!("SET lock_timeout = 0;\n{concurrently}");
        assert_eq!(
            sending(&mixed).unwrap_err(),
            "line 2 of V1__a.sql: the statement cannot run in a transaction, and others of the file would run in one: \
             move it to a file of its own, or write executeInTransaction=false to V1__a.sql.conf"
        );
        let conf = |value| Conf { in_transaction: Some(value), ..DEFAULT };
        assert_eq!(read(&mixed, conf(false)).unwrap().sending, Sending::Statements);
        assert_eq!(read("SELECT 1", conf(false)).unwrap().sending, Sending::Statements);
        assert_eq!(read("SELECT 1", conf(true)).unwrap().sending, Sending::Transaction);
        assert_eq!(
            read(&mixed, conf(true)).unwrap_err(),
            "line 2 of V1__a.sql: the statement cannot run in a transaction, but the .conf has executeInTransaction=true"
        );
    }

    #[test]
    fn rows_after_a_copy_are_refused() {
        assert_eq!(
            read("SELECT 1;\nCOPY t (a, b) FROM stdin;\n1\t2\n\\.\n", DEFAULT).unwrap_err(),
            "line 2 of V1__a.sql: COPY … FROM STDIN needs rows that only Flyway sends; use INSERT, or COPY from a file"
        );
        assert!(read("COPY t FROM '/tmp/x'; COPY (SELECT 1) TO STDOUT", DEFAULT).is_ok());
    }
}
