//! Rebuilds the crate when a migration file appears, changes or goes: the macro that embeds them watches only files
//! it already knows. And refuses names that the macro would leave out without a word.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=migrations");
    let files = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for file in files(Path::new("migrations")).flat_map(|set| files(&set).collect::<Vec<_>>()) {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !is_migration(&name) {
            println!(
                "cargo::error=migrations: {name} is not named V<number>__<what_it_does>.sql or R__<what_it_makes>.sql"
            );
        }
    }
}

fn is_migration(name: &str) -> bool {
    let is_word = |what: &str| !what.is_empty() && what.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let Some(name) = name.strip_suffix(".sql") else { return false };
    match name.split_once("__") {
        Some(("R", what)) => is_word(what),
        Some((version, what)) => {
            version.strip_prefix('V').is_some_and(|number| number.parse::<u32>().is_ok()) && is_word(what)
        }
        None => false,
    }
}
