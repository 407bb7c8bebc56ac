//! Diesel's folders, one a version: `<version>_<name>/up.sql`, and `down.sql` beside it.
//!
//! A file `metadata.toml` decides about the transaction: `run_in_transaction = true` keeps it. As Diesel reads it, a file
//! without that key says `false`; a folder without the file has a transaction.

use std::collections::BTreeMap;

use super::names::{is_sql, misnamed, whole};
use super::reading::{file, folder, script};
use super::{Folder, Layout, LayoutError, Sending, Source, Sources, Version};

/// The files of a version's folder.
#[derive(Default)]
struct Parts<'a> {
    up: Option<&'a Source>,
    down: Option<&'a Source>,
    metadata: Option<&'a Source>,
}

pub(crate) fn read(sources: &Sources) -> Result<Folder, LayoutError> {
    let mut files = Vec::new();
    for (name, parts) in folders(sources)? {
        let version = name.split_once('_').map_or(name, |(version, _)| version);
        let entry = version.replace('-', "");
        if entry.is_empty() {
            let form = "name it <version>_<name>, as in 2026-01-31-120000_create_users";
            return Err(misnamed(name, format!("the folder has no version: {form}")));
        }
        let Some(up) = parts.up else {
            return Err(misnamed(name, "the folder has no up.sql: Diesel runs nothing while one lacks it"));
        };
        let sending = parts.metadata.map_or(Ok(Sending::Transaction), sending)?;
        let behind = name.split_once('_').map_or("", |(_, behind)| behind);
        let mut file = file(Version::text(&entry), behind, &entry, script(up, sending)?, None);
        file.down = parts.down.map(|down| whole(down, sending));
        files.push(file);
    }
    folder(sources, Layout::Diesel, files)
}

fn folders(sources: &Sources) -> Result<BTreeMap<&str, Parts<'_>>, LayoutError> {
    const FORM: &str = "Diesel would skip it: it reads <version>_<name>/up.sql and <version>_<name>/down.sql";
    let mut folders: BTreeMap<&str, Parts> = BTreeMap::new();
    for source in &sources.files {
        let in_folder = source.path.split_once('/').filter(|(_, file)| !file.contains('/'));
        match in_folder {
            Some((name, "up.sql")) => folders.entry(name).or_default().up = Some(source),
            Some((name, "down.sql")) => folders.entry(name).or_default().down = Some(source),
            Some((name, "metadata.toml")) => folders.entry(name).or_default().metadata = Some(source),
            _ if is_sql(&source.path) => return Err(misnamed(&source.path, FORM)),
            _ => {}
        }
    }
    // A folder with files of another kind only has no up.sql, either; Diesel passes over an empty one.
    for name in &sources.folders {
        if sources.others.iter().any(|path| path.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'))) {
            folders.entry(name).or_default();
        }
    }
    Ok(folders)
}

/// What `metadata.toml` says.
fn sending(metadata: &Source) -> Result<Sending, LayoutError> {
    let mut sending = Sending::Whole;
    for (at, line) in metadata.text.lines().enumerate() {
        let line = line.split_once('#').map_or(line, |(line, _)| line).trim();
        if line.starts_with('[') {
            // The keys that follow are those of a table.
            break;
        }
        let Some((key, value)) = line.split_once('=') else {
            if line.is_empty() {
                continue;
            }
            return Err(LayoutError::content(&metadata.path, at + 1, "expected run_in_transaction = true or false"));
        };
        if key.trim().trim_matches(['"', '\'']) == "run_in_transaction" {
            sending = match value.trim() {
                "true" => Sending::Transaction,
                "false" => Sending::Whole,
                other => {
                    let reason = format!("run_in_transaction is true or false, not {other}");
                    return Err(LayoutError::content(&metadata.path, at + 1, reason));
                }
            };
        }
    }
    Ok(sending)
}

#[cfg(test)]
mod tests {
    use super::super::reading::tests::{named, sources};
    use super::*;

    fn refused(files: &[(&str, &str)]) -> String {
        read(&sources(files)).unwrap_err().to_string()
    }

    #[test]
    fn a_version_is_the_text_before_the_first_underscore_without_dashes() {
        let paths = [
            "2026-01-31-120000_create_users/up.sql",
            "2026-01-31-120000_create_users/down.sql",
            "00000000000000_diesel_initial_setup/up.sql",
            "9/up.sql",
            "10_b/up.sql",
        ];
        let found = read(&named(&paths)).unwrap();
        let about = |file: &crate::File| (file.entry.clone(), file.name.clone(), file.down.is_some());
        assert_eq!(
            found.files.iter().map(about).collect::<Vec<_>>(),
            [
                ("00000000000000".into(), "diesel_initial_setup".into(), false),
                // By bytes: text, not numbers.
                ("10".into(), "b".into(), false),
                ("20260131120000".into(), "create_users".into(), true),
                ("9".into(), String::new(), false),
            ]
        );
        assert!(found.files.iter().all(|file| file.up.sending == Sending::Transaction && file.checksum.is_none()));
    }

    #[test]
    fn metadata_without_the_key_means_no_transaction() {
        let sending = |metadata: &str| {
            let files = [("1_a/up.sql", "SELECT 1"), ("1_a/down.sql", "SELECT 2"), ("1_a/metadata.toml", metadata)];
            let found = read(&sources(&files)).unwrap();
            assert_eq!(found.files[0].up.sending, found.files[0].down.as_ref().unwrap().sending);
            found.files[0].up.sending
        };
        assert_eq!(sending(""), Sending::Whole);
        assert_eq!(sending("# why\nrun_in_transaction = false # concurrently\n"), Sending::Whole);
        assert_eq!(sending("run_in_transaction=true"), Sending::Transaction);
        assert_eq!(sending("[other]\nrun_in_transaction = true"), Sending::Whole);
        let metadata = |text| refused(&[("1_a/up.sql", "SELECT 1"), ("1_a/metadata.toml", text)]);
        assert_eq!(
            metadata("\nrun_in_transaction = 1"),
            "line 2 of 1_a/metadata.toml: run_in_transaction is true or false, not 1"
        );
        assert_eq!(
            metadata("run_in_transaction"),
            "line 1 of 1_a/metadata.toml: expected run_in_transaction = true or false"
        );
    }

    #[test]
    fn what_diesel_refuses_or_skips_is_refused() {
        let form = "Diesel would skip it: it reads <version>_<name>/up.sql and <version>_<name>/down.sql";
        for path in ["a.sql", "1_a/seed.sql", "1_a/b/up.sql", "1_a/up.SQL"] {
            assert_eq!(refused(&[("1_a/up.sql", "SELECT 1"), (path, "SELECT 1")]), format!("{path}: {form}"));
        }
        assert_eq!(
            refused(&[("1_a/down.sql", "SELECT 1")]),
            "1_a: the folder has no up.sql: Diesel runs nothing while one lacks it"
        );
        assert_eq!(
            refused(&[("1_a/up.sql", "SELECT 1"), ("2_b/README", "")]),
            "2_b: the folder has no up.sql: Diesel runs nothing while one lacks it"
        );
        assert_eq!(
            refused(&[("-_a/up.sql", "SELECT 1")]),
            "-_a: the folder has no version: name it <version>_<name>, as in 2026-01-31-120000_create_users"
        );
        assert_eq!(refused(&[("1_a/up.sql", "")]), "1_a/up.sql is empty");
        assert_eq!(refused(&[]), "migrations holds no migration");
    }

    #[test]
    fn a_version_of_two_folders_is_refused() {
        assert_eq!(
            refused(&[("1-2_a/up.sql", "SELECT 1"), ("12_b/up.sql", "SELECT 1")]),
            "version 12 is repeated: 1-2_a/up.sql and 12_b/up.sql"
        );
    }

    #[test]
    fn a_down_file_without_a_statement_is_no_way_back() {
        let files = [("1_a/up.sql", "SELECT 1"), ("1_a/down.sql", "-- This file should undo anything in `up.sql`\n")];
        let found = crate::read(&sources(&files), Layout::Diesel, &crate::Options::default()).unwrap();
        assert_eq!(found.files[0].down, None);
    }
}
