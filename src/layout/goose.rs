//! goose: `<number>_<name>.sql` in one folder, with `-- +goose Up` and `-- +goose Down` in each file.

use super::environment;
use super::hidden::Hidden;
use super::names::{self, Way};
use super::sql;
use super::{File, Folder, Layout, LayoutError, Options, Script, Sending, Source, Sources, Version};

/// Reads the folder.
pub(crate) fn read(sources: &Sources, options: &Options) -> Result<Folder, LayoutError> {
    if let Some(path) = sources.others.iter().find(|path| is_go(path)) {
        return Err(names::misnamed(path, "a migration in Go, which only goose can run"));
    }
    let mut left_out = Vec::new();
    let files = names::top(sources, Layout::Goose, &mut left_out);
    let mut files = files.into_iter().map(|source| file(source, options)).collect::<Result<Vec<_>, _>>()?;
    files.sort_by(|a, b| a.version.cmp(&b.version).then_with(|| a.up.path.cmp(&b.up.path)));
    names::refuse_repeated(&files)?;
    names::refuse_empty(sources, files.is_empty())?;
    Ok(Folder { layout: Layout::Goose, files, repeatables: Vec::new(), left_out })
}

/// goose takes such a file for a migration, unless it holds tests.
fn is_go(path: &str) -> bool {
    let (digits, rest) = names::digits(path);
    !digits.is_empty() && rest.starts_with('_') && rest.strip_suffix(".go").is_some_and(|stem| !stem.ends_with("_test"))
}

fn file(source: &Source, options: &Options) -> Result<File, LayoutError> {
    let stem = source.path.strip_suffix(".sql").ok_or_else(|| names::skipped(source, Layout::Goose))?;
    let (digits, rest) = names::digits(stem);
    let stops = || {
        let reason = format!("goose stops at this name; expected {}, from number 1 on", names::form(Layout::Goose));
        names::misnamed(&source.path, reason)
    };
    let name = rest.strip_prefix('_').filter(|_| !digits.is_empty()).ok_or_else(stops)?;
    let number = names::number(source, digits)?;
    if number == 0 {
        return Err(stops());
    }
    let parsed = Parser::read(source, options)?;
    let mut file = names::file(Version::number(number), name, parsed.script(source, Way::Up));
    // A section that is missing or empty takes nothing back.
    file.down = Some(parsed.script(source, Way::Down)).filter(|down| sql::has_statement(&down.text));
    Ok(file)
}

/// What a comment can ask goose for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Annotation {
    Way(Way),
    Begin,
    End,
    NoTransaction,
    Environment(bool),
}

/// The annotation on a line, if it is one: a comment that names goose. Any letters, and nothing before it.
fn annotation(line: &str) -> Option<Result<Annotation, String>> {
    let line = line.trim_end();
    if !line.trim_start().starts_with("--") || !line.contains("+goose") {
        return None;
    }
    if line.starts_with([' ', '\t']) {
        return Some(Err("blanks before an annotation: goose stops here".to_owned()));
    }
    let said = line.replace("--", "").replacen("+goose", "", 1);
    Some(match said.trim().to_ascii_lowercase().as_str() {
        "up" => Ok(Annotation::Way(Way::Up)),
        "down" => Ok(Annotation::Way(Way::Down)),
        "statementbegin" => Ok(Annotation::Begin),
        "statementend" => Ok(Annotation::End),
        "no transaction" => Ok(Annotation::NoTransaction),
        "envsub on" => Ok(Annotation::Environment(true)),
        "envsub off" => Ok(Annotation::Environment(false)),
        _ => Err(format!(
            "{line:?} is no annotation of goose: it has Up, Down, StatementBegin, StatementEnd, NO TRANSACTION, \
             ENVSUB ON and ENVSUB OFF"
        )),
    })
}

/// Whether a line says that it belongs to a file of goose.
pub(crate) fn is_marked(line: &str) -> bool {
    matches!(annotation(line), Some(Ok(Annotation::Way(_))))
}

/// Whether a line begins the way back in a file of goose.
pub(crate) fn is_down(line: &str) -> bool {
    annotation(line) == Some(Ok(Annotation::Way(Way::Down)))
}

/// The text of one way, and the line of the file on which it begins.
#[derive(Default)]
struct Section {
    text: String,
    hidden: Hidden,
    line: usize,
}

/// How far a file has been read.
#[derive(Default)]
struct Parser {
    way: Option<Way>,
    up: Section,
    down: Section,
    without_transaction: bool,
    inserts_environment: bool,
    /// The line of a `StatementBegin` that is open.
    begun: Option<usize>,
    /// The line on which a statement begins that has not ended.
    unfinished: Option<usize>,
}

impl Parser {
    fn read(source: &Source, options: &Options) -> Result<Self, LayoutError> {
        let mut parser = Self::default();
        for (number, line) in (1..).zip(sql::without_mark(&source.text).split_inclusive('\n')) {
            let read = match annotation(line) {
                Some(annotation) => annotation.and_then(|annotation| parser.obey(annotation, line, number)),
                None => parser.take(line, number, options),
            };
            read.map_err(|reason| LayoutError::content(&source.path, number, reason))?;
        }
        let error = |line, reason: &str| Err(LayoutError::content(&source.path, line, reason));
        match (parser.way, parser.begun, parser.unfinished) {
            (None, ..) => error(1, "-- +goose Up is missing"),
            (_, Some(line), _) => error(line, "-- +goose StatementBegin without -- +goose StatementEnd"),
            (_, _, Some(line)) => error(line, UNFINISHED),
            _ => Ok(parser),
        }
    }

    fn obey(&mut self, annotation: Annotation, line: &str, number: usize) -> Result<(), String> {
        match (annotation, self.way) {
            (Annotation::Way(way), _) => return self.turn(way, number),
            (Annotation::NoTransaction, _) => self.without_transaction = true,
            (Annotation::Environment(on), _) => self.inserts_environment = on,
            (Annotation::Begin, None) => return Err("-- +goose StatementBegin before -- +goose Up".to_owned()),
            (Annotation::Begin, _) if self.begun.is_some() => {
                return Err("-- +goose StatementBegin inside another one".to_owned());
            }
            (Annotation::Begin, _) => self.begun = Some(number),
            (Annotation::End, _) if self.begun.is_none() => {
                return Err("-- +goose StatementEnd without -- +goose StatementBegin".to_owned());
            }
            (Annotation::End, _) => (self.begun, self.unfinished) = (None, None),
        }
        self.push(line);
        Ok(())
    }

    /// Begins a section, which must not stand in the middle of a statement.
    fn turn(&mut self, way: Way, number: usize) -> Result<(), String> {
        if let Some(line) = self.begun {
            return Err(format!("-- +goose StatementBegin on line {line} has no -- +goose StatementEnd"));
        }
        if let Some(line) = self.unfinished {
            return Err(format!("the statement on line {line}: {UNFINISHED}"));
        }
        match (way, self.way) {
            (Way::Up, None) => self.up.line = number + 1,
            (Way::Down, Some(Way::Up)) => self.down.line = number + 1,
            (Way::Up, Some(_)) => return Err("a second -- +goose Up".to_owned()),
            (Way::Down, None) => return Err("-- +goose Down comes before -- +goose Up".to_owned()),
            (Way::Down, Some(Way::Down)) => return Err("a second -- +goose Down".to_owned()),
        }
        self.way = Some(way);
        Ok(())
    }

    /// Takes a line of SQL.
    fn take(&mut self, line: &str, number: usize, options: &Options) -> Result<(), String> {
        // Before a statement, comments are no part of it: nothing is inserted into them.
        if self.unfinished.is_none() && (line.trim().is_empty() || line.trim_start().starts_with("--")) {
            self.push(line);
            return Ok(());
        }
        if self.way.is_none() {
            return Err("SQL before -- +goose Up".to_owned());
        }
        let inserted;
        let line = if self.inserts_environment {
            inserted = environment::insert(line, &options.environment)?;
            self.push_inserted(line, &inserted, options)?;
            &inserted
        } else {
            self.push(line);
            line
        };
        let ends = self.begun.is_none() && ends_statement(line);
        self.unfinished = if ends { None } else { self.unfinished.or(Some(number)) };
        Ok(())
    }

    fn section(&mut self) -> Option<&mut Section> {
        match self.way? {
            Way::Up => Some(&mut self.up),
            Way::Down => Some(&mut self.down),
        }
    }

    fn push(&mut self, line: &str) {
        let Some(section) = self.section() else { return };
        section.text.push_str(line);
        section.hidden.shown.push_str(line);
    }

    /// Takes a line as it became with the values of the environment, which are not shown.
    fn push_inserted(&mut self, line: &str, inserted: &str, options: &Options) -> Result<(), String> {
        let Some(section) = self.section() else { return Ok(()) };
        section.text.push_str(inserted);
        if inserted == line {
            section.hidden.shown.push_str(line);
            return Ok(());
        }
        let named = |(name, value): (&String, &String)| {
            let shown = if value.is_empty() { String::new() } else { format!("${{{name}}}") };
            (name.clone(), shown)
        };
        let shown = environment::insert(line, &options.environment.iter().map(named).collect())?;
        for (name, value) in options.environment.iter().filter(|(name, _)| shown.contains(&format!("${{{name}}}"))) {
            section.hidden.note(name, value);
        }
        section.hidden.shown.push_str(&shown);
        Ok(())
    }

    fn script(&self, source: &Source, way: Way) -> Script {
        let section = if way == Way::Up { &self.up } else { &self.down };
        let sending = if self.without_transaction { Sending::Statements } else { Sending::Transaction };
        let hidden = Some(section.hidden.clone()).filter(|hidden| !hidden.values.is_empty()).map(Box::new);
        Script {
            path: source.path.clone(),
            text: section.text.as_str().into(),
            line: section.line.max(1),
            sending,
            hidden,
        }
    }
}

const UNFINISHED: &str = "no line of the statement ends with a semicolon";

/// Whether the last word of the line, comments left out, ends with a semicolon: so goose tells the end of a statement.
fn ends_statement(line: &str) -> bool {
    let last = line.split_whitespace().take_while(|word| !word.starts_with("--")).last();
    last.is_some_and(|word| word.ends_with(';'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::tests::{entries, folder, refusal};

    const BOTH: &str = "-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT -1;\n";

    #[test]
    fn goose_files_have_sections_and_are_ordered_by_number() {
        let function = "\u{feff}-- why\r\n\r\n-- +goose up\r\n-- +goose StatementBegin\r\nCREATE FUNCTION f() AS $$ a; b $$\r\n\
                        -- +goose statementend\r\nSELECT 1; -- done\r\n";
        let folder = folder(
            Layout::Goose,
            &[
                ("10_b.sql", "-- +goose NO TRANSACTION\n--+goose Up\nVACUUM;\n\n-- +goose Down\nSELECT\n  1;\n"),
                ("00002_a_c.sql", function),
                ("3_d.sql", BOTH),
                ("4_e.sql", "-- +goose Up\n-- +goose Down\n-- nothing\n"),
            ],
        );
        assert_eq!(
            entries(&folder),
            [("00002_a_c.sql", "2", ""), ("3_d.sql", "3", ""), ("4_e.sql", "4", ""), ("10_b.sql", "10", "")]
        );
        let [two, three, four, ten] = &folder.files[..] else { panic!() };
        assert_eq!((&*two.up.text, two.up.line), (&function[function.find("-- +goose Sta").unwrap()..], 4));
        assert_eq!((two.up.sending, &two.down, two.name.as_str()), (Sending::Transaction, &None, "a_c"));
        assert_eq!(&*three.down.as_ref().unwrap().text, "SELECT -1;\n");
        assert_eq!((&*four.up.text, &four.down), ("", &None));
        assert_eq!((&*ten.up.text, ten.up.line, ten.up.sending), ("VACUUM;\n\n", 3, Sending::Statements));
        let down = ten.down.as_ref().unwrap();
        assert_eq!((&*down.text, down.line, down.sending), ("SELECT\n  1;\n", 6, Sending::Statements));
    }

    #[test]
    fn what_goose_inserts_is_sent_and_not_shown() {
        let text = "-- +goose Up\n-- +goose ENVSUB ON\nSELECT '$A', '${B:-two}', $$;\n-- +goose Down\nSELECT 1;\n";
        let sources = Sources::embedded("f", [("1_a.sql", text)]);
        let environment = [("A".to_owned(), "s3cret".to_owned())].into();
        let folder = crate::read(&sources, Layout::Goose, &Options { environment, ..Options::default() }).unwrap();
        let file = &folder.files[0];
        assert!(file.up.text.contains("SELECT 's3cret', 'two', $$;"), "{}", file.up.text);
        assert!(file.up.shown().contains("SELECT '${A}', 'two', $$;"), "{}", file.up.shown());
        assert_eq!(file.down.as_ref().unwrap().hidden, None);
    }

    #[test]
    fn goose_inserts_the_environment_where_it_is_asked_to() {
        let text =
            "-- +goose ENVSUB ON\n-- +goose Up\n-- $A\nSELECT '${A}', $$a$$;\n-- +goose envsub off\nSELECT '$A';\n";
        let read = |environment: &[(&str, &str)]| {
            let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            let sources = Sources::embedded("f", [("1_a.sql", text)]);
            crate::read(&sources, Layout::Goose, &Options { environment, ..Options::default() })
        };
        let folder = read(&[("A", "one")]).unwrap();
        let expected = "-- $A\nSELECT 'one', $$a$$;\n-- +goose envsub off\nSELECT '$A';\n";
        assert_eq!(&*folder.files[0].up.text, expected);
        assert_eq!(
            read(&[]).unwrap_err().to_string(),
            "line 4 of 1_a.sql: the environment variable A is not set; goose would insert nothing"
        );
    }

    #[test]
    fn goose_refuses_files_whose_annotations_are_not_in_order() {
        for (text, expected) in [
            ("", "line 1 of 1_a.sql: -- +goose Up is missing"),
            ("-- +Goose Up\n", "line 1 of 1_a.sql: -- +goose Up is missing"),
            ("\nSELECT 1;\n", "line 2 of 1_a.sql: SQL before -- +goose Up"),
            ("-- a\n-- +goose Down\n-- +goose Up\n", "line 2 of 1_a.sql: -- +goose Down comes before -- +goose Up"),
            ("-- +goose Up\n-- +goose Up\n", "line 2 of 1_a.sql: a second -- +goose Up"),
            ("-- +goose Up\n-- +goose Down\n-- +goose Down\n", "line 3 of 1_a.sql: a second -- +goose Down"),
            (
                "-- +goose Up\n-- +goose StatementBegin\nSELECT 1;\n",
                "line 2 of 1_a.sql: -- +goose StatementBegin without -- +goose StatementEnd",
            ),
            (
                "-- +goose Up\n-- +goose StatementBegin\n-- +goose Down\n",
                "line 3 of 1_a.sql: -- +goose StatementBegin on line 2 has no -- +goose StatementEnd",
            ),
            (
                "-- +goose Up\n-- +goose StatementBegin\n-- +goose StatementBegin\n",
                "line 3 of 1_a.sql: -- +goose StatementBegin inside another one",
            ),
            ("-- +goose StatementBegin\n", "line 1 of 1_a.sql: -- +goose StatementBegin before -- +goose Up"),
            (
                "-- +goose Up\n-- +goose StatementEnd\n",
                "line 2 of 1_a.sql: -- +goose StatementEnd without -- +goose StatementBegin",
            ),
            ("-- +goose Up\nSELECT 1 -- ;\n", "line 2 of 1_a.sql: no line of the statement ends with a semicolon"),
            (
                "-- +goose Up\n\nSELECT 1\n-- +goose Down\n",
                "line 4 of 1_a.sql: the statement on line 3: no line of the statement ends with a semicolon",
            ),
            ("-- +goose Up\n  -- +goose Down\n", "line 2 of 1_a.sql: blanks before an annotation: goose stops here"),
            (
                "-- +goose Upp\n",
                "line 1 of 1_a.sql: \"-- +goose Upp\" is no annotation of goose: it has Up, Down, StatementBegin, \
                 StatementEnd, NO TRANSACTION, ENVSUB ON and ENVSUB OFF",
            ),
        ] {
            assert_eq!(refusal(Layout::Goose, &[("1_a.sql", text)]), expected, "{text:?}");
        }
    }

    #[test]
    fn goose_refuses_names_it_stops_at_and_repeated_numbers() {
        let stops = "goose stops at this name; expected <number>_<name>.sql, from number 1 on";
        for name in ["a.sql", "V1__a.sql", "1-a.sql", "0_a.sql", "_a.sql"] {
            assert_eq!(refusal(Layout::Goose, &[(name, BOTH)]), format!("{name}: {stops}"));
        }
        assert_eq!(
            refusal(Layout::Goose, &[("1_a.SQL", BOTH)]),
            "1_a.SQL: goose would skip a file of this name; expected <number>_<name>.sql"
        );
        assert_eq!(
            refusal(Layout::Goose, &[("1_b.sql", BOTH), ("01_a.sql", BOTH)]),
            "version 1 is repeated: 01_a.sql and 1_b.sql"
        );
        assert_eq!(
            refusal(Layout::Goose, &[("1_b.sql", BOTH), ("2_test.go", ""), ("2_a.go", "")]),
            "2_a.go: a migration in Go, which only goose can run"
        );
        assert_eq!(refusal(Layout::Goose, &[]), "f holds no migration");
    }
}
