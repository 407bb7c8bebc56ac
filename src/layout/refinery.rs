//! refinery's files, in any depth: `V<n>__<name>.sql` and `U<n>__<name>.sql`.
//!
//! U does not mean undo: it is a version that may be applied below others. refinery has no way back.

use super::names::{is_sql, misnamed};
use super::reading::{file, file_name, folder, script};
use super::{Checksum, Folder, Layout, LayoutError, Sending, Sources, Version, checksum};

pub(crate) fn read(sources: &Sources) -> Result<Folder, LayoutError> {
    if let Some(path) = sources.others.iter().find(|path| is_rust(file_name(path))) {
        let reason = "it is a migration in Rust, which only the program it is compiled into can run";
        return Err(misnamed(path, reason));
    }
    let mut files = Vec::new();
    for source in &sources.files {
        if !is_sql(&source.path) {
            continue;
        }
        let (kind, version, name) = parsed(&source.path)?;
        let (recorded, wide) = checksum::refinery(name, version, &source.text);
        let also = if wide == recorded { Vec::new() } else { vec![wide] };
        let up = script(source, Sending::Transaction)?;
        let number = Version::number(version);
        let mut file = file(number, name, &version.to_string(), up, Some(Checksum { recorded, also }));
        name.clone_into(&mut file.described_as);
        file.may_be_late = kind == Kind::Unordered;
        files.push(file);
    }
    folder(sources, Layout::Refinery, files)
}

/// Whether refinery takes a file for a migration that its program brings along.
pub(crate) fn is_rust(name: &str) -> bool {
    let version = name.strip_suffix(".rs").and_then(|stem| stem.strip_prefix(['V', 'U'])?.split_once("__"));
    version.is_some_and(|(version, _)| is_number(version))
}

/// What the letter before the number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// V
    Versioned,
    /// U
    Unordered,
}

fn parsed(path: &str) -> Result<(Kind, i64, &str), LayoutError> {
    let skipped = || {
        let form = "name it V<number>__<name>.sql, or U<number>__<name>.sql, the name of letters, digits and _";
        misnamed(path, format!("refinery would skip it: {form}"))
    };
    let stem = file_name(path).strip_suffix(".sql").ok_or_else(skipped)?;
    let (front, name) = stem.split_once("__").ok_or_else(skipped)?;
    let (kind, version) = match (front.strip_prefix('V'), front.strip_prefix('U')) {
        (Some(version), _) => (Kind::Versioned, version),
        (None, Some(version)) => (Kind::Unordered, version),
        (None, None) => return Err(skipped()),
    };
    if version.contains('.') && version.split('.').all(is_number) {
        let reason = "refinery refuses it: a version is one whole number, as in V12__name.sql";
        return Err(misnamed(path, reason));
    }
    if !is_number(version) || name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        return Err(skipped());
    }
    match version.parse() {
        Ok(0) => Err(misnamed(path, "versions begin with 1")),
        Ok(number) => Ok((kind, number, name)),
        Err(_) => Err(misnamed(path, format!("version {version} is larger than the largest, {}", i64::MAX))),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::super::reading::tests::{named, sources};
    use super::*;

    fn refused(paths: &[&str]) -> String {
        read(&named(paths)).unwrap_err().to_string()
    }

    #[test]
    fn versions_are_ordered_by_their_numbers_in_any_depth() {
        let found = read(&named(&["V10__b.sql", "U2__c_ä.sql", "old/V1__a.sql"])).unwrap();
        let about = |file: &crate::File| (file.entry.clone(), file.described_as.clone(), file.may_be_late);
        assert_eq!(
            found.files.iter().map(about).collect::<Vec<_>>(),
            [("1".into(), "a".into(), false), ("2".into(), "c_ä".into(), true), ("10".into(), "b".into(), false)]
        );
        assert_eq!(
            (found.files[0].up.path.as_str(), found.files[0].up.sending),
            ("old/V1__a.sql", Sending::Transaction)
        );
    }

    #[test]
    fn the_checksum_has_both_widths_and_counts_every_byte() {
        let files = [("V1__a.sql", "SELECT 1;\n"), ("V2__a.sql", "\u{feff}SELECT 1;\r\n")];
        let found = read(&sources(&files)).unwrap();
        let checksum = found.files[0].checksum.as_ref().unwrap();
        assert_eq!(checksum.recorded, "15641188318147896532");
        assert!(checksum.matches("8989450061852536159"));
        assert_eq!(&*found.files[1].up.text, "SELECT 1;\r\n");
        let (raw, _) = checksum::refinery("a", 2, "\u{feff}SELECT 1;\r\n");
        assert_eq!(found.files[1].checksum.as_ref().unwrap().recorded, raw);
    }

    #[test]
    fn the_checksum_is_the_one_that_refinery_computes() {
        for (file, text) in [("V1__a.sql", "SELECT 1;\n"), ("U020__b_ä.sql", ""), ("V20260131120000__c.sql", "é\r\n")]
        {
            let (_, version, name) = parsed(file).unwrap();
            let theirs = ::refinery::Migration::unapplied(file.trim_end_matches(".sql"), text).unwrap();
            assert_eq!(checksum::refinery(name, version, text).1, theirs.checksum().to_string());
        }
    }

    #[test]
    fn names_that_refinery_would_skip_are_refused() {
        let form = "refinery would skip it: name it V<number>__<name>.sql, or U<number>__<name>.sql, \
                    the name of letters, digits and _";
        for name in ["V1_a.sql", "V1__a-b.sql", "V__a.sql", "R__a.sql", "1_a.sql", "v1__a.sql", "V1__.sql", "V1__a.SQL"]
        {
            assert_eq!(refused(&[name]), format!("{name}: {form}"));
        }
        assert_eq!(
            refused(&["V1.2__a.sql"]),
            "V1.2__a.sql: refinery refuses it: a version is one whole number, as in V12__name.sql"
        );
        assert_eq!(
            refused(&["V9223372036854775808__a.sql"]),
            "V9223372036854775808__a.sql: version 9223372036854775808 is larger than the largest, 9223372036854775807"
        );
        assert_eq!(refused(&["V0__a.sql"]), "V0__a.sql: versions begin with 1");
        assert_eq!(
            refused(&["V1__a.rs"]),
            "V1__a.rs: it is a migration in Rust, which only the program it is compiled into can run"
        );
    }

    #[test]
    fn a_repeated_version_an_empty_file_and_an_empty_folder_are_refused() {
        assert_eq!(refused(&["V1__a.sql", "x/U01__b.sql"]), "version 1 is repeated: V1__a.sql and x/U01__b.sql");
        assert_eq!(refused(&[]), "migrations holds no migration");
        let empty = read(&sources(&[("V1__a.sql", "\n")]));
        assert_eq!(empty.unwrap_err().to_string(), "V1__a.sql is empty");
    }
}
