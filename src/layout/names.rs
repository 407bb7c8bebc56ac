//! What the readers share: names taken apart, the two files of a migration put together, scripts of whole files.

use std::cmp::Ordering;

use super::reading;
use super::{File, Layout, LayoutError, Script, Sending, Source, Sources, Version};

/// Which way a file leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// It applies the migration.
    Up,
    /// It takes the migration back.
    Down,
}

/// One of the files of a migration, its name taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Half<'a> {
    /// The version that its name says.
    pub version: Version,
    /// What tells the file beside it that they belong together.
    pub key: String,
    /// The part of the name behind the version.
    pub name: String,
    pub way: Way,
    pub source: &'a Source,
}

/// The files of a migration.
#[derive(Clone, Debug)]
pub(crate) struct Pair<'a> {
    pub version: Version,
    pub name: String,
    pub up: &'a Source,
    pub down: Option<&'a Source>,
}

/// The name of a layout's migrations, as it is shown.
pub(crate) fn form(layout: Layout) -> &'static str {
    match layout {
        Layout::Migrate => {
            "V<number>__<name>.sql, <number>_<name>.sql, either with .up.sql or .down.sql, or R__<name>.sql"
        }
        Layout::Refinery => "V<number>__<name>.sql or U<number>__<name>.sql",
        Layout::Flyway => "V<version>__<name>.sql, B<version>__<name>.sql or R__<name>.sql",
        Layout::Sqlx => "<number>_<name>.sql, <number>_<name>.up.sql or <number>_<name>.down.sql",
        Layout::GolangMigrate => "<number>_<name>.up.sql or <number>_<name>.down.sql",
        Layout::UpDown => "<name>.up.sql or <name>.down.sql",
        Layout::Supabase | Layout::Goose => "<number>_<name>.sql",
        Layout::Atlas => "<version>_<name>.sql",
        Layout::Dbmate => "<digits>_<name>.sql",
        Layout::Diesel => "<version>_<name>/up.sql",
        Layout::Drizzle => "<tag>.sql, listed in meta/_journal.json",
        Layout::Prisma | Layout::DrizzleFolders => "<14 digits>_<name>/migration.sql",
    }
}

/// The name that a tool goes by, in a sentence.
pub(crate) fn tool(layout: Layout) -> &'static str {
    match layout {
        Layout::Migrate => "migrate",
        Layout::Refinery => "refinery",
        Layout::Flyway => "Flyway",
        Layout::Sqlx => "sqlx",
        Layout::GolangMigrate => "golang-migrate",
        Layout::UpDown => "the up-down layout",
        Layout::Supabase => "Supabase",
        Layout::Atlas => "Atlas",
        Layout::Dbmate => "dbmate",
        Layout::Goose => "goose",
        Layout::Diesel => "Diesel",
        Layout::Prisma => "Prisma",
        Layout::Drizzle | Layout::DrizzleFolders => "Drizzle",
    }
}

/// The SQL files in the folder itself, by name, byte by byte. Those in folders below go to `left_out`: a layout that
/// asks this reads one folder only.
pub(crate) fn top<'a>(sources: &'a Sources, layout: Layout, left_out: &mut Vec<(String, String)>) -> Vec<&'a Source> {
    let (top, below): (Vec<_>, Vec<_>) =
        sources.files.iter().filter(|file| is_sql(&file.path)).partition(|file| !file.path.contains('/'));
    let reason = format!("in a folder below, where {} does not look", tool(layout));
    left_out.extend(below.into_iter().map(|file| (file.path.clone(), reason.clone())));
    top
}

/// Whether a file ends as SQL does. Capitals count: a tool that compares bytes would skip such a file, and we say so.
pub(crate) fn is_sql(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, ending)| ending.eq_ignore_ascii_case("sql"))
}

/// A name that the layout's tool skips without a word.
pub(crate) fn skipped(source: &Source, layout: Layout) -> LayoutError {
    let reason = format!("{} would skip a file of this name; expected {}", tool(layout), form(layout));
    LayoutError::Name { path: source.path.clone(), reason }
}

/// A name that the layout does not have.
pub(crate) fn misnamed(path: &str, reason: impl Into<String>) -> LayoutError {
    LayoutError::Name { path: path.to_owned(), reason: reason.into() }
}

/// The digits at the beginning of a name, and the rest.
pub(crate) fn digits(name: &str) -> (&str, &str) {
    name.split_at(name.find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len()))
}

/// The number that digits say.
pub(crate) fn number(source: &Source, digits: &str) -> Result<i64, LayoutError> {
    digits.parse().map_err(|_| misnamed(&source.path, format!("the number is larger than {}", i64::MAX)))
}

/// Puts the files of each migration together and orders them by version.
///
/// Files belong together by their key. Two versions that are the same, two ways back, and a way back without its way
/// there are errors.
pub(crate) fn pairs(mut halves: Vec<Half<'_>>) -> Result<Vec<Pair<'_>>, LayoutError> {
    let place = |a: &Half, b: &Half| {
        let ordered = a.version.cmp(&b.version).then(a.key.cmp(&b.key)).then(a.way.cmp(&b.way));
        ordered.then_with(|| a.source.path.cmp(&b.source.path))
    };
    halves.sort_by(place);
    let mut pairs: Vec<Pair> = Vec::new();
    let mut last: Option<&Half> = None;
    for half in &halves {
        let before = last.filter(|before| before.version == half.version);
        let same = before.filter(|before| before.key == half.key);
        match (half.way, pairs.last_mut()) {
            (Way::Up, _) => {
                if let Some(before) = before {
                    return Err(repeated(&half.version, before.source, half.source));
                }
                pairs.push(Pair { version: half.version, name: half.name.clone(), up: half.source, down: None });
            }
            (Way::Down, Some(pair)) if same.is_some() => {
                if let Some(other) = pair.down {
                    return Err(repeated(&half.version, other, half.source));
                }
                pair.down = Some(half.source);
            }
            (Way::Down, _) => {
                return Err(misnamed(&half.source.path, "nothing to take back: the file that applies it is missing"));
            }
        }
        last = Some(half);
    }
    Ok(pairs)
}

/// Two files have the same version.
pub(crate) fn repeated(version: &Version, first: &Source, second: &Source) -> LayoutError {
    let (first, second) = (first.path.clone(), second.path.clone());
    LayoutError::Repeated { version: version.to_string(), first, second }
}

/// Refuses two of the same entry among files that are ordered by something else. The second is the later one in order.
pub(crate) fn refuse_repeated(files: &[File]) -> Result<(), LayoutError> {
    let mut by_entry: Vec<_> = files.iter().collect();
    by_entry.sort_by(|a, b| a.entry.cmp(&b.entry).then(a.version.cmp(&b.version)));
    match by_entry.windows(2).find(|two| two[0].entry.cmp(&two[1].entry) == Ordering::Equal) {
        Some(two) => Err(LayoutError::Repeated {
            version: two[0].entry.clone(),
            first: two[0].up.path.clone(),
            second: two[1].up.path.clone(),
        }),
        None => Ok(()),
    }
}

/// The whole file as a script. A mark before the text is not sent: the server would take it for part of a word.
pub(crate) fn whole(source: &Source, sending: Sending) -> Script {
    Script { path: source.path.clone(), text: source.without_mark(), line: 1, sending, hidden: None }
}

/// A version that has neither a way back nor anything else beside its script.
pub(crate) fn file(version: Version, name: impl Into<String>, up: Script) -> File {
    reading::file(version, &name.into(), &version.to_string(), up, None)
}

/// Refuses a folder without a single migration.
pub(crate) fn refuse_empty(sources: &Sources, is_empty: bool) -> Result<(), LayoutError> {
    if is_empty { Err(LayoutError::Empty { folder: sources.folder.clone() }) } else { Ok(()) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Folder, Options};

    /// Reads files as a layout; the folder is called `f`.
    pub(crate) fn folder(layout: Layout, files: &[(&str, &str)]) -> Folder {
        crate::read(&Sources::embedded("f", files.iter().copied()), layout, &Options::default()).unwrap()
    }

    /// What is wrong with files as a layout.
    pub(crate) fn refusal(layout: Layout, files: &[(&str, &str)]) -> String {
        let read = crate::read(&Sources::embedded("f", files.iter().copied()), layout, &Options::default());
        read.map(|folder| folder.files.len()).unwrap_err().to_string()
    }

    /// Path, entry and description of each file, in order.
    pub(crate) fn entries(folder: &Folder) -> Vec<(&str, &str, &str)> {
        folder.files.iter().map(|file| (&*file.up.path, &*file.entry, &*file.described_as)).collect()
    }
}
