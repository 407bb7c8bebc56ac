//! `<name>.up.sql` and `<name>.down.sql` in one folder, recorded by their names and ordered by them, byte by byte.
//!
//! Nothing is put around a file, and numbers may repeat.

use super::names::{self, Half, Way};
use super::{Folder, Layout, LayoutError, Sending, Source, Sources, Version};

/// Reads the folder.
pub(crate) fn read(sources: &Sources) -> Result<Folder, LayoutError> {
    let mut left_out = Vec::new();
    let files = names::top(sources, Layout::UpDown, &mut left_out);
    let mut halves = files.into_iter().map(half).collect::<Result<Vec<_>, _>>()?;
    number(&mut halves);
    let pairs = names::pairs(halves)?;
    names::refuse_empty(sources, pairs.is_empty())?;
    let file = |pair: names::Pair| {
        let mut file = names::file(pair.version, pair.name, names::whole(pair.up, Sending::Whole));
        file.down = pair.down.map(|down| names::whole(down, Sending::Whole));
        file
    };
    Ok(Folder {
        layout: Layout::UpDown,
        files: pairs.into_iter().map(file).collect(),
        repeatables: Vec::new(),
        left_out,
    })
}

fn half(source: &Source) -> Result<Half<'_>, LayoutError> {
    let path = &source.path;
    let (stem, way) = match (path.strip_suffix(".up.sql"), path.strip_suffix(".down.sql")) {
        (Some(stem), _) => (stem, Way::Up),
        (_, Some(stem)) => (stem, Way::Down),
        _ => return Err(names::skipped(source, Layout::UpDown)),
    };
    if stem.is_empty() {
        return Err(names::misnamed(path, "a name is missing before the ending"));
    }
    let rest = names::digits(stem).1;
    let name = rest.strip_prefix('_').filter(|name| !name.is_empty()).unwrap_or(stem).to_owned();
    // The file that applies it has the place.
    let version = Version::placed(&format!("{stem}.up.sql"), stem);
    Ok(Half { version, key: stem.to_owned(), name, way, source })
}

/// Orders by number, then by name, where that is the order of the file names anyway: a number can be compared with the
/// number of another set. Where it is not (`10_b` comes before `2_a`, some have no number), the names rule.
fn number(halves: &mut [Half]) {
    let numbered = |half: &Half| Some(Version::named(names::digits(&half.key).0.parse().ok()?, &half.key));
    let Some(versions) = halves.iter().map(numbered).collect::<Option<Vec<_>>>() else { return };
    let mut order: Vec<_> = (0..halves.len()).collect();
    order.sort_by(|a, b| halves[*a].version.cmp(&halves[*b].version));
    if order.is_sorted_by_key(|at| &versions[*at]) {
        for (half, version) in halves.iter_mut().zip(versions) {
            half.version = version;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::tests::{entries, folder, refusal};

    fn read(files: &[&str]) -> Folder {
        folder(Layout::UpDown, &files.iter().map(|file| (*file, "BEGIN; COMMIT;")).collect::<Vec<_>>())
    }

    #[test]
    fn up_down_files_may_repeat_a_number() {
        let folder = read(&["079_b.up.sql", "079_a.up.sql", "103_c.down.sql", "103_c.up.sql", "079_a.down.sql"]);
        assert_eq!(
            entries(&folder),
            [("079_a.up.sql", "079_a", ""), ("079_b.up.sql", "079_b", ""), ("103_c.up.sql", "103_c", "")]
        );
        let [a, b, c] = &folder.files[..] else { panic!() };
        assert_eq!(a.version, Version::named(79, "079_a"));
        assert_eq!((a.name.as_str(), a.up.sending), ("a", Sending::Whole));
        assert_eq!(a.down.as_ref().unwrap().path, "079_a.down.sql");
        assert_eq!((b.down.is_none(), c.down.as_ref().unwrap().sending), (true, Sending::Whole));
    }

    #[test]
    fn up_down_files_come_in_the_order_of_their_names() {
        let order = |files: &[&str]| read(files).files.into_iter().map(|file| file.version).collect::<Vec<_>>();
        let shown = |files: &[&str]| order(files).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown(&["2_a.up.sql", "10_b.up.sql"]), ["10_b", "2_a"]);
        assert_eq!(shown(&["init.up.sql", "2_a.up.sql"]), ["2_a", "init"]);
        // A dash comes before the dot.
        assert_eq!(shown(&["1_a.up.sql", "1_a-b.up.sql"]), ["1_a-b", "1_a"]);
        assert_eq!(order(&["2_a.up.sql", "10_b.up.sql"])[0].as_number(), None);
        assert_eq!(order(&["02_a.up.sql", "10_b.up.sql"])[0].as_number(), Some(2));
    }

    #[test]
    fn up_down_refuses_names_that_it_would_skip() {
        let refusal =
            |files: &[&str]| refusal(Layout::UpDown, &files.iter().map(|file| (*file, "")).collect::<Vec<_>>());
        for name in ["001_a.sql", "001_a.UP.SQL", "a.up.SQL"] {
            let expected =
                "the up-down layout would skip a file of this name; expected <name>.up.sql or <name>.down.sql";
            assert_eq!(refusal(&[name]), format!("{name}: {expected}"));
        }
        assert_eq!(
            refusal(&["1_a.up.sql", "1_b.down.sql"]),
            "1_b.down.sql: nothing to take back: the file that applies it is missing"
        );
        assert_eq!(refusal(&["x/1_a.up.sql"]), "f holds no migration");
    }
}
