//! Rebuilds the crate when a migration file appears, changes or goes: the macro that embeds them watches only files
//! it already knows. And refuses names that the macro would leave out without a word.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=migrations");
    let files = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for file in files(Path::new("migrations")).flat_map(|set| files(&set).collect::<Vec<_>>()) {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !is_migration(&name) {
            println!("cargo::error=migrations: {name} is not named V<number>__<what_it_does>.sql");
        }
    }
}

fn is_migration(name: &str) -> bool {
    let parts =
        name.strip_prefix('V').and_then(|rest| rest.strip_suffix(".sql")).and_then(|rest| rest.split_once("__"));
    parts.is_some_and(|(version, what)| {
        version.parse::<u32>().is_ok()
            && !what.is_empty()
            && what.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}
