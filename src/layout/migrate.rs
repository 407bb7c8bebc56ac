//! This program's own layout: `V<number>__<name>.sql` or `<number>_<name>.sql`, either as `.up.sql` with the way back
//! beside it as `.down.sql`, and `R__<name>.sql`, which is applied again whenever it changes. All in one folder.

use super::names::{self, Half, Way};
use super::{
    Directive, Folder, Layout, LayoutError, Repeatable, Script, Sending, Source, Sources, Version, folder, sql,
};

/// The directive of a file that runs outside a transaction.
const NO_TRANSACTION: &str = "no-transaction";

/// Reads the folder.
pub(crate) fn read(sources: &Sources) -> Result<Folder, LayoutError> {
    let mut left_out = Vec::new();
    let mut halves = Vec::new();
    let mut repeatables = Vec::new();
    for source in names::top(sources, Layout::Migrate, &mut left_out) {
        match source.path.strip_prefix("R__") {
            Some(rest) => repeatables.push(repeatable(source, rest)?),
            None => halves.push(half(source)?),
        }
    }
    let files = names::pairs(halves)?.into_iter().map(file).collect::<Result<Vec<_>, _>>()?;
    names::refuse_empty(sources, files.is_empty() && repeatables.is_empty())?;
    Ok(Folder { layout: Layout::Migrate, files, repeatables, left_out })
}

/// Number, name, and whether it is a way back, of a file that has a name of this layout.
pub(crate) fn parts(path: &str) -> Option<(&str, &str, Way)> {
    let stem = path.strip_suffix(".sql")?;
    let (stem, way) = match (stem.strip_suffix(".up"), stem.strip_suffix(".down")) {
        (Some(stem), _) => (stem, Way::Up),
        (_, Some(stem)) => (stem, Way::Down),
        _ => (stem, Way::Up),
    };
    let (digits, rest) = names::digits(stem.strip_prefix('V').unwrap_or(stem));
    let name = rest.strip_prefix(if stem.starts_with('V') { "__" } else { "_" })?;
    (!digits.is_empty() && !name.trim_matches('_').is_empty()).then_some((digits, name, way))
}

fn half(source: &Source) -> Result<Half<'_>, LayoutError> {
    let (digits, name, way) = parts(&source.path).ok_or_else(|| {
        names::misnamed(&source.path, format!("not a name of a migration; expected {}", names::form(Layout::Migrate)))
    })?;
    let version = Version::number(names::number(source, digits)?);
    // The way back has the same name, not only the same number.
    Ok(Half { version, key: format!("{digits}_{name}"), name: name.to_owned(), way, source })
}

fn file(pair: names::Pair) -> Result<super::File, LayoutError> {
    let (up, directives) = script(pair.up)?;
    let mut file = names::file(pair.version, pair.name.as_str(), up);
    file.described_as = pair.name;
    file.directives = directives;
    if let Some(down) = pair.down {
        let (script, directives) = script(down)?;
        if let Some(directive) = directives.iter().find(|directive| directive.text != NO_TRANSACTION) {
            let reason = format!("directive {:?} in a way back; only {NO_TRANSACTION} is known there", directive.text);
            return Err(LayoutError::content(&down.path, directive.line, reason));
        }
        file.down = Some(script);
    }
    Ok(file)
}

fn repeatable(source: &Source, rest: &str) -> Result<Repeatable, LayoutError> {
    let name = rest.strip_suffix(".sql").filter(|name| !name.trim_matches('_').is_empty());
    let name = name.ok_or_else(|| names::misnamed(&source.path, "expected R__<name>.sql"))?;
    if name.strip_suffix(".down").is_some() {
        return Err(names::misnamed(&source.path, "what is applied again whenever it changes has no way back"));
    }
    let (up, directives) = script(source)?;
    Ok(Repeatable { name: name.to_owned(), up, described_as: name.to_owned(), checksum: None, directives })
}

/// The file as a script, and its directives.
fn script(source: &Source) -> Result<(Script, Vec<Directive>), LayoutError> {
    if !sql::has_statement(&source.text) {
        return Err(LayoutError::EmptyFile { path: source.path.clone() });
    }
    let directives = folder::directives(&source.text);
    let outside = directives.iter().any(|directive| directive.text == NO_TRANSACTION);
    Ok((names::whole(source, if outside { Sending::Statements } else { Sending::Transaction }), directives))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::tests::{entries, folder, refusal};

    #[test]
    fn our_own_files_have_numbers_names_ways_back_and_directives() {
        let folder = folder(
            Layout::Migrate,
            &[
                ("V10__ten.sql", "-- why\n-- migrate: no-transaction\n-- migrate: only-if SELECT true\nSELECT 10;"),
                ("002_two_b.up.sql", "\u{feff}SELECT 2;\r\n"),
                ("002_two_b.down.sql", "-- migrate: no-transaction\nSELECT -2;"),
                ("V3__c.sql", "SELECT 3;"),
                ("V3__c.down.sql", "SELECT -3;"),
                ("R__views.sql", "-- migrate: since 3\nSELECT 4;"),
                ("R__a.sql", "SELECT 5;"),
            ],
        );
        assert_eq!(
            entries(&folder),
            [("002_two_b.up.sql", "2", "two_b"), ("V3__c.sql", "3", "c"), ("V10__ten.sql", "10", "ten")]
        );
        let [two, three, ten] = &folder.files[..] else { panic!() };
        assert_eq!((&*two.up.text, two.up.sending), ("SELECT 2;\r\n", Sending::Transaction));
        assert_eq!(two.down.as_ref().unwrap().sending, Sending::Statements);
        assert_eq!(three.down.as_ref().unwrap().path, "V3__c.down.sql");
        assert_eq!((ten.up.sending, &ten.down), (Sending::Statements, &None));
        let directive = |text: &str, line| Directive { text: text.to_owned(), line };
        assert_eq!(ten.directives, [directive("no-transaction", 2), directive("only-if SELECT true", 3)]);
        let [a, views] = &folder.repeatables[..] else { panic!() };
        assert_eq!((a.name.as_str(), &a.directives[..]), ("a", &[][..]));
        assert_eq!((views.name.as_str(), &views.directives[..]), ("views", &[directive("since 3", 1)][..]));
        assert_eq!(folder.left_out.len(), 0);
    }

    #[test]
    fn our_own_layout_refuses_names_that_are_none() {
        let form = "not a name of a migration; expected V<number>__<name>.sql, <number>_<name>.sql, either with .up.sql \
                    or .down.sql, or R__<name>.sql";
        for name in
            ["V1_a.sql", "v1__a.sql", "1-a.sql", "1_a.SQL", "U1__a.sql", "V1.2__a.sql", "a.sql", "V1__.sql", "1_.sql"]
        {
            assert_eq!(refusal(Layout::Migrate, &[(name, "SELECT 1;")]), format!("{name}: {form}"));
        }
        assert_eq!(refusal(Layout::Migrate, &[("R__.sql", "SELECT 1;")]), "R__.sql: expected R__<name>.sql");
        assert_eq!(
            refusal(Layout::Migrate, &[("R__a.down.sql", "SELECT 1;")]),
            "R__a.down.sql: what is applied again whenever it changes has no way back"
        );
    }

    #[test]
    fn our_own_layout_refuses_repeated_numbers_and_ways_back_from_nowhere() {
        let refusal = |files: &[&str]| {
            refusal(Layout::Migrate, &files.iter().map(|file| (*file, "SELECT 1;")).collect::<Vec<_>>())
        };
        assert_eq!(refusal(&["V1__a.sql", "001_b.sql"]), "version 1 is repeated: 001_b.sql and V1__a.sql");
        assert_eq!(refusal(&["1_a.sql", "1_a.up.sql"]), "version 1 is repeated: 1_a.sql and 1_a.up.sql");
        let missing = "nothing to take back: the file that applies it is missing";
        assert_eq!(refusal(&["1_a.down.sql"]), format!("1_a.down.sql: {missing}"));
        assert_eq!(refusal(&["1_a.sql", "1_b.down.sql"]), format!("1_b.down.sql: {missing}"));
        assert_eq!(refusal(&["below/1_a.sql"]), "f holds no migration");
    }

    #[test]
    fn our_own_layout_refuses_empty_files_and_directives_that_mean_nothing_on_the_way_back() {
        for text in ["", "\n", "-- migrate: no-transaction\n", "/* a */;"] {
            assert_eq!(refusal(Layout::Migrate, &[("1_a.sql", text)]), "1_a.sql is empty");
        }
        assert_eq!(refusal(Layout::Migrate, &[("1_a.sql", "SELECT 1"), ("1_a.down.sql", "")]), "1_a.down.sql is empty");
        assert_eq!(
            refusal(
                Layout::Migrate,
                &[("1_a.sql", "SELECT 1"), ("1_a.down.sql", "\n-- migrate: formerly 1\nSELECT 1")]
            ),
            "line 2 of 1_a.down.sql: directive \"formerly 1\" in a way back; only no-transaction is known there"
        );
    }
}
