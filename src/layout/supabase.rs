//! Supabase: `<digits>_<name>.sql` in one folder, ordered by file name, byte by byte. There is no way back.

use super::names;
use super::{File, Folder, Layout, LayoutError, Sending, Source, Sources, Version};

/// Reads the folder.
pub(crate) fn read(sources: &Sources) -> Result<Folder, LayoutError> {
    let mut left_out = Vec::new();
    let files = names::top(sources, Layout::Supabase, &mut left_out);
    let files = files.into_iter().map(file).collect::<Result<Vec<_>, _>>()?;
    names::refuse_repeated(&files)?;
    names::refuse_empty(sources, files.is_empty())?;
    Ok(Folder { layout: Layout::Supabase, files, repeatables: Vec::new(), left_out })
}

fn file(source: &Source) -> Result<File, LayoutError> {
    let (digits, rest) = names::digits(&source.path);
    let name = rest.strip_prefix('_').and_then(|rest| rest.strip_suffix(".sql"));
    let name = name.filter(|_| !digits.is_empty()).ok_or_else(|| names::skipped(source, Layout::Supabase))?;
    if name.strip_suffix(".down").is_some() {
        return Err(names::misnamed(&source.path, "Supabase has no way back: it would apply this file as a migration"));
    }
    let mut file = names::file(Version::placed(&source.path, digits), name, names::whole(source, Sending::Transaction));
    name.clone_into(&mut file.described_as);
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::tests::{entries, folder, refusal};

    #[test]
    fn supabase_reads_files_by_name() {
        let folder = folder(
            Layout::Supabase,
            &[
                ("20240102000000_add_b.sql", "SELECT 1;"),
                ("1_x.sql", "SELECT 2;"),
                ("10_y.sql", "SELECT 3;"),
                ("seed/a.sql", ""),
            ],
        );
        assert_eq!(
            entries(&folder),
            [("10_y.sql", "10", "y"), ("1_x.sql", "1", "x"), ("20240102000000_add_b.sql", "20240102000000", "add_b")]
        );
        assert!(folder.files.iter().all(|file| file.up.sending == Sending::Transaction && file.down.is_none()));
        assert_eq!(folder.left_out[0].0, "seed/a.sql");
    }

    #[test]
    fn supabase_refuses_what_it_would_skip_or_trip_over() {
        let refusal =
            |files: &[&str]| refusal(Layout::Supabase, &files.iter().map(|file| (*file, "")).collect::<Vec<_>>());
        for name in ["20240101.sql", "2024-01-01_a.sql", "a.sql", "1_a.SQL"] {
            let expected = "Supabase would skip a file of this name; expected <number>_<name>.sql";
            assert_eq!(refusal(&[name]), format!("{name}: {expected}"));
        }
        assert_eq!(refusal(&["1_b.sql", "2_a.sql", "1_a.sql"]), "version 1 is repeated: 1_a.sql and 1_b.sql");
        assert_eq!(
            refusal(&["1_a.sql", "1_a.down.sql"]),
            "1_a.down.sql: Supabase has no way back: it would apply this file as a migration"
        );
        assert_eq!(refusal(&[]), "f holds no migration");
    }
}
