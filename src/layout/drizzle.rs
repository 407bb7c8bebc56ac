//! Drizzle's files: to 0.45, those that `meta/_journal.json` lists; from 1.0, folders `<14 digits>_<name>` with
//! `migration.sql`.
//!
//! The lines `--> statement-breakpoint` are comments for the server: a file is sent whole.

use std::collections::HashSet;

use serde::Deserialize;

use super::checksum::sha256;
use super::names::{is_sql, misnamed};
use super::reading::{by_locale, file, folder, script};
use super::{Checksum, Folder, Layout, LayoutError, Sending, Source, Sources, Version};

const JOURNAL: &str = "meta/_journal.json";

#[derive(Deserialize)]
struct Journal {
    dialect: Option<String>,
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    idx: i64,
    when: i64,
    tag: String,
}

/// What is wrong with the journal.
fn wrong(reason: impl Into<String>) -> LayoutError {
    LayoutError::Journal { journal: JOURNAL.to_owned(), reason: reason.into() }
}

/// Reads the files that a journal lists.
pub(crate) fn read(sources: &Sources) -> Result<Folder, LayoutError> {
    let Some(journal) = sources.find(JOURNAL) else {
        return Err(LayoutError::Unreadable { path: JOURNAL.to_owned(), reason: "there is no such file".to_owned() });
    };
    let journal = parsed(journal)?;
    check_order(&journal.entries)?;
    let mut files = Vec::new();
    for entry in &journal.entries {
        let path = format!("{}.sql", entry.tag);
        let Some(source) = sources.find(&path) else {
            return Err(wrong(format!("it lists {}, but there is no file {path}", entry.tag)));
        };
        files.push(version(Version::named(entry.idx, &entry.tag), &entry.tag, source, entry.when)?);
    }
    let tags: HashSet<_> = journal.entries.iter().map(|entry| entry.tag.as_str()).collect();
    let is_listed = |path: &str| path.strip_suffix(".sql").is_some_and(|tag| tags.contains(tag));
    match sources.files.iter().find(|source| is_sql(&source.path) && !is_listed(&source.path)) {
        Some(source) => Err(wrong(format!("it does not list {}, which Drizzle would skip", source.path))),
        None => folder(sources, Layout::Drizzle, files),
    }
}

fn parsed(journal: &Source) -> Result<Journal, LayoutError> {
    let parsed: Journal = serde_json::from_str(super::sql::without_mark(&journal.text)).map_err(|error| {
        let reason = error.to_string();
        let reason = reason.split_once(" at line ").map_or(reason.as_str(), |(reason, _)| reason);
        LayoutError::content(&journal.path, error.line().max(1), format!("no journal of Drizzle: {reason}"))
    })?;
    match parsed.dialect.as_deref() {
        None | Some("postgresql" | "pg") => Ok(parsed),
        Some(other) => Err(wrong(format!("the migrations are for {other}, not for postgresql"))),
    }
}

/// Drizzle applies what is younger than the youngest it has applied, and skips the rest without a word.
fn check_order(entries: &[Entry]) -> Result<(), LayoutError> {
    for (expected, entry) in (0..).zip(entries) {
        if entry.idx != expected {
            let Entry { idx, tag, .. } = entry;
            return Err(wrong(format!(
                "{tag} has idx {idx} where {expected} follows: an entry is missing or repeated"
            )));
        }
    }
    for two in entries.windows(2) {
        let (first, second) = (&two[0], &two[1]);
        if second.when <= first.when {
            let (young, old) = (&first.tag, &second.tag);
            return Err(wrong(format!(
                "{old} is not younger than {young}, so that Drizzle would skip it: set its when to more than {}",
                first.when
            )));
        }
    }
    let mut tags = HashSet::new();
    match entries.iter().find(|entry| !tags.insert(entry.tag.as_str())) {
        Some(entry) => Err(wrong(format!("it lists {} twice", entry.tag))),
        None => Ok(()),
    }
}

/// Reads the folders of Drizzle 1.0.
pub(crate) fn read_folders(sources: &Sources) -> Result<Folder, LayoutError> {
    const FORM: &str = "Drizzle would skip it: it reads <14 digits>_<name>/migration.sql";
    let mut files = Vec::new();
    for source in &sources.files {
        if source.path == JOURNAL {
            return Err(wrong(
                "Drizzle 1.0 refuses a folder with a journal: run `drizzle-kit up`, or take layout drizzle",
            ));
        }
        if !is_sql(&source.path) {
            continue;
        }
        let Some(name) = source.path.strip_suffix("/migration.sql").filter(|name| !name.contains('/')) else {
            return Err(misnamed(&source.path, FORM));
        };
        let digits = name.split_once('_').map_or(name, |(digits, _)| digits);
        let Some(written_at) = milliseconds(digits) else {
            return Err(misnamed(&source.path, "the folder's name does not begin with 14 digits and _"));
        };
        files.push(version(Version::placed(&by_locale(name), name), name, source, written_at)?);
    }
    folder(sources, Layout::DrizzleFolders, files)
}

fn version(version: Version, tag: &str, source: &Source, written_at: i64) -> Result<super::File, LayoutError> {
    let name = tag.split_once('_').map_or(tag, |(_, name)| name);
    let sum = Checksum::only(sha256(source.text.as_bytes()));
    let mut file = file(version, name, tag, script(source, Sending::Transaction)?, Some(sum));
    file.written_at = Some(written_at);
    Ok(file)
}

/// The milliseconds since 1970 of year, month, day, hour, minute, second. Months and days that no calendar has go on
/// into the next, as they do for Drizzle.
fn milliseconds(digits: &str) -> Option<i64> {
    if digits.len() != 14 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |range: std::ops::Range<usize>| digits[range].parse::<i64>().ok();
    let (year, month) = (part(0..4)?, part(4..6)? - 1);
    // The year is counted from March, so that a leap day is its last.
    let months = year * 12 + month - 2;
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12));
    let of_years = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = of_years + (month * 153 + 2) / 5 + part(6..8)? - 1 - 719_468;
    Some((((days * 24 + part(8..10)?) * 60 + part(10..12)?) * 60 + part(12..14)?) * 1000)
}

#[cfg(test)]
mod tests {
    use super::super::reading::tests::{named, sources};
    use super::*;

    fn entry(idx: i64, when: i64, tag: &str) -> String {
        format!(r#"{{"idx": {idx}, "version": "7", "when": {when}, "tag": "{tag}", "breakpoints": true}}"#)
    }

    fn journal(entries: &[String]) -> String {
        format!(r#"{{"version": "7", "dialect": "postgresql", "entries": [{}]}}"#, entries.join(", "))
    }

    fn with_journal(journal: &str, paths: &[&str]) -> Result<Folder, LayoutError> {
        let files = paths.iter().map(|path| (*path, "SELECT 1;\n")).chain([(JOURNAL, journal)]);
        read(&sources(&files.collect::<Vec<_>>()))
    }

    fn refused(entries: &[String], paths: &[&str]) -> String {
        with_journal(&journal(entries), paths).unwrap_err().to_string()
    }

    #[test]
    fn the_journal_decides_about_the_order() {
        let entries = [entry(0, 1000, "0000_zoo"), entry(1, 2000, "0001_ant")];
        let found = with_journal(&journal(&entries), &["0000_zoo.sql", "0001_ant.sql"]).unwrap();
        let about = |file: &crate::File| (file.entry.clone(), file.name.clone(), file.written_at);
        assert_eq!(
            found.files.iter().map(about).collect::<Vec<_>>(),
            [("0000_zoo".into(), "zoo".into(), Some(1000)), ("0001_ant".into(), "ant".into(), Some(2000))]
        );
        assert_eq!(found.files[0].version, Version::named(0, "0000_zoo"));
        assert_eq!(found.files[0].up.sending, Sending::Transaction);
        assert!(found.files[0].checksum.as_ref().unwrap().recorded.starts_with("b4e0497804e46e0a"));
    }

    #[test]
    fn a_journal_and_a_folder_that_disagree_are_refused() {
        let (a, b) = (entry(0, 1000, "0000_a"), entry(1, 2000, "0001_b"));
        let both = ["0000_a.sql", "0001_b.sql"];
        assert_eq!(
            refused(&[a.clone(), b.clone()], &["0000_a.sql"]),
            "meta/_journal.json: it lists 0001_b, but there is no file 0001_b.sql"
        );
        assert_eq!(
            refused(std::slice::from_ref(&a), &both),
            "meta/_journal.json: it does not list 0001_b.sql, which Drizzle would skip"
        );
        assert_eq!(
            refused(&[a.clone(), entry(2, 2000, "0001_b")], &both),
            "meta/_journal.json: 0001_b has idx 2 where 1 follows: an entry is missing or repeated"
        );
        assert_eq!(
            refused(&[a.clone(), entry(0, 2000, "0001_b")], &both),
            "meta/_journal.json: 0001_b has idx 0 where 1 follows: an entry is missing or repeated"
        );
        assert_eq!(
            refused(&[a.clone(), entry(1, 1000, "0001_b")], &both),
            "meta/_journal.json: 0001_b is not younger than 0000_a, so that Drizzle would skip it: \
             set its when to more than 1000"
        );
        assert_eq!(
            refused(&[a.clone(), entry(1, 2000, "0000_a")], &["0000_a.sql"]),
            "meta/_journal.json: it lists 0000_a twice"
        );
        assert_eq!(refused(&[], &[]), "migrations holds no migration");
    }

    #[test]
    fn a_journal_that_is_none_is_refused_with_its_line() {
        let refused = |text: &str| with_journal(text, &["0000_a.sql"]).unwrap_err().to_string();
        assert_eq!(
            refused("{\n\"entries\": [{\"idx\": 0, \"when\": 1}]\n}"),
            "line 2 of meta/_journal.json: no journal of Drizzle: missing field `tag`"
        );
        assert_eq!(refused(""), "line 1 of meta/_journal.json: no journal of Drizzle: EOF while parsing a value");
        assert_eq!(
            refused(r#"{"dialect": "mysql", "entries": []}"#),
            "meta/_journal.json: the migrations are for mysql, not for postgresql"
        );
        let none = read(&named(&["0000_a.sql"])).unwrap_err();
        assert_eq!(none.to_string(), "meta/_journal.json cannot be read: there is no such file");
    }

    #[test]
    fn folders_are_ordered_by_name_and_dated_by_it() {
        let paths = ["20260229000001_b/migration.sql", "20251231235959_a/migration.sql"];
        let found = read_folders(&named(&paths)).unwrap();
        let about = |file: &crate::File| (file.entry.clone(), file.name.clone(), file.written_at);
        assert_eq!(
            found.files.iter().map(about).collect::<Vec<_>>(),
            [
                ("20251231235959_a".into(), "a".into(), Some(1_767_225_599_000)),
                // 2026 is no leap year: the first of March.
                ("20260229000001_b".into(), "b".into(), Some(1_772_323_201_000)),
            ]
        );
        assert_eq!(milliseconds("19700101000000"), Some(0));
        assert_eq!(milliseconds("20240229000000"), Some(1_709_164_800_000));
        assert_eq!(milliseconds("99999999999999").map(|at| at > 0), Some(true));
    }

    #[test]
    fn what_drizzle_would_skip_is_refused() {
        let refused = |path: &str| read_folders(&named(&[path])).unwrap_err().to_string();
        let form = "Drizzle would skip it: it reads <14 digits>_<name>/migration.sql";
        for path in ["0000_a.sql", "20260101000000_a/up.sql", "a/20260101000000_a/migration.sql"] {
            assert_eq!(refused(path), format!("{path}: {form}"));
        }
        assert_eq!(
            refused("2026_a/migration.sql"),
            "2026_a/migration.sql: the folder's name does not begin with 14 digits and _"
        );
        assert_eq!(
            refused(JOURNAL),
            "meta/_journal.json: Drizzle 1.0 refuses a folder with a journal: run `drizzle-kit up`, or take layout drizzle"
        );
    }
}
