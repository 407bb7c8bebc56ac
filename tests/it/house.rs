//! How the house is built: which crate may use which, no circle between files, no file too long, and no room but the
//! platform's that knows what it is used for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The rooms that know no set by name.
const GENERAL: [&str; 5] = ["src/db", "src/layout", "src/engine", "src/repair", "src/cli"];

/// From the ground up: a crate uses only crates before it.
const FLOORS: [&str; 8] = [
    "migrate-db",
    "migrate-layout",
    "migrate-engine",
    "migrate-repair",
    "migrate-cli",
    "migrate-usage-events",
    "migrate-platform",
    "migrate",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a folder that end in one of these.
fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut folders = vec![root().join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| endings.iter().any(|e| ending == *e)) {
                files.push(path);
            }
        }
    }
    assert!(!files.is_empty(), "{folder} is empty");
    files.sort();
    files
}

/// A file's lines with their numbers, up to its tests.
fn lines(file: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(file).unwrap();
    let code = text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
    code.enumerate().map(|(at, line)| (at + 1, line.to_owned())).collect()
}

fn relative(file: &Path) -> String {
    file.strip_prefix(root()).unwrap().display().to_string()
}

#[test]
fn only_the_platforms_room_knows_the_platform() {
    let mut leaks = Vec::new();
    for file in GENERAL.iter().flat_map(|room| files(room, &["rs", "sql", "css"])) {
        for (number, line) in lines(&file) {
            let lower = line.to_lowercase();
            let words = ["task_usage", "hourly", "multica", "platform", "codex"];
            for word in words.into_iter().filter(|word| lower.contains(word)) {
                leaks.push(format!("{}:{number}: {word}: {}", relative(&file), line.trim()));
            }
        }
    }
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));
}

#[test]
fn no_source_file_is_longer_than_400_lines() {
    let sources = ["src", "hooks"].into_iter().flat_map(|folder| files(folder, &["rs"]));
    let long: Vec<String> = sources
        .map(|file| (fs::read_to_string(&file).unwrap().lines().count(), file))
        .filter(|(lines, _)| *lines > 400)
        .map(|(lines, file)| format!("{}: {lines} lines", relative(&file)))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn a_crate_uses_only_crates_below_it() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let floor = |name: &str| FLOORS.iter().position(|known| *known == name);
    let mut seen = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let here = floor(name).unwrap_or_else(|| panic!("{name} has no place in the house"));
        seen.insert(here);
        for used in package["dependencies"].as_array().unwrap() {
            let used = used["name"].as_str().unwrap();
            assert!(floor(used).is_none_or(|below| below < here), "{name} uses {used}");
        }
    }
    assert_eq!(seen.len(), FLOORS.len(), "a crate is missing");
}

/// A file's module as a path inside its crate: `a/b.rs` and `a/b/mod.rs` are `a::b`, the crate's root is nothing.
fn module(source: &Path, file: &Path) -> Vec<String> {
    let mut path: Vec<String> = file
        .strip_prefix(source)
        .unwrap()
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if path.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        path.pop();
    }
    path
}

/// What the `use` lines of a file name, as paths: groups are taken apart.
fn used(text: &str) -> Vec<String> {
    fn apart(prefix: &str, tree: &str, into: &mut Vec<String>) {
        let Some((head, group)) = tree.split_once('{') else {
            return into.push(format!("{prefix}{}", tree.trim()));
        };
        let prefix = format!("{prefix}{}", head.trim());
        let (mut depth, mut start) = (0, 0);
        let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
        for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    apart(&prefix, &group[start..at], into);
                    start = at + 1;
                }
                _ => {}
            }
        }
    }
    let mut paths = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("use ") {
        let begins = rest[..at].rsplit('\n').next().is_some_and(|line| line.trim_start().is_empty());
        rest = &rest[at + 4..];
        if begins {
            let end = rest.find(';').unwrap_or(rest.len());
            apart("", &rest[..end].replace('\n', " "), &mut paths);
        }
    }
    paths
}

/// Which files of a crate each of its files uses. What a module takes from its parent's re-exports counts as from the parent,
/// where the parent only lists modules (`mod`, `pub use`): those are looked through.
fn uses(source: &Path, files: &[PathBuf]) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let modules: BTreeMap<Vec<String>, String> = files
        .iter()
        .map(|file| (module(source, file), lines(file).into_iter().map(|(_, line)| line + "\n").collect()))
        .collect();
    // The file in which a path ends, through re-exports.
    let resolve = |path: &[String]| -> Option<Vec<String>> {
        let mut path = path.to_vec();
        for _ in 0..8 {
            let home = (0..=path.len()).rev().map(|end| &path[..end]).find(|start| modules.contains_key(*start))?;
            let Some(item) = path.get(home.len()) else {
                return Some(home.to_vec());
            };
            let exported = modules[home].replace("pub(crate) use", "pub use").replace("pub(super) use", "pub use");
            let exports = exported.replace("pub use ", "\nuse ");
            let found = used(&exports)
                .into_iter()
                .find(|used| used.rsplit("::").next() == Some(item) && modules[home].contains("pub"));
            match found.map(|used| absolute(home, &used)) {
                Some(Some(next)) if next != path => path = next,
                _ => return Some(home.to_vec()),
            }
        }
        None
    };
    let of = |(module, text): (&Vec<String>, &String)| {
        let paths = used(text).into_iter().filter_map(|path| absolute(module, &path));
        let homes: BTreeSet<_> = paths.filter_map(|path| resolve(&path)).filter(|home| home != module).collect();
        (module.clone(), homes)
    };
    modules.iter().map(of).collect()
}

/// `super::x` and `crate::x` as a path from the crate's root; none for what is of another crate.
fn absolute(module: &[String], path: &str) -> Option<Vec<String>> {
    let path = path.split(" as ").next()?.trim();
    let mut parts = path.split("::").map(str::to_owned).collect::<Vec<_>>();
    let mut base = match parts.first()?.as_str() {
        "crate" => Vec::new(),
        "super" => module[..module.len().checked_sub(1)?].to_vec(),
        "self" => module.to_vec(),
        _ => return None,
    };
    parts.remove(0);
    while parts.first().is_some_and(|part| part == "super") {
        base.pop()?;
        parts.remove(0);
    }
    parts.retain(|part| part != "self" && part != "*");
    base.extend(parts);
    Some(base)
}

#[test]
fn no_files_of_a_crate_use_each_other_in_a_circle() {
    let mut circles = Vec::new();
    for room in GENERAL.into_iter().chain(["src/platform", "src/usage_events"]) {
        let source = root().join(room);
        let uses = uses(&source, &files(room, &["rs"]));
        let reaches = |from: &Vec<String>, to: &Vec<String>| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
            while let Some(module) = next.pop() {
                if module == to {
                    return true;
                }
                // What the root of a crate lists, it does not use.
                if !module.is_empty() && seen.insert(module) {
                    next.extend(&uses[module]);
                }
            }
            false
        };
        for (module, used) in uses.iter().filter(|(module, _)| !module.is_empty()) {
            for used in used.iter().filter(|used| reaches(used, module)) {
                circles.push(format!("{room}: {} uses {}", module.join("::"), used.join("::")));
            }
        }
    }
    assert!(circles.is_empty(), "circles:\n{}", circles.join("\n"));
}
