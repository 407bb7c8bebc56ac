//! Which set is meant: flag before environment before `migrate.toml` before what is built in.

use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::manifest::{Known, Manifest, ManifestError, SetConfig, is_name};
use super::near;
use super::product::Product;
use crate::db::{Hint, Program};

/// The name of a set that is given as a folder alone. `migrate init` writes it, so that a manifest continues its history.
pub(super) const MAIN: &str = "main";

/// The set that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// A built-in one, by its name.
    BuiltIn(String),
    /// A folder of files.
    Folder(Box<SetConfig>),
}

impl Choice {
    /// The name of the set.
    pub fn name(&self) -> &str {
        match self {
            Self::BuiltIn(name) => name,
            Self::Folder(config) => &config.name,
        }
    }
}

/// Reads `--set`. What cannot be a name is refused unread: it may be a URL, with a password.
pub(super) fn set_name(name: &str) -> Result<String, String> {
    if is_name(name) {
        return Ok(name.to_owned());
    }
    Err("the name of a set consists of lower-case letters, digits and '-', at most 40 of them".to_owned())
}

/// Finds out which set is meant. The manifest is read and checked even where it is not needed.
pub(super) fn choose(
    product: &Product,
    set: Option<&str>,
    dir: Option<PathBuf>,
    config: Option<&Path>,
) -> Result<Choice, Failure> {
    let here = std::env::current_dir().map_err(|error| {
        Failure::usage(format!("the current folder cannot be read: {error}")).hint("change to a folder that is there")
    })?;
    let hooks = || product.hook_names();
    let known = Known { sets: product.contents().map(|content| content.name().to_owned()).collect(), hooks: &hooks };
    let manifest = Manifest::find(&here, config, &known)?;
    let dir = dir.map(|dir| folder(&here, &dir)).transpose()?;
    pick(manifest.as_ref(), &known.sets, set, dir)
}

/// Picks one of them. The first built-in set is the default where there is no manifest.
fn pick(
    manifest: Option<&Manifest>,
    built_in: &[String],
    set: Option<&str>,
    dir: Option<PathBuf>,
) -> Result<Choice, Failure> {
    let named = |name: &str| manifest.and_then(|manifest| manifest.set(name));
    let folder = |config: SetConfig| Ok(Choice::Folder(Box::new(config)));
    match (set, dir) {
        (Some(name), Some(dir)) if named(name).is_some() => {
            folder(SetConfig { dir, ..named(name).cloned().unwrap_or_default() })
        }
        (Some(name), Some(dir)) if built_in.iter().any(|own| own == name) => {
            folder(SetConfig { over: Some(name.to_owned()), ..SetConfig::of_folder(name, dir) })
        }
        (Some(name), _) => match named(name) {
            Some(config) => folder(config.clone()),
            None if built_in.iter().any(|own| own == name) => Ok(Choice::BuiltIn(name.to_owned())),
            None => Err(unknown(name, manifest, built_in)),
        },
        // A folder that the manifest describes is taken as it describes it.
        (None, Some(dir)) => match manifest.and_then(|manifest| manifest.set_of(&dir)) {
            Some(config) => folder(config.clone()),
            None => folder(SetConfig::of_folder(MAIN, dir)),
        },
        (None, None) => match (manifest, built_in) {
            (Some(manifest), _) => match manifest.default_set() {
                Some(config) => folder(config.clone()),
                None => Err(several(manifest)),
            },
            (None, [first, ..]) => Ok(Choice::BuiltIn(first.clone())),
            (None, []) => {
                let hint =
                    |program: &Program| format!("pass --dir, or run {}", program.command("init").unwrap_or_default());
                Err(Failure::usage("no folder of migrations given").hint(Hint::of(hint)))
            }
        },
    }
}

fn folder(here: &Path, dir: &Path) -> Result<PathBuf, Failure> {
    let path = here.join(dir);
    if path.is_dir() {
        return Ok(path);
    }
    let what = if path.exists() { "is not a folder" } else { "does not exist" };
    Err(Failure::usage(format!("{} {what}", dir.display()))
        .hint("--dir or MIGRATE_DIR names the folder of the migrations"))
}

fn unknown(name: &str, manifest: Option<&Manifest>, built_in: &[String]) -> Failure {
    let sets = manifest.into_iter().flat_map(Manifest::sets).map(|set| set.name.clone());
    let known: Vec<String> = sets.chain(built_in.iter().cloned()).collect();
    Failure::usage(format!("there is no set {name}")).hint(near::advice(name, "sets", &known))
}

fn several(manifest: &Manifest) -> Failure {
    let sets: Vec<&str> = manifest.sets().iter().map(|set| set.name.as_str()).collect();
    let message = format!("{} has several sets, and no default: {}", manifest.file, sets.join(", "));
    let first = sets.first().copied().unwrap_or_default();
    Failure::usage(message).hint(format!("pass --set, or write default = \"{first}\" at the top of the file"))
}

impl From<ManifestError> for Failure {
    fn from(error: ManifestError) -> Self {
        let failure = Self::usage(error.to_string());
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manifest of these sets, all in one folder.
    fn manifest(text: &str) -> Manifest {
        let known = Known { sets: built_in(), hooks: &Vec::new };
        Manifest::parse("migrate.toml", text, &std::env::temp_dir(), &known).unwrap()
    }

    fn built_in() -> Vec<String> {
        vec!["notes".to_owned(), "users".to_owned()]
    }

    /// What is chosen: a built-in set, or a folder with what lies over it; or why nothing is.
    fn chosen(manifest: Option<&Manifest>, set: Option<&str>, dir: Option<&str>) -> String {
        match pick(manifest, &built_in(), set, dir.map(PathBuf::from)) {
            Ok(Choice::BuiltIn(name)) => format!("built-in {name}"),
            Ok(Choice::Folder(config)) => {
                let over = config.over.map(|over| format!(" under {over}")).unwrap_or_default();
                format!("{} in {}{over}", config.name, config.dir.display())
            }
            Err(failure) => {
                format!("{}; {}", failure.message, failure.next(&Program::named("migrate")).unwrap_or_default())
            }
        }
    }

    #[test]
    fn a_flag_comes_before_the_manifest_and_that_before_what_is_built_in() {
        let one = manifest("[set.app]\ndir = \".\"\n");
        let temp = std::env::temp_dir().join(".").display().to_string();
        assert_eq!(chosen(None, None, None), "built-in notes");
        assert_eq!(chosen(None, Some("users"), None), "built-in users");
        assert_eq!(chosen(Some(&one), None, None), format!("app in {temp}"));
        assert_eq!(chosen(Some(&one), Some("users"), None), "built-in users");
        assert_eq!(chosen(Some(&one), Some("app"), Some("/x")), "app in /x");
        assert_eq!(chosen(None, None, Some("/x")), "main in /x");
        assert_eq!(chosen(None, Some("notes"), Some("/x")), "notes in /x under notes");
    }

    #[test]
    fn a_folder_is_taken_as_the_manifest_describes_it() {
        let one = manifest("[set.app]\ndir = \".\"\nover = \"notes\"\n");
        let temp = std::env::temp_dir().display().to_string();
        assert_eq!(
            chosen(Some(&one), None, Some(&temp)),
            format!("app in {} under notes", one.sets()[0].dir.display())
        );
        assert_eq!(chosen(Some(&one), None, Some("/x")), "main in /x");
    }

    #[test]
    fn what_is_not_there_is_named_with_what_is() {
        let two = manifest("[set.app]\ndir = \".\"\n[set.ops]\ndir = \".\"\n");
        assert_eq!(
            chosen(Some(&two), None, None),
            "migrate.toml has several sets, and no default: app, ops; pass --set, or write default = \"app\" at the top of \
             the file"
        );
        assert_eq!(chosen(Some(&two), Some("opps"), None), "there is no set opps; did you mean ops?");
        let all = "there is no set zzz; the sets are app, ops, notes, users";
        assert_eq!(chosen(Some(&two), Some("zzz"), None), all);
        assert_eq!(chosen(None, Some("zzz"), Some("/x")), "there is no set zzz; the sets are notes, users");
    }
}
