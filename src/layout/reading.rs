//! What the readers of several layouts need.

use super::{Checksum, File, Folder, Layout, LayoutError, Script, Sending, Source, Sources, Version};

/// The name of a file, without the folders it is in.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The whole of a file, without a mark before it.
pub(crate) fn script(source: &Source, sending: Sending) -> Result<Script, LayoutError> {
    let text = source.without_mark();
    if text.trim().is_empty() {
        return Err(LayoutError::EmptyFile { path: source.path.clone() });
    }
    Ok(Script { path: source.path.clone(), text, line: 1, sending, hidden: None })
}

/// A version that is applied by `up`. What only some layouts have is set afterwards.
pub(crate) fn file(version: Version, name: &str, entry: &str, up: Script, checksum: Option<Checksum>) -> File {
    File {
        version,
        name: name.to_owned(),
        up,
        down: None,
        entry: entry.to_owned(),
        described_as: String::new(),
        checksum,
        written_at: None,
        directives: Vec::new(),
        may_be_late: false,
        is_baseline: false,
    }
}

/// The folder of these versions. They are brought into their order; of no version there may be two.
pub(crate) fn folder(sources: &Sources, layout: Layout, mut files: Vec<File>) -> Result<Folder, LayoutError> {
    files.sort_by(|a, b| (a.version, &a.up.path).cmp(&(b.version, &b.up.path)));
    let twice = files.windows(2).find(|two| two[0].version == two[1].version);
    match twice {
        Some(two) => Err(repeated(&two[0].entry, &two[0].up.path, &two[1].up.path)),
        None if files.is_empty() => Err(LayoutError::Empty { folder: sources.folder.clone() }),
        None => Ok(Folder { layout, files, repeatables: Vec::new(), left_out: Vec::new() }),
    }
}

/// Two files have one version.
pub(crate) fn repeated(version: &str, first: &str, second: &str) -> LayoutError {
    LayoutError::Repeated { version: version.to_owned(), first: first.to_owned(), second: second.to_owned() }
}

/// What is ordered byte by byte as JavaScript's `localeCompare` orders the name: punctuation, digits, letters; small
/// letters before capitals where nothing else differs.
pub(crate) fn by_locale(name: &str) -> String {
    const PUNCTUATION: &str = " _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$";
    let weight = |c: char| match PUNCTUATION.find(c).map(u8::try_from) {
        Some(Ok(place)) => char::from(place + 1),
        _ => c.to_lowercase().next().unwrap_or(c),
    };
    let case = |c: char| if c.is_uppercase() { '2' } else { '1' };
    name.chars().map(weight).chain(['\0']).chain(name.chars().map(case)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A folder of these files.
    pub(crate) fn sources(files: &[(&str, &str)]) -> Sources {
        Sources::embedded("migrations", files.iter().copied())
    }

    /// A folder of files that hold something.
    pub(crate) fn named(paths: &[&str]) -> Sources {
        Sources::embedded("migrations", paths.iter().map(|path| (*path, "SELECT 1;\n")))
    }

    #[test]
    fn names_are_ordered_as_javascript_orders_them() {
        let mut names = ["B", "a_1", "10_a", "1_b", "b", "A", "a1", "1", "a"];
        names.sort_by_key(|name| by_locale(name));
        assert_eq!(names, ["1", "1_b", "10_a", "a", "A", "a_1", "a1", "b", "B"]);
    }

    #[test]
    fn an_empty_file_is_refused() {
        let source = Source { path: "a.sql".into(), text: "\u{feff} \r\n".into() };
        assert_eq!(script(&source, Sending::Whole).unwrap_err().to_string(), "a.sql is empty");
    }
}
