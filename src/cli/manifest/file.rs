//! Finds and reads the manifest.

use std::fs;
use std::path::{Path, PathBuf};

use super::config::SetConfig;
use super::document::Document;
use super::error::ManifestError;
use super::known::Known;
use super::set;

/// What it is called.
pub(crate) const FILE: &str = "migrate.toml";

/// A manifest, read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The file, as it is shown.
    pub file: String,
    /// The set that is meant if none is named.
    default: Option<String>,
    sets: Vec<SetConfig>,
}

impl Manifest {
    /// Reads the manifest that is named, or else the first one in `start` and the folders above it.
    pub fn find(start: &Path, explicit: Option<&Path>, known: &Known<'_>) -> Result<Option<Self>, ManifestError> {
        let (path, shown) = if let Some(file) = explicit {
            (start.join(file), file.display().to_string())
        } else {
            let Some(folder) = start.ancestors().find(|folder| folder.join(FILE).is_file()) else { return Ok(None) };
            let path = folder.join(FILE);
            let shown = if folder == start { FILE.to_owned() } else { path.display().to_string() };
            (path, shown)
        };
        let unreadable = |reason: String| ManifestError::Unreadable { file: shown.clone(), reason };
        let bytes = fs::read(&path).map_err(|error| unreadable(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8".to_owned()))?;
        Self::parse(&shown, &text, path.parent().unwrap_or(start), known).map(Some)
    }

    /// Reads the text of a manifest that stands in `folder`.
    pub fn parse(file: &str, text: &str, folder: &Path, known: &Known<'_>) -> Result<Self, ManifestError> {
        let whole = text.strip_prefix('\u{feff}').unwrap_or(text);
        let document = Document { file, whole };
        let root = document.parse()?;
        let (mut default, mut sets) = (None, Vec::new());
        for entry in document.entries(root.get_ref(), "at the top level", &["default", "set"])? {
            if entry.key == "default" {
                default = Some((entry, document.text(&entry)?));
                continue;
            }
            let table = document.table(&entry, "a table: [set.<name>]")?;
            for set in super::document::ordered(table) {
                sets.push(set::read(&document, &set, folder, known)?);
            }
        }
        if sets.is_empty() {
            return Err(ManifestError::NoSet { file: file.to_owned() });
        }
        if let Some((entry, name)) = &default
            && !sets.iter().any(|set| set.name == *name)
        {
            let names = sets.iter().map(|set| set.name.clone()).collect();
            return Err(document.unknown(entry, name.clone(), "set", names));
        }
        Ok(Self { file: file.to_owned(), default: default.map(|(_, name)| name), sets })
    }

    /// Its sets, in the order of the file.
    pub fn sets(&self) -> &[SetConfig] {
        &self.sets
    }

    /// The set of this name.
    pub fn set(&self, name: &str) -> Option<&SetConfig> {
        self.sets.iter().find(|set| set.name == name)
    }

    /// The set that is meant if none is named: the default, or the only one.
    pub fn default_set(&self) -> Option<&SetConfig> {
        match (&self.default, self.sets.as_slice()) {
            (Some(name), _) => self.set(name),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// The set whose folder this is.
    pub fn set_of(&self, dir: &Path) -> Option<&SetConfig> {
        let real = |path: &Path| -> Option<PathBuf> { path.canonicalize().ok() };
        let wanted = real(dir)?;
        self.sets.iter().find(|set| real(&set.dir).as_ref() == Some(&wanted))
    }
}
