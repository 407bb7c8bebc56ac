//! dbmate: `<digits>_<name>.sql` in one folder, with `-- migrate:up` and `-- migrate:down` in each file, ordered by file
//! name, byte by byte.

use super::names::{self, Way};
use super::sql;
use super::{File, Folder, Layout, LayoutError, Script, Sending, Source, Sources, Version};

/// Reads the folder.
pub(crate) fn read(sources: &Sources) -> Result<Folder, LayoutError> {
    let mut left_out = Vec::new();
    let files = names::top(sources, Layout::Dbmate, &mut left_out);
    let files = files.into_iter().map(file).collect::<Result<Vec<_>, _>>()?;
    names::refuse_repeated(&files)?;
    names::refuse_empty(sources, files.is_empty())?;
    Ok(Folder { layout: Layout::Dbmate, files, repeatables: Vec::new(), left_out })
}

fn file(source: &Source) -> Result<File, LayoutError> {
    let (digits, rest) = names::digits(&source.path);
    let name = rest.strip_suffix(".sql").filter(|_| !digits.is_empty());
    let name = name.ok_or_else(|| names::skipped(source, Layout::Dbmate))?;
    let sections = sections(source)?;
    let mut file = names::file(
        Version::placed(&source.path, digits),
        name.trim_start_matches(['_', '-']),
        script(source, &sections, Way::Up)?,
    );
    let down = script(source, &sections, Way::Down)?;
    // The section must be there, and often it is only that: nothing in it takes anything back.
    file.down = Some(down).filter(|down| sql::has_statement(&down.text));
    Ok(file)
}

/// A marker and the text that follows it, up to the next one.
struct Section {
    way: Way,
    in_transaction: bool,
    /// The line of the marker, from 1.
    line: usize,
    /// Where the text begins and ends in the file.
    start: usize,
    end: usize,
}

/// What the marker on a line says: the way, and whether it asks for a transaction.
pub(crate) fn marker(line: &str) -> Option<(Way, bool)> {
    let said = line.strip_prefix("--")?.trim_start().strip_prefix("migrate:")?;
    let (way, options) = match (said.strip_prefix("up"), said.strip_prefix("down")) {
        (Some(options), _) => (Way::Up, options),
        (_, Some(options)) => (Way::Down, options),
        _ => return None,
    };
    let is_marker = options.is_empty() || options.starts_with(char::is_whitespace);
    // The last of several counts.
    let asked = options.split_whitespace().filter_map(|option| option.strip_prefix("transaction:")).next_back();
    is_marker.then_some((way, asked != Some("false")))
}

/// The sections of a file: an up and a down, as often as it likes.
fn sections(source: &Source) -> Result<Vec<Section>, LayoutError> {
    let error = |line, reason: &str| Err(LayoutError::content(&source.path, line, reason));
    let mut sections: Vec<Section> = Vec::new();
    let mut at = source.text.len() - sql::without_mark(&source.text).len();
    for (line, text) in (1..).zip(source.text[at..].split_inclusive('\n')) {
        let end = at + text.len();
        let before = sections.last().map(|section| (section.way, section.line));
        match (marker(text), before) {
            (Some((Way::Down, _)), None) => return error(line, "-- migrate:down comes before -- migrate:up"),
            (Some((Way::Down, _)), Some((Way::Down, _))) => {
                return error(line, "a second -- migrate:down without a -- migrate:up before it");
            }
            (Some((Way::Up, _)), Some((Way::Up, line))) => {
                return error(line, "no -- migrate:down follows -- migrate:up");
            }
            (Some((way, in_transaction)), _) => sections.push(Section { way, in_transaction, line, start: end, end }),
            (None, None) if !text.trim().is_empty() && !text.trim_start().starts_with("--") => {
                return error(line, "SQL before -- migrate:up");
            }
            (None, _) => {
                if let Some(section) = sections.last_mut() {
                    section.end = end;
                }
            }
        }
        at = end;
    }
    match sections.last() {
        None => error(1, "-- migrate:up and -- migrate:down are missing: they begin in the first column"),
        Some(Section { way: Way::Up, line, .. }) => error(*line, "no -- migrate:down follows -- migrate:up"),
        Some(_) => Ok(sections),
    }
}

/// The SQL of one way. Between two sections of it, the lines of others are left empty, so that lines can be counted.
fn script(source: &Source, sections: &[Section], way: Way) -> Result<Script, LayoutError> {
    let mut ours = sections.iter().filter(|section| section.way == way);
    let Some(first) = ours.next() else {
        return Err(LayoutError::EmptyFile { path: source.path.clone() });
    };
    let mut text = source.text[first.start..first.end].to_owned();
    let mut line = first.line + 1 + text.matches('\n').count();
    for section in ours {
        if section.in_transaction != first.in_transaction {
            let reason = "another section of this file runs in a transaction, this one does not, or the other way round: \
                          make two files of it";
            return Err(LayoutError::content(&source.path, section.line, reason));
        }
        text.extend((line..=section.line).map(|_| '\n'));
        text.push_str(&source.text[section.start..section.end]);
        line = section.line + 1 + source.text[section.start..section.end].matches('\n').count();
    }
    let sending = if first.in_transaction { Sending::Transaction } else { Sending::Statements };
    Ok(Script { path: source.path.clone(), text: text.into(), line: first.line + 1, sending, hidden: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::tests::{entries, folder, refusal};

    const BOTH: &str = "-- migrate:up\nSELECT 1;\n-- migrate:down\nSELECT -1;\n";

    #[test]
    fn dbmate_files_have_two_sections_and_are_ordered_by_name() {
        let folder = folder(
            Layout::Dbmate,
            &[
                ("2_b.sql", BOTH),
                (
                    "010_a.sql",
                    "\u{feff}-- why\r\n\r\n--migrate:up\r\nSELECT 1;\r\n-- migrate:down transaction:false\r\nDROP INDEX a;",
                ),
                (
                    "10.sql",
                    "-- migrate:up transaction:false foo:bar\n  -- migrate:up\nVACUUM;\n-- migrate:down\n-- no\n",
                ),
            ],
        );
        assert_eq!(entries(&folder), [("010_a.sql", "010", ""), ("10.sql", "10", ""), ("2_b.sql", "2", "")]);
        let [a, ten, _] = &folder.files[..] else { panic!() };
        assert_eq!((&*a.up.text, a.up.line, a.up.sending), ("SELECT 1;\r\n", 4, Sending::Transaction));
        let down = a.down.as_ref().unwrap();
        assert_eq!((&*down.text, down.line, down.sending), ("DROP INDEX a;", 6, Sending::Statements));
        assert_eq!((&*ten.up.text, ten.up.line), ("  -- migrate:up\nVACUUM;\n", 2));
        assert_eq!((ten.up.sending, &ten.down, ten.name.as_str()), (Sending::Statements, &None, ""));
    }

    #[test]
    fn dbmate_sections_may_repeat_and_keep_their_lines() {
        let text =
            "-- migrate:up\nSELECT 1;\n-- migrate:down\nSELECT -1;\n\n-- migrate:up\nSELECT 2;\n-- migrate:down\n";
        let folder = folder(Layout::Dbmate, &[("1_a.sql", text)]);
        assert_eq!(&*folder.files[0].up.text, "SELECT 1;\n\n\n\n\nSELECT 2;\n");
        assert_eq!(&*folder.files[0].down.as_ref().unwrap().text, "SELECT -1;\n\n\n\n\n");
        let mixed = text
            .replacen("down\n\n-- migrate:up", "", 1)
            .replace("\n\n-- migrate:up", "\n\n-- migrate:up transaction:false");
        assert_eq!(
            refusal(Layout::Dbmate, &[("1_a.sql", &mixed)]),
            "line 6 of 1_a.sql: another section of this file runs in a transaction, this one does not, or the other way \
             round: make two files of it"
        );
    }

    #[test]
    fn dbmate_refuses_files_whose_sections_are_not_in_order() {
        for (text, expected) in [
            ("", "line 1 of 1_a.sql: -- migrate:up and -- migrate:down are missing: they begin in the first column"),
            (
                "-- migrate:upper\n",
                "line 1 of 1_a.sql: -- migrate:up and -- migrate:down are missing: they begin in the first column",
            ),
            ("SELECT 1;\n", "line 1 of 1_a.sql: SQL before -- migrate:up"),
            ("\n-- a\nSELECT 1;\n-- migrate:up\n", "line 3 of 1_a.sql: SQL before -- migrate:up"),
            ("-- a\n-- migrate:down\n-- migrate:up\n", "line 2 of 1_a.sql: -- migrate:down comes before -- migrate:up"),
            ("\n-- migrate:up\nSELECT 1;", "line 2 of 1_a.sql: no -- migrate:down follows -- migrate:up"),
            ("-- migrate:up\n-- migrate:up\n", "line 1 of 1_a.sql: no -- migrate:down follows -- migrate:up"),
            (
                "-- migrate:up\n-- migrate:down\n-- migrate:down\n",
                "line 3 of 1_a.sql: a second -- migrate:down without a -- migrate:up before it",
            ),
        ] {
            assert_eq!(refusal(Layout::Dbmate, &[("1_a.sql", text)]), expected, "{text:?}");
        }
    }

    #[test]
    fn dbmate_refuses_names_it_would_skip_and_versions_that_hide_each_other() {
        let expected = "dbmate would skip a file of this name; expected <digits>_<name>.sql";
        for name in ["a.sql", "V1__a.sql", "1_a.SQL"] {
            assert_eq!(refusal(Layout::Dbmate, &[(name, BOTH)]), format!("{name}: {expected}"));
        }
        assert_eq!(
            refusal(Layout::Dbmate, &[("1_b.sql", BOTH), ("1_a.sql", BOTH), ("10_a.sql", BOTH)]),
            "version 1 is repeated: 1_a.sql and 1_b.sql"
        );
        assert_eq!(refusal(Layout::Dbmate, &[]), "f holds no migration");
    }
}
