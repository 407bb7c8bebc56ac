//! sqlx: `<number>_<name>.sql`, or `<number>_<name>.up.sql` with `.down.sql`, in one folder.

use super::checksum::{self, Checksum};
use super::names::{self, Half, Way};
use super::sql;
use super::{Folder, Layout, LayoutError, Script, Sending, Source, Sources, Version};

/// sqlx looks for this at the very beginning of a file.
const NO_TRANSACTION: &str = "-- no-transaction";

/// Reads the folder.
pub(crate) fn read(sources: &Sources) -> Result<Folder, LayoutError> {
    let mut left_out = Vec::new();
    let files = names::top(sources, Layout::Sqlx, &mut left_out);
    let halves = files.into_iter().map(half).collect::<Result<Vec<_>, _>>()?;
    let pairs = names::pairs(halves)?;
    names::refuse_empty(sources, pairs.is_empty())?;
    let file = |pair: names::Pair| {
        let mut file = names::file(pair.version, pair.name.as_str(), script(pair.up));
        file.down = pair.down.map(script);
        file.described_as = pair.name.replace('_', " ");
        // Of the bytes as they are: a mark, the ends of lines and comments count. The way back has none.
        file.checksum = Some(Checksum::only(checksum::sha384(pair.up.text.as_bytes())));
        file
    };
    Ok(Folder { layout: Layout::Sqlx, files: pairs.into_iter().map(file).collect(), repeatables: Vec::new(), left_out })
}

fn half(source: &Source) -> Result<Half<'_>, LayoutError> {
    let skipped = || names::skipped(source, Layout::Sqlx);
    let (number, rest) = source.path.split_once('_').ok_or_else(skipped)?;
    let rest = rest.strip_suffix(".sql").ok_or_else(skipped)?;
    // As sqlx reads it: a sign is allowed.
    let number: i64 = number.parse().map_err(|_| {
        let reason =
            format!("{number:?} is no number: sqlx stops at this name; expected {}", names::form(Layout::Sqlx));
        names::misnamed(&source.path, reason)
    })?;
    let (name, way) = match (rest.strip_suffix(".up"), rest.strip_suffix(".down")) {
        (Some(name), _) => (name, Way::Up),
        (_, Some(name)) => (name, Way::Down),
        _ => (rest, Way::Up),
    };
    // The two files belong together by the number alone.
    Ok(Half { version: Version::number(number), key: String::new(), name: name.to_owned(), way, source })
}

/// Without a transaction, sqlx sends the file in one message all the same.
fn script(source: &Source) -> Script {
    let outside = sql::without_mark(&source.text).starts_with(NO_TRANSACTION);
    names::whole(source, if outside { Sending::Whole } else { Sending::Transaction })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::tests::{entries, folder, refusal};

    #[test]
    fn sqlx_reads_simple_and_reversible_files_by_number() {
        let folder = folder(
            Layout::Sqlx,
            &[
                ("10_ten_more.sql", "SELECT 10;\n"),
                ("0002_two.down.sql", "-- no-transaction\nSELECT -2;"),
                ("0002_two.up.sql", "\u{feff}SELECT 2;\r\n"),
                ("3_c.sql", "-- no-transaction\nVACUUM"),
                ("below/1_a.sql", "SELECT 1;"),
                ("4_.sql", "SELECT 4;"),
            ],
        );
        assert_eq!(
            entries(&folder),
            [
                ("0002_two.up.sql", "2", "two"),
                ("3_c.sql", "3", "c"),
                ("4_.sql", "4", ""),
                ("10_ten_more.sql", "10", "ten more")
            ]
        );
        let [two, three, ..] = &folder.files[..] else { panic!() };
        assert_eq!((&*two.up.text, two.up.sending), ("SELECT 2;\r\n", Sending::Transaction));
        let down = two.down.as_ref().unwrap();
        assert_eq!((down.path.as_str(), down.sending), ("0002_two.down.sql", Sending::Whole));
        assert_eq!((three.up.sending, &three.down), (Sending::Whole, &None));
        // The mark is not sent, but it counts.
        let sum = checksum::sha384("\u{feff}SELECT 2;\r\n".as_bytes());
        assert_eq!(two.checksum, Some(Checksum::only(sum)));
        assert_eq!(
            folder.left_out,
            [("below/1_a.sql".to_owned(), "in a folder below, where sqlx does not look".to_owned())]
        );
    }

    #[test]
    fn sqlx_refuses_what_it_would_skip_or_trip_over() {
        let refusal = |files: &[&str]| refusal(Layout::Sqlx, &files.iter().map(|file| (*file, "")).collect::<Vec<_>>());
        let form = "<number>_<name>.sql, <number>_<name>.up.sql or <number>_<name>.down.sql";
        for name in ["1-a.sql", "1_a.SQL", "a.sql"] {
            assert_eq!(refusal(&[name]), format!("{name}: sqlx would skip a file of this name; expected {form}"));
        }
        assert_eq!(
            refusal(&["V1__a.sql"]),
            format!("V1__a.sql: \"V1\" is no number: sqlx stops at this name; expected {form}")
        );
        assert_eq!(refusal(&["1_a.sql", "01_b.sql"]), "version 1 is repeated: 01_b.sql and 1_a.sql");
        assert_eq!(
            refusal(&["1_a.up.sql", "1_a.down.sql", "1_b.down.sql"]),
            "version 1 is repeated: 1_a.down.sql and 1_b.down.sql"
        );
        assert_eq!(
            refusal(&["1_a.down.sql"]),
            "1_a.down.sql: nothing to take back: the file that applies it is missing"
        );
        assert_eq!(refusal(&["below/1_a.sql"]), "f holds no migration");
    }
}
