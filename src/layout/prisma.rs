//! Prisma's folders, one a version: `<name>/migration.sql`, and `migration_lock.toml` beside them.
//!
//! Prisma puts no transaction around a file. A `down.sql` in such a folder is the place that Prisma's guide gives it.

use super::checksum::sha256;
use super::names::{is_sql, misnamed, whole};
use super::reading::{by_locale, file, folder, script};
use super::{Checksum, Folder, Layout, LayoutError, Sending, Source, Sources, Version};

pub(crate) fn read(sources: &Sources) -> Result<Folder, LayoutError> {
    let mut left_out = Vec::new();
    for source in &sources.files {
        if source.path == "migration_lock.toml" {
            check_lock(source)?;
        } else if is_sql(&source.path) && !is_part(&source.path) {
            let reason = "Prisma reads <name>/migration.sql only".to_owned();
            left_out.push((source.path.clone(), reason));
        }
    }
    let mut files = Vec::new();
    for name in &sources.folders {
        let find = |file: &str| sources.find(&format!("{name}/{file}"));
        let Some(up) = find("migration.sql") else {
            let reason = "the folder has no migration.sql: remove it, or restore the file; Prisma refuses it, too";
            return Err(misnamed(name, reason));
        };
        let behind = name.split_once('_').map_or(name.as_str(), |(_, behind)| behind);
        let version = Version::placed(&by_locale(name), name);
        let mut file = file(version, behind, name, script(up, Sending::Whole)?, Some(checksum(&up.text)));
        file.down = find("down.sql").map(|down| whole(down, Sending::Whole));
        files.push(file);
    }
    let mut folder = folder(sources, Layout::Prisma, files)?;
    folder.left_out = left_out;
    Ok(folder)
}

/// Whether a path is that of a file that is read.
fn is_part(path: &str) -> bool {
    path.split_once('/').is_some_and(|(_, file)| file == "migration.sql" || file == "down.sql")
}

/// Prisma records the file as it is, and takes other line ends for the same. It once wrote each byte without its zero.
fn checksum(text: &str) -> Checksum {
    let recorded = sha256(text.as_bytes());
    let unix = text.replace("\r\n", "\n");
    // A file with both line ends has three forms.
    let forms = [text.to_owned(), unix.clone(), text.replace('\n', "\r\n"), unix.replace('\n', "\r\n")];
    let mut also = Vec::new();
    for sum in forms.map(|form| sha256(form.as_bytes())) {
        for sum in [without_padding(&sum), sum] {
            if sum != recorded && !also.contains(&sum) {
                also.push(sum);
            }
        }
    }
    Checksum { recorded, also }
}

/// Each byte with as few digits as it needs.
fn without_padding(sum: &str) -> String {
    let bytes = sum.as_bytes().chunks(2).filter_map(|digits| std::str::from_utf8(digits).ok());
    bytes.map(|digits| digits.strip_prefix('0').unwrap_or(digits)).collect()
}

/// The lock file names the database that the SQL was written for.
fn check_lock(lock: &Source) -> Result<(), LayoutError> {
    for (at, line) in lock.text.lines().enumerate() {
        let Some((key, value)) = line.split_once('=') else { continue };
        let value = value.split('#').next().unwrap_or_default().trim().trim_matches(['"', '\'']);
        if key.trim() == "provider" && value != "postgresql" && value != "postgres" {
            let reason = format!("the migrations are for {value}, not for postgresql");
            return Err(LayoutError::content(&lock.path, at + 1, reason));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::reading::tests::{named, sources};
    use super::*;

    const LOCK: (&str, &str) = ("migration_lock.toml", "# by Prisma\nprovider = \"postgresql\"\n");

    fn refused(files: &[(&str, &str)]) -> String {
        read(&sources(files)).unwrap_err().to_string()
    }

    #[test]
    fn folders_are_ordered_by_name_and_recorded_by_it() {
        let paths = ["20260102000000_b/migration.sql", "10_x/migration.sql", "1_y/migration.sql", "1_y/down.sql"];
        let found = read(&named(&paths)).unwrap();
        let about = |file: &crate::File| (file.entry.clone(), file.name.clone(), file.down.is_some());
        assert_eq!(
            found.files.iter().map(about).collect::<Vec<_>>(),
            [
                ("1_y".into(), "y".into(), true),
                ("10_x".into(), "x".into(), false),
                ("20260102000000_b".into(), "b".into(), false),
            ]
        );
        assert_eq!(found.files[0].version.to_string(), "1_y");
        assert!(found.files.iter().all(|file| file.up.sending == Sending::Whole));
    }

    #[test]
    fn the_checksum_knows_other_line_ends_and_the_form_without_zeros() {
        let sum = |text: &str| sha256(text.as_bytes());
        let unix = checksum("SELECT 1;\nSELECT 2;\n");
        assert!(unix.recorded == sum("SELECT 1;\nSELECT 2;\n") && unix.matches(&sum("SELECT 1;\r\nSELECT 2;\r\n")));
        let windows = checksum("SELECT 1;\r\nSELECT 2;\r\n");
        assert!(windows.recorded == sum("SELECT 1;\r\nSELECT 2;\r\n") && windows.matches(&unix.recorded));
        assert!(!unix.matches(&sum("SELECT 1;\nSELECT 3;\n")));
        assert!(checksum("SELECT 1;\n").recorded.starts_with("b4e0497804e46e0a"));
        // b4 e0 49 78 04 e4 6e 0a
        assert!(checksum("SELECT 1;\n").also.iter().any(|form| form.starts_with("b4e049784e46ea")));
    }

    #[test]
    fn files_beside_the_folders_are_left_out() {
        let files = [("1_a/migration.sql", "SELECT 1"), ("1_a/notes.sql", ""), ("seed.sql", ""), LOCK];
        let reason = "Prisma reads <name>/migration.sql only".to_owned();
        assert_eq!(
            read(&sources(&files)).unwrap().left_out,
            [("1_a/notes.sql".into(), reason.clone()), ("seed.sql".into(), reason)]
        );
    }

    #[test]
    fn a_folder_without_its_file_an_empty_file_and_another_database_are_refused() {
        assert_eq!(
            refused(&[("1_a/migration.sql", "SELECT 1"), ("2_b/other.sql", "SELECT 1")]),
            "2_b: the folder has no migration.sql: remove it, or restore the file; Prisma refuses it, too"
        );
        assert_eq!(refused(&[("1_a/migration.sql", "\u{feff}\n")]), "1_a/migration.sql is empty");
        assert_eq!(refused(&[LOCK]), "migrations holds no migration");
        assert_eq!(
            refused(&[("1_a/migration.sql", "SELECT 1"), ("migration_lock.toml", "\nprovider = \"mysql\"")]),
            "line 2 of migration_lock.toml: the migrations are for mysql, not for postgresql"
        );
    }
}
