//! Which layouts a folder fits: markers first, which only one tool leaves, then names.

use std::collections::BTreeMap;

use super::atlas::SUM;
use super::names::{self, Way, is_sql};
use super::reading::file_name;
use super::refinery::is_rust;
use super::{Layout, LayoutError, Source, Sources, dbmate, folder, goose, migrate};

/// The layouts whose files are told by their names alone.
const BY_NAME: [Layout; 7] = [
    Layout::Migrate,
    Layout::Refinery,
    Layout::Flyway,
    Layout::Sqlx,
    Layout::GolangMigrate,
    Layout::UpDown,
    Layout::Supabase,
];

/// The layouts that a folder fits, markers and names considered. More than one where their files look alike, none where
/// one file fits nothing: [`why_not`] tells which.
#[must_use]
pub fn fits(sources: &Sources) -> Vec<Layout> {
    let marked = marked(sources);
    if !marked.is_empty() {
        return marked;
    }
    let fitting: Vec<_> = BY_NAME.into_iter().filter(|layout| fits_by_name(sources, *layout)).collect();
    match hinted(sources).filter(|layout| fitting.contains(layout)) {
        Some(layout) => vec![layout],
        None => fitting,
    }
}

/// Why a folder fits no layout: the first file that fits none, or not the one that most others fit.
#[must_use]
pub fn why_not(sources: &Sources) -> LayoutError {
    let folder = sources.folder.clone();
    let files: Vec<_> = sources.files.iter().filter(|file| is_sql(&file.path)).collect();
    let Some(first) = files.first() else { return LayoutError::Empty { folder } };
    let fitting = |layout| files.iter().filter(|file| is_named(layout, &file.path)).count();
    let nearest = BY_NAME.into_iter().rev().max_by_key(|layout| fitting(*layout)).filter(|layout| fitting(*layout) > 0);
    let Some(layout) = nearest else {
        let reason = "has no name of a migration, as 1_name.sql, V1__name.sql or 1_name.up.sql are".to_owned();
        return LayoutError::Unknown { folder, path: first.path.clone(), reason };
    };
    if let Some(path) = files.iter().map(|file| &file.path).find(|path| !is_named(layout, path)) {
        let (others, are) = match fitting(layout) {
            1 => ("one other".to_owned(), "is"),
            others => (format!("{others} others"), "are"),
        };
        let reason = format!("is not named {}, as {others} {are}", names::form(layout));
        return LayoutError::Unknown { folder, path: path.clone(), reason };
    }
    repeated(sources).unwrap_or_else(|| LayoutError::Unknown {
        folder,
        path: first.path.clone(),
        reason: format!("is named {}, but the folder as a whole is not", names::form(layout)),
    })
}

/// The layouts whose markers a folder holds.
fn marked(sources: &Sources) -> Vec<Layout> {
    if sources.find("meta/_journal.json").is_some() {
        return vec![Layout::Drizzle];
    }
    if sources.find("migration_lock.toml").is_some() {
        return vec![Layout::Prisma];
    }
    if top(sources).next().is_none() {
        return in_folders(sources);
    }
    let any = |is_marked: fn(&str) -> bool| top(sources).any(|file| file.text.lines().any(is_marked));
    let mut found = Vec::new();
    if any(|line| dbmate::marker(line).is_some()) {
        found.push(Layout::Dbmate);
    }
    if any(goose::is_marked) {
        found.push(Layout::Goose);
    }
    // Atlas keeps its sum for folders of other tools, too.
    let halves = || top(sources).any(|file| way(&file.path).is_some());
    if found.is_empty() && sources.find(SUM).is_some() && !halves() {
        found.push(Layout::Atlas);
    }
    found
}

/// The layouts that have a folder a version.
fn in_folders(sources: &Sources) -> Vec<Layout> {
    let named = |file: &str| {
        let folders = sources.files.iter().filter_map(|source| source.path.split_once('/'));
        folders.filter(|(_, name)| *name == file).map(|(folder, _)| folder).collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    if !named("up.sql").is_empty() {
        found.push(Layout::Diesel);
    }
    let folders = named("migration.sql");
    if !folders.is_empty() {
        found.push(Layout::Prisma);
        let is_timestamp = |folder: &&str| names::digits(folder).0.len() == 14;
        if folders.iter().all(is_timestamp) {
            found.push(Layout::DrizzleFolders);
        }
    }
    found
}

/// The layout that something in the folder speaks for where names leave a choice.
fn hinted(sources: &Sources) -> Option<Layout> {
    if top(sources).any(|file| !folder::directives(&file.text).is_empty()) {
        return Some(Layout::Migrate);
    }
    if sources.files.iter().any(|file| file.path.ends_with(".sql.conf")) {
        return Some(Layout::Flyway);
    }
    if sources.others.iter().any(|path| is_rust(file_name(path))) {
        return Some(Layout::Refinery);
    }
    if top(sources).any(|file| file.text.starts_with("-- no-transaction")) {
        return Some(Layout::Sqlx);
    }
    // Where its own program puts them.
    sources.folder.trim_end_matches('/').ends_with("supabase/migrations").then_some(Layout::Supabase)
}

/// The SQL files in the folder itself.
fn top(sources: &Sources) -> impl Iterator<Item = &Source> {
    sources.files.iter().filter(|file| is_sql(&file.path) && !file.path.contains('/'))
}

/// Whether all files that a layout would look at have its names, and no number is there twice where it must not be.
fn fits_by_name(sources: &Sources, layout: Layout) -> bool {
    let mut files = sources.files.iter().filter(|file| is_sql(&file.path)).map(|file| file.path.as_str());
    let is_deep = matches!(layout, Layout::Refinery | Layout::Flyway);
    if !is_deep && (top(sources).next().is_none() || files.clone().any(|path| path.contains('/') && is_versioned(path)))
    {
        return false;
    }
    let has_names =
        files.clone().next().is_some() && files.all(|path| is_named(layout, path) || (!is_deep && path.contains('/')));
    has_names
        && match layout {
            Layout::UpDown => true,
            Layout::Refinery => undone(sources).iter().all(|is_undone| !is_undone),
            Layout::Flyway => undone(sources).iter().all(|is_undone| *is_undone),
            _ => repeated(sources).is_none(),
        }
}

/// Of each file that begins with U, whether another one applies its version: then it is the way back of that one, for
/// Flyway; else it is a version of its own, for refinery.
fn undone(sources: &Sources) -> Vec<bool> {
    let versions = |letter: &'static str| {
        let versions = sources.files.iter().filter_map(move |file| {
            let (version, _) = file_name(&file.path).strip_prefix(letter)?.split_once("__")?;
            Some(version.trim_start_matches('0'))
        });
        versions.collect::<Vec<_>>()
    };
    let applied = versions("V");
    versions("U").into_iter().map(|version| applied.contains(&version)).collect()
}

/// Whether a file below has a name of the layouts that look there.
fn is_versioned(path: &str) -> bool {
    is_named(Layout::Refinery, path) || is_named(Layout::Flyway, path)
}

/// Two files that apply the same number.
fn repeated(sources: &Sources) -> Option<LayoutError> {
    let mut numbers: BTreeMap<&str, &Source> = BTreeMap::new();
    for file in top(sources).filter(|file| way(&file.path) != Some(Way::Down)) {
        let digits = names::digits(file.path.strip_prefix('V').unwrap_or(&file.path)).0;
        let number = digits.trim_start_matches('0');
        let first = if digits.is_empty() { None } else { numbers.insert(number, file) };
        if let Some(first) = first {
            let version = if number.is_empty() { "0" } else { number }.to_owned();
            return Some(LayoutError::Repeated { version, first: first.path.clone(), second: file.path.clone() });
        }
    }
    None
}

/// The tool for which a line begins the way back.
pub(crate) fn begins_way_back(line: &str) -> Option<Layout> {
    match () {
        () if goose::is_down(line) => Some(Layout::Goose),
        () if dbmate::marker(line).is_some_and(|(way, _)| way == Way::Down) => Some(Layout::Dbmate),
        () => None,
    }
}

/// The way that the ending of a file says.
fn way(path: &str) -> Option<Way> {
    match () {
        () if path.ends_with(".up.sql") => Some(Way::Up),
        () if path.ends_with(".down.sql") => Some(Way::Down),
        () => None,
    }
}

/// Whether a file has a name of the layout.
fn is_named(layout: Layout, path: &str) -> bool {
    let name = if matches!(layout, Layout::Refinery | Layout::Flyway) { path.rsplit('/').next() } else { Some(path) };
    let Some((name, stem)) = name.and_then(|name| Some((name, name.strip_suffix(".sql")?))) else { return false };
    let (digits, rest) = names::digits(name);
    let is_numbered = rest.starts_with('_') && digits.parse::<i64>().is_ok();
    let is_repeatable = |stem: &str| stem.strip_prefix("R__").is_some_and(|name| !name.is_empty());
    match layout {
        Layout::Migrate => migrate::parts(name).is_some() || is_repeatable(stem),
        Layout::Refinery => {
            stem.strip_prefix(['V', 'U']).and_then(|stem| stem.split_once("__")).is_some_and(|(version, name)| {
                version.parse::<u64>().is_ok()
                    && !name.is_empty()
                    && name.chars().all(|c| c.is_alphanumeric() || c == '_')
            })
        }
        Layout::Flyway => way(name).is_none() && (is_repeatable(stem) || is_of_flyway(stem)),
        Layout::Sqlx => is_numbered,
        Layout::Supabase => is_numbered && way(name).is_none(),
        Layout::GolangMigrate => is_numbered && way(name).is_some(),
        Layout::UpDown => way(name).is_some(),
        _ => false,
    }
}

/// Whether a stem is a version of Flyway's, or one of the events that it runs SQL at.
fn is_of_flyway(stem: &str) -> bool {
    let version = stem.strip_prefix(['V', 'B', 'U']).and_then(|stem| Some(stem.split_once("__")?.0));
    let is_version = |version: &str| {
        version.split(['.', '_']).all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    version.map_or_else(|| stem.starts_with("before") || stem.starts_with("after"), is_version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitting(files: &[(&str, &str)]) -> String {
        let layouts = fits(&Sources::embedded("f", files.iter().copied()));
        layouts.iter().map(|layout| layout.key()).collect::<Vec<_>>().join(" ")
    }

    fn named(paths: &[&str]) -> String {
        fitting(&paths.iter().map(|path| (*path, "SELECT 1;")).collect::<Vec<_>>())
    }

    fn unfit(paths: &[&str]) -> String {
        assert_eq!(named(paths), "", "{paths:?}");
        why_not(&Sources::embedded("f", paths.iter().map(|path| (*path, "")))).to_string()
    }

    #[test]
    fn a_marker_decides() {
        for (files, expected) in [
            (&[("1_a.sql", ""), ("atlas.sum", "")][..], "atlas"),
            (&[("1_a.sql", "-- +goose Up\n"), ("atlas.sum", "")], "goose"),
            (&[("1_a.up.sql", ""), ("atlas.sum", "")], "migrate sqlx golang-migrate up-down"),
            (&[("0000_a.sql", ""), ("meta/_journal.json", "")], "drizzle"),
            (&[("20260101000000_a/migration.sql", ""), ("migration_lock.toml", "")], "prisma"),
            (&[("1_a.sql", "\u{feff}-- why\r\n-- +goose up\r\n")], "goose"),
            (&[("1_a.sql", "-- migrate:up transaction:false\r\n")], "dbmate"),
            (&[("1_a.sql", "-- migrate:up"), ("2_b.sql", "-- +goose Down")], "dbmate goose"),
            (&[("1_a/up.sql", ""), ("1_a/down.sql", "")], "diesel"),
            (&[("20260101000000_a/migration.sql", "")], "prisma drizzle-folders"),
            (&[("20260101000000_a/migration.sql", ""), ("b/migration.sql", "")], "prisma"),
        ] {
            assert_eq!(fitting(files), expected, "{files:?}");
        }
    }

    #[test]
    fn names_leave_a_choice() {
        for (paths, expected) in [
            (&["V1__a.sql", "V10__b.sql"][..], "migrate refinery flyway"),
            (&["V1__a.sql", "R__b.sql"], "migrate flyway"),
            (&["V1__a.sql", "V1__a.down.sql"], "migrate"),
            (&["V1__a.sql", "U2__b.sql"], "refinery"),
            (&["V1__a.sql", "U01__a.sql", "V2__b.sql"], "flyway"),
            (&["V1__a.sql", "V1.2__b.sql"], "flyway"),
            (&["V1__a.sql", "V1_2__b.sql"], "flyway"),
            (&["B1__a.sql", "afterMigrate.sql"], "flyway"),
            (&["V1__a.sql", "old/V2__b.sql"], "refinery flyway"),
            (&["old/V2__b.sql"], "refinery flyway"),
            (&["1_a.sql", "02_b.sql", "x/seed.sql"], "migrate sqlx supabase"),
            (&["1_a.sql", "2_b.up.sql"], "migrate sqlx"),
            (&["V1__a.sql", "2_b.sql"], "migrate"),
            (&["1_a.up.sql", "1_a.down.sql"], "migrate sqlx golang-migrate up-down"),
            (&["1_a.up.sql", "01_b.up.sql"], "up-down"),
            (&["init.up.sql"], "up-down"),
        ] {
            assert_eq!(named(paths), expected, "{paths:?}");
            let sources = Sources::embedded("f", paths.iter().map(|path| (*path, "SELECT 1;")));
            for layout in fits(&sources) {
                let folder = crate::read(&sources, layout, &crate::Options::default());
                assert!(folder.is_ok_and(|folder| !folder.files.is_empty()), "{layout} {paths:?}");
            }
        }
    }

    #[test]
    fn a_folder_of_hooks_is_refused_and_not_left_out_in_silence() {
        assert_eq!(named(&["V1__a.sql", "V1__a.before/1.sql"]), "migrate");
        let sources = Sources::embedded("f", [("V1__a.sql", "SELECT 1;"), ("V1__a.before/1.sql", "SELECT 1;")]);
        for layout in Layout::ALL {
            let error = crate::read(&sources, layout, &crate::Options::default()).unwrap_err().to_string();
            let said = "V1__a.before: a folder of hooks, which this build does not run";
            assert!(error.starts_with(said), "{layout}: {error}");
        }
    }

    #[test]
    fn a_hint_decides_where_names_do_not() {
        for (files, expected) in [
            (&[("V1__a.sql", "-- migrate: no-transaction\nSELECT 1;")][..], "migrate"),
            (&[("V1__a.sql", ""), ("V1__a.sql.conf", "")], "flyway"),
            (&[("V1__a.sql", ""), ("V2__b.rs", "")], "refinery"),
            (&[("1_a.sql", "-- no-transaction\n"), ("2_b.sql", "")], "sqlx"),
            (&[("1_a.up.sql", ""), ("1_a.down.sql", "-- no-transaction\n")], "sqlx"),
        ] {
            assert_eq!(fitting(files), expected, "{files:?}");
        }
        let supabase = Sources::embedded("x/supabase/migrations/", [("1_a.sql", "")]);
        assert_eq!(fits(&supabase), [Layout::Supabase]);
    }

    #[test]
    fn a_folder_that_fits_nothing_says_why() {
        assert_eq!(unfit(&[]), "f holds no migration");
        assert_eq!(
            unfit(&["a.sql"]),
            "f fits no layout that is known: a.sql has no name of a migration, as 1_name.sql, V1__name.sql or \
             1_name.up.sql are"
        );
        assert_eq!(
            unfit(&["1_a.up.sql", "2_b.up.sql", "seed.sql"]),
            "f fits no layout that is known: seed.sql is not named V<number>__<name>.sql, <number>_<name>.sql, either \
             with .up.sql or .down.sql, or R__<name>.sql, as 2 others are"
        );
        assert_eq!(
            unfit(&["a.up.sql", "2.sql"]),
            "f fits no layout that is known: 2.sql is not named <name>.up.sql or <name>.down.sql, as one other is"
        );
        assert_eq!(unfit(&["1_a.sql", "01_b.sql"]), "version 1 is repeated: 01_b.sql and 1_a.sql");
    }
}
