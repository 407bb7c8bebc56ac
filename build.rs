//! Rebuilds the crate when a file in `migrations/` or `hooks/` appears, changes or goes: the macro that embeds migrations
//! watches only files that it already knows. And refuses what would be left out without a word, or fail every command.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn main() {
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let Some(root) = package.ancestors().find(|folder| folder.join("migrations").is_dir()) else { return };
    let (migrations, hooks) = (root.join("migrations"), root.join("hooks"));
    for folder in [&migrations, &hooks] {
        println!("cargo::rerun-if-changed={}", folder.display());
    }
    for fault in faults_of_migrations(&migrations).into_iter().chain(faults_of_hooks(&hooks)) {
        println!("cargo::error={fault}");
    }
    for warning in undescribed(&migrations) {
        println!("cargo::warning={warning}");
    }
}

/// What is wrong with the names of the files in the folders of all sets, a line each.
pub(crate) fn faults_of_migrations(migrations: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    for (set, is_folder) in entries(migrations) {
        if !is_folder {
            if Path::new(&set).extension().is_some_and(|ending| ending == "sql") {
                faults.push(format!("migrations/{set}: belongs into the folder of a set, such as migrations/platform"));
            }
            continue;
        }
        let mut versions: BTreeMap<i64, String> = BTreeMap::new();
        for (name, is_folder) in entries(&migrations.join(&set)) {
            let fault = if is_folder {
                Err("is a folder: files of a set lie beside each other".into())
            } else {
                version(&name)
            };
            let fault = match fault {
                Ok(None) => continue,
                Ok(Some(version)) => match versions.insert(version, name.clone()) {
                    Some(other) => format!("version {version} is also in {other}"),
                    None => continue,
                },
                Err(fault) => fault,
            };
            faults.push(format!("migrations/{set}/{name}: {fault}"));
        }
    }
    faults
}

/// The version in a file's name; none if it is no versioned migration, or the way back of one.
fn version(name: &str) -> Result<Option<i64>, String> {
    const FORM: &str = "the form is V<number>__<what_it_does>.sql, or R__<what_it_makes>.sql";
    if Path::new(&name).extension().is_some_and(|ending| ending == "objects") {
        return Ok(None);
    }
    if let Some(way_back) = name.strip_suffix(".down.sql") {
        return version(&format!("{way_back}.sql")).map(|_| None);
    }
    let Some(stem) = name.strip_suffix(".sql") else {
        let ending = name.find('.').map_or("no ending", |dot| &name[dot..]);
        return Err(format!("ends in {ending}: a migration ends in .sql"));
    };
    let Some((prefix, what)) = stem.split_once("__") else {
        let found = if stem.contains('_') {
            "has one underscore behind the number: use two"
        } else {
            "has no __ behind the number"
        };
        return Err(format!("{found}; {FORM}"));
    };
    if what.is_empty() {
        return Err(format!("has an empty name; {FORM}"));
    }
    if what.contains('-') {
        return Err("contains a dash: use _".to_owned());
    }
    if let Some(other) = what.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '_') {
        return Err(format!("contains {other:?}: use letters, digits and _"));
    }
    if prefix == "R" {
        return Ok(None);
    }
    let Some(number) = prefix.strip_prefix('V') else {
        let small = prefix.starts_with(['v', 'r']);
        return Err(format!(
            "{}; {FORM}",
            if small { "begins with a lower-case letter" } else { "begins with neither V nor R__" }
        ));
    };
    if number.starts_with(['+', '-']) {
        return Err("the number has a sign".to_owned());
    }
    if number.is_empty() || !number.chars().all(|c| c.is_ascii_digit()) {
        return Err(format!("{number:?} is not a number; {FORM}"));
    }
    let largest = i64::MAX;
    number.parse().map(Some).map_err(|_| format!("number too large: at most {largest}"))
}

/// Versions of sets with a description that are not described, a line each.
pub(crate) fn undescribed(migrations: &Path) -> Vec<String> {
    let mut missing = Vec::new();
    for (set, _) in entries(migrations).into_iter().filter(|(_, is_folder)| *is_folder) {
        let file = format!("{set}.objects");
        let places =
            [(migrations.join(&file), file.clone()), (migrations.join(&set).join(&file), format!("{set}/{file}"))];
        let Some((text, file)) =
            places.iter().find_map(|(path, name)| Some((std::fs::read_to_string(path).ok()?, name)))
        else {
            continue;
        };
        let versions = entries(&migrations.join(&set)).into_iter().filter_map(|(name, _)| version(&name).ok()?);
        let mut versions: Vec<i64> = versions.filter(|v| !text.lines().any(|line| line == format!("V{v}"))).collect();
        versions.sort_unstable();
        missing
            .extend(versions.iter().map(|v| format!("migrations/{file} does not describe V{v}: run script/objects")));
    }
    missing
}

/// Files in `hooks/` that are not compiled, a line each.
pub(crate) fn faults_of_hooks(hooks: &Path) -> Vec<String> {
    let listed = std::fs::read_to_string(hooks.join("mod.rs")).unwrap_or_default();
    let is_listed = |module: &str| listed.lines().any(|line| line.trim_end().ends_with(&format!("mod {module};")));
    let files = entries(hooks).into_iter().filter_map(|(name, _)| name.strip_suffix(".rs").map(str::to_owned));
    let left_out = files.filter(|module| module != "mod" && !is_listed(module));
    left_out.map(|module| format!("hooks/{module}.rs is not in hooks/mod.rs: add pub(crate) mod {module};")).collect()
}

/// What is in a folder, by name, and whether it is a folder itself. Hidden files are somebody's own.
fn entries(folder: &Path) -> Vec<(String, bool)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut entries: Vec<_> =
        entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path().is_dir())).collect();
    entries.retain(|(name, _)| !name.starts_with('.'));
    entries.sort();
    entries
}
