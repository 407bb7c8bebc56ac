//! golang-migrate: `<number>_<name>.up.sql` and `.down.sql`, in one folder.
//!
//! It puts no transaction around a file, and records the version apart.

use super::names::{self, Half, Way};
use super::{Folder, Layout, LayoutError, Sending, Source, Sources, Version};

/// Reads the folder.
pub(crate) fn read(sources: &Sources) -> Result<Folder, LayoutError> {
    let mut left_out = Vec::new();
    let files = names::top(sources, Layout::GolangMigrate, &mut left_out);
    let halves = files.into_iter().map(half).collect::<Result<Vec<_>, _>>()?;
    let pairs = names::pairs(halves)?;
    names::refuse_empty(sources, pairs.is_empty())?;
    let file = |pair: names::Pair| {
        let mut file = names::file(pair.version, pair.name, names::whole(pair.up, Sending::Whole));
        file.down = pair.down.map(|down| names::whole(down, Sending::Whole));
        file
    };
    Ok(Folder {
        layout: Layout::GolangMigrate,
        files: pairs.into_iter().map(file).collect(),
        repeatables: Vec::new(),
        left_out,
    })
}

fn half(source: &Source) -> Result<Half<'_>, LayoutError> {
    let skipped = || names::skipped(source, Layout::GolangMigrate);
    let (digits, rest) = names::digits(&source.path);
    let rest = rest.strip_prefix('_').filter(|_| !digits.is_empty()).ok_or_else(skipped)?;
    // The last of the two counts; what follows it is any ending.
    let (at, way) = [(".up.", Way::Up), (".down.", Way::Down)]
        .into_iter()
        .filter_map(|(mark, way)| Some((rest.rfind(mark)?, way)))
        .max()
        .ok_or_else(skipped)?;
    let version = Version::number(names::number(source, digits)?);
    // The two files belong together by the number alone.
    Ok(Half { version, key: String::new(), name: rest[..at].to_owned(), way, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::tests::{entries, folder, refusal};

    #[test]
    fn golang_migrate_reads_files_by_number_and_sends_them_whole() {
        let folder = folder(
            Layout::GolangMigrate,
            &[
                ("10_b.up.sql", "SELECT 10;"),
                ("000002_a.up.b.down.sql", "BEGIN; SELECT -2; COMMIT;\r\n"),
                ("000002_c.up.SQL", "\u{feff}SELECT 2;"),
                ("2_below/1_a.up.sql", ""),
            ],
        );
        assert_eq!(entries(&folder), [("000002_c.up.SQL", "2", ""), ("10_b.up.sql", "10", "")]);
        let two = &folder.files[0];
        assert_eq!((two.name.as_str(), &*two.up.text, two.up.sending), ("c", "SELECT 2;", Sending::Whole));
        let down = two.down.as_ref().unwrap();
        assert_eq!((&*down.text, down.sending), ("BEGIN; SELECT -2; COMMIT;\r\n", Sending::Whole));
        assert_eq!((folder.left_out.len(), &two.checksum), (1, &None));
    }

    #[test]
    fn golang_migrate_refuses_what_it_would_skip_or_trip_over() {
        let refusal =
            |files: &[&str]| refusal(Layout::GolangMigrate, &files.iter().map(|file| (*file, "")).collect::<Vec<_>>());
        for name in ["001_a.sql", "1-a.up.sql", "a_1.up.sql", "V1__a.up.sql", "_a.up.sql"] {
            let expected = "golang-migrate would skip a file of this name; expected <number>_<name>.up.sql or \
                            <number>_<name>.down.sql";
            assert_eq!(refusal(&[name]), format!("{name}: {expected}"));
        }
        assert_eq!(refusal(&["1_a.up.sql", "001_b.up.sql"]), "version 1 is repeated: 001_b.up.sql and 1_a.up.sql");
        assert_eq!(
            refusal(&["1_a.down.sql"]),
            "1_a.down.sql: nothing to take back: the file that applies it is missing"
        );
        assert_eq!(
            refusal(&["9999999999999999999_a.up.sql"]),
            "9999999999999999999_a.up.sql: the number is larger than 9223372036854775807"
        );
        assert_eq!(refusal(&[]), "f holds no migration");
    }
}
