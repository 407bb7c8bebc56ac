//! Atlas: `<version>_<name>.sql` in one folder, ordered by file name, byte by byte, with `atlas.sum` beside them.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::checksum::Checksum;
use super::names;
use super::sql;
use super::{File, Folder, Layout, LayoutError, Sending, Source, Sources, Version, dbmate, goose};

/// The file that holds a checksum of every other one.
pub(crate) const SUM: &str = "atlas.sum";

/// Reads the folder.
pub(crate) fn read(sources: &Sources) -> Result<Folder, LayoutError> {
    let mut left_out = Vec::new();
    let files = names::top(sources, Layout::Atlas, &mut left_out);
    names::refuse_empty(sources, files.is_empty())?;
    if let Some(source) = files.iter().find(|source| source.path.strip_suffix(".sql").is_none()) {
        return Err(names::skipped(source, Layout::Atlas));
    }
    let sums = verified(sources, &files)?;
    let file = |source: &&Source| file(source, sums.iter().find(|(path, _)| *path == source.path));
    let files = files.iter().map(file).collect::<Result<Vec<_>, _>>()?;
    names::refuse_repeated(&files)?;
    Ok(Folder { layout: Layout::Atlas, files, repeatables: Vec::new(), left_out })
}

fn file(source: &Source, sum: Option<&(&str, String)>) -> Result<File, LayoutError> {
    let path = &source.path;
    let stem = path.trim_end_matches(".sql");
    let (version, name) = stem.split_once('_').unwrap_or((stem, ""));
    if version.is_empty() {
        return Err(names::misnamed(path, format!("a version is missing; expected {}", names::form(Layout::Atlas))));
    }
    if let Some(layout) = foreign(source) {
        let reason =
            format!("written for {}: give {layout:?} as the layout", names::tool(layout), layout = layout.key());
        return Err(names::misnamed(path, reason));
    }
    let directives = directives(source);
    let is = |name: &str| directives.iter().any(|directive| directive.name == name);
    let mut sending = Sending::Transaction;
    for Directive { name, text, line } in &directives {
        match (*name, *text) {
            ("txmode", "none") => sending = Sending::Statements,
            ("txmode", "file" | "all") => {}
            ("txmode", other) => {
                let reason = format!("atlas:txmode is none, file or all, not {other:?}");
                return Err(LayoutError::content(path, *line, reason));
            }
            // A comment between statements does no harm.
            ("delimiter", delimiter) if !delimiter.starts_with("--") => {
                let reason = format!("statements that end with {delimiter:?} are not supported, only those with \";\"");
                return Err(LayoutError::content(path, *line, reason));
            }
            _ => {}
        }
    }
    let mut file = names::file(Version::placed(path, version), name, names::whole(source, sending));
    name.clone_into(&mut file.described_as);
    file.checksum = sum.map(|(_, sum)| Checksum::only(sum));
    file.is_baseline = is("checkpoint");
    Ok(file)
}

/// The tool whose format a file has, which Atlas can be told to read, too.
fn foreign(source: &Source) -> Option<Layout> {
    if source.path.ends_with(".up.sql") || source.path.ends_with(".down.sql") {
        return Some(Layout::GolangMigrate);
    }
    source.text.lines().find_map(|line| match () {
        () if goose::is_marked(line) => Some(Layout::Goose),
        () if dbmate::marker(line).is_some() => Some(Layout::Dbmate),
        () => None,
    })
}

/// What a file says of itself, as in `-- atlas:txmode none`.
struct Directive<'a> {
    name: &'a str,
    text: &'a str,
    line: usize,
}

/// The directives of a file: in comments at its beginning, which an empty line separates from the SQL.
fn directives(source: &Source) -> Vec<Directive<'_>> {
    let lines: Vec<_> = sql::without_mark(&source.text).lines().collect();
    let length = lines.iter().take_while(|line| line.starts_with("--") || line.starts_with('#')).count();
    if lines.get(length).is_none_or(|line| !line.is_empty()) {
        return Vec::new();
    }
    let directive = |(line, text)| parsed(text).map(|(name, text)| Directive { name, text, line });
    (1..).zip(lines.into_iter().take(length)).filter_map(directive).collect()
}

/// Name and text of a directive.
fn parsed(line: &str) -> Option<(&str, &str)> {
    let (_, directive) = line.split_once("atlas:")?;
    let end = directive.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(directive.len());
    Some((&directive[..end], directive[end..].trim()))
}

/// The checksum of each file, after `atlas.sum` has been found to hold just these.
fn verified<'a>(sources: &Sources, files: &[&'a Source]) -> Result<Vec<(&'a str, String)>, LayoutError> {
    let error = |reason: String| Err(LayoutError::Journal { journal: SUM.to_owned(), reason });
    let Some(sum) = sources.files.iter().find(|file| file.path == SUM) else {
        return error("missing; run atlas migrate hash".to_owned());
    };
    let sums = sums(files);
    let mut lines = sum.text.lines();
    let total = lines.next().unwrap_or_default();
    let mut recorded = Vec::new();
    for (number, line) in (2..).zip(lines) {
        match line.split_once("h1:") {
            Some((path, sum)) => recorded.push((path.trim(), sum)),
            None => return Err(LayoutError::content(SUM, number, "expected the name of a file and its checksum")),
        }
    }
    let hint = "look at what has changed, then run atlas migrate hash";
    // Each sum covers the files before it, too: the first that differs is the one that has changed.
    for (at, (path, sum)) in sums.iter().enumerate() {
        match recorded.get(at) {
            Some((other, recorded)) if other == path && recorded == sum => {}
            Some((other, _)) if other == path => return error(format!("{path} has changed since; {hint}")),
            _ if recorded.iter().any(|(other, _)| other == path) => {
                return error(format!("{} is listed but missing; {hint}", recorded[at].0));
            }
            _ => return error(format!("{path} is not listed; {hint}")),
        }
    }
    if let Some((path, _)) = recorded.get(sums.len()) {
        return error(format!("{path} is listed but missing; {hint}"));
    }
    if total.strip_prefix("h1:") != Some(&sum_of(&sums)) {
        return error(format!("its first line does not belong to the others; {hint}"));
    }
    Ok(sums)
}

/// The checksums as Atlas records them: of the names and texts of all files up to each.
fn sums<'a>(files: &[&'a Source]) -> Vec<(&'a str, String)> {
    let mut hash = Sha256::new();
    let mut sums = Vec::new();
    for file in files {
        hash.update(&file.path);
        let first = file.text.lines().next().and_then(parsed);
        if first == Some(("sum", "ignore")) {
            continue;
        }
        hash.update(file.text.as_bytes());
        sums.push((file.path.as_str(), base64(&hash.clone().finalize())));
    }
    sums
}

/// The checksum of the checksums.
fn sum_of(sums: &[(&str, String)]) -> String {
    let mut hash = Sha256::new();
    for (path, sum) in sums {
        hash.update(path);
        hash.update(sum);
    }
    base64(&hash.finalize())
}

/// Base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for letter in 0..4 {
            let place = (bits >> (18 - 6 * letter)) & 63;
            // Writing to a string never fails.
            let _ = text.write_char(if letter > three.len() { '=' } else { LETTERS[place as usize].into() });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::tests::{entries, folder, refusal};

    const A: (&str, &str) = ("20260101_a_b.sql", "SELECT 1;\n");
    const B: (&str, &str) = ("20260102.sql", "-- atlas:txmode none\n\nVACUUM;\n");
    const C: (&str, &str) = ("20260103_c.sql", "-- atlas:sum ignore\nSELECT 3;\n");
    const D: (&str, &str) = ("20260104_d.sql", "-- atlas:checkpoint\n\nSELECT 4;\n");
    const LISTED: &str = "20260101_a_b.sql h1:qMDh4Sbaai24Kq5c8O1yAKOMt777TE3T64H7LSQGU+A=\n\
                          20260102.sql h1:1OXTcWbZE86KalQKtbTd3mw9rBSECO8qnLdeKu5ljto=\n";

    fn sum(total: &str, listed: &str) -> String {
        format!("h1:{total}=\n{listed}")
    }

    /// A folder whose sum is right.
    fn summed<'a>(files: &[(&'a str, &'a str)], sum: &'a mut String) -> Vec<(&'a str, &'a str)> {
        let sources = Sources::embedded("f", files.iter().copied());
        let sums = sums(&sources.files.iter().collect::<Vec<_>>());
        let listed = sums.iter().map(|(path, sum)| format!("{path} h1:{sum}\n")).collect::<Vec<_>>().concat();
        *sum = format!("h1:{}\n{listed}", sum_of(&sums));
        files.iter().copied().chain([(SUM, sum.as_str())]).collect()
    }

    #[test]
    fn atlas_reads_files_by_name_and_their_sums() {
        let last = "20260104_d.sql h1:aQtAvXPuwZ/br+l+y63EWRnXkQyGYWKb0pqsly0i2GM=\n";
        let sum = sum("t4zgfsjdhnVHumHc9S4z/RpLZae7FRziFHGwLMhqf/s", &format!("{LISTED}{last}"));
        let folder = folder(Layout::Atlas, &[D, C, B, A, (SUM, &sum), ("x/1_a.sql", "")]);
        assert_eq!(
            entries(&folder),
            [
                ("20260101_a_b.sql", "20260101", "a_b"),
                ("20260102.sql", "20260102", ""),
                ("20260103_c.sql", "20260103", "c"),
                ("20260104_d.sql", "20260104", "d"),
            ]
        );
        let [a, b, c, d] = &folder.files[..] else { panic!() };
        assert_eq!((a.up.sending, b.up.sending), (Sending::Transaction, Sending::Statements));
        assert_eq!((a.is_baseline, d.is_baseline, folder.left_out.len()), (false, true, 1));
        let recorded = Some(Checksum::only("1OXTcWbZE86KalQKtbTd3mw9rBSECO8qnLdeKu5ljto="));
        assert_eq!((&b.checksum, &c.checksum), (&recorded, &None));
    }

    #[test]
    fn atlas_refuses_a_sum_that_does_not_match() {
        let good = sum("THgvEAWw1n2/9q/RZnGh0Mx6rVFZt3rxEUTDQkrVFpY", LISTED);
        let refusal = |files: &[(&str, &str)], sum: &str| {
            refusal(Layout::Atlas, &files.iter().copied().chain([(SUM, sum)]).collect::<Vec<_>>())
        };
        assert_eq!(folder(Layout::Atlas, &[A, B, (SUM, &good)]).files.len(), 2);
        assert_eq!(
            super::super::names::tests::refusal(Layout::Atlas, &[A]),
            "atlas.sum: missing; run atlas migrate hash"
        );
        let hint = "look at what has changed, then run atlas migrate hash";
        for (files, expected) in [
            (&[("20260101_a_b.sql", "SELECT 2;\n"), B][..], "20260101_a_b.sql has changed since"),
            (&[A, (B.0, "VACUUM;\n")], "20260102.sql has changed since"),
            (&[A, B, D], "20260104_d.sql is not listed"),
            (&[("1.sql", ""), A, B], "1.sql is not listed"),
            (&[B], "20260101_a_b.sql is listed but missing"),
            (&[A], "20260102.sql is listed but missing"),
        ] {
            assert_eq!(refusal(files, &good), format!("atlas.sum: {expected}; {hint}"));
        }
        let first = format!("atlas.sum: its first line does not belong to the others; {hint}");
        assert_eq!(refusal(&[A, B], &sum("THgv", LISTED)), first);
        assert_eq!(refusal(&[A], "h1:x=\n\n"), "line 2 of atlas.sum: expected the name of a file and its checksum");
    }

    #[test]
    fn atlas_refuses_directives_and_files_that_mean_something_else() {
        let mut sum = String::new();
        let mut refusal = |path: &str, text: &str| refusal(Layout::Atlas, &summed(&[(path, text)], &mut sum));
        for (text, expected) in [
            (
                "-- a\n-- atlas:txmode no\n\nSELECT 1;",
                "line 2 of 1_a.sql: atlas:txmode is none, file or all, not \"no\"",
            ),
            (
                "-- atlas:delimiter //\n\nSELECT 1//",
                "line 1 of 1_a.sql: statements that end with \"//\" are not supported, only those with \";\"",
            ),
            ("-- +goose Up\n", "1_a.sql: written for goose: give \"goose\" as the layout"),
            ("-- migrate:up\n", "1_a.sql: written for dbmate: give \"dbmate\" as the layout"),
        ] {
            assert_eq!(refusal("1_a.sql", text), expected);
        }
        assert_eq!(
            refusal("1_a.down.sql", ""),
            "1_a.down.sql: written for golang-migrate: give \"golang-migrate\" as the layout"
        );
        let skipped = "Atlas would skip a file of this name; expected <version>_<name>.sql";
        assert_eq!(refusal("1_a.SQL", ""), format!("1_a.SQL: {skipped}"));
        assert_eq!(refusal("_a.sql", ""), "_a.sql: a version is missing; expected <version>_<name>.sql");
    }

    #[test]
    fn atlas_reads_directives_only_from_a_header() {
        let mut sum = String::new();
        let mut sending =
            |text: &str| folder(Layout::Atlas, &summed(&[("1_a.sql", text)], &mut sum)).files[0].up.sending;
        assert_eq!(sending("-- why\r\n-- atlas:txmode none\r\n\r\nVACUUM;"), Sending::Statements);
        assert_eq!(sending("-- atlas:txmode none\nSELECT 1;"), Sending::Transaction);
        assert_eq!(sending("-- atlas:delimiter -- end\n\nSELECT 1;\n-- end\n"), Sending::Transaction);
    }

    #[test]
    fn base64_is_padded() {
        assert_eq!(
            ["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes())),
            ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]
        );
    }
}
