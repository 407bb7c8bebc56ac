//! Repeatable migrations: files without a version, applied again whenever they, or something that they make, have changed.
//!
//! Versions build tables, once. What can be made anew at any time, such as functions and triggers, is better kept in one
//! file in its newest form. Another program may replace part of it, so it is not enough to know that the file was applied:
//! what it made is recorded with its definition (`migrate.repeatable`), and compared with what is there at every run.

use std::collections::BTreeMap;
use std::sync::Arc;

use migrate_layout::{Checksum, Script, checksum_of};
use serde::{Serialize, Serializer};

use super::hook::Hook;
use super::set_error::SetError;
use super::tool::{self, ToolTable};
use super::{Boundary, Version, forbidden, sql};

/// The directives that such a file can hold.
const KNOWN: &str = "since <version>, revision <n>";

/// A file `R__<name>.sql`.
///
/// Two lines at its top say when it is due: `-- migrate: since <version>`, once that version is applied, and
/// `-- migrate: revision <n>`, a number that grows with every change, so that an older build does not put an older form over
/// a newer one.
#[derive(Clone, Serialize)]
pub struct Repeatable {
    name: String,
    #[serde(serialize_with = "text_of", rename = "sql")]
    up: Script,
    #[serde(skip)]
    since: Option<Version>,
    #[serde(skip)]
    pub(super) revision: i64,
    #[serde(skip)]
    pub(super) checksum: u64,
    /// Whether it is applied again when something that it makes has changed.
    #[serde(skip)]
    pub(super) is_compared: bool,
    #[serde(skip)]
    pub(super) left_alone_if: Option<String>,
    #[serde(skip)]
    hooks: Vec<Arc<dyn Hook>>,
    /// What the history of the tool calls it that it was written for, and what that keeps of its text.
    #[serde(skip)]
    entry: Option<(String, Option<Checksum>)>,
}

impl Repeatable {
    /// Reads one from its name, `R__<name>`, and its text.
    ///
    /// # Errors
    ///
    /// [`SetError`] for a name of another form, a directive that is missing or unknown, or a file that says what a
    /// migration must not.
    pub fn new(name: &str, text: &str) -> Result<Self, SetError> {
        let bare = name.strip_suffix(".sql").unwrap_or(name);
        let Some(bare) = bare.strip_prefix("R__").filter(|bare| !bare.is_empty()) else {
            return Err(SetError::Name { name: name.to_owned(), reason: "expected R__<name>".to_owned() });
        };
        let up = Script::own(&format!("R__{bare}.sql"), sql::without_mark(text));
        let file = up.path.clone();
        let (mut since, mut revision) = (None, None);
        for (at, directive) in sql::directives(text) {
            match directive.split_once(' ').map(|(word, number)| (word, number.trim().parse::<i64>())) {
                Some(("since", Ok(version))) => since = Some(Version::number(version)),
                Some(("revision", Ok(number))) => revision = Some(number),
                _ => {
                    let (line, directive) = (sql::line_at(text, at), directive.to_owned());
                    return Err(SetError::Directive { file, line, directive, known: KNOWN });
                }
            }
        }
        let (Some(since), Some(revision)) = (since, revision) else {
            return Err(SetError::NotPlaced { name: name.to_owned() });
        };
        forbidden::statements(&up)?;
        let checksum = checksum_of(bare, 0, text);
        Ok(Self {
            name: bare.to_owned(),
            up,
            since: Some(since),
            revision,
            checksum,
            is_compared: true,
            left_alone_if: None,
            hooks: Vec::new(),
            entry: None,
        })
    }

    /// A repeatable file of a folder. It is applied after all versions, and again when its text has changed.
    pub(super) fn from_folder(file: migrate_layout::Repeatable) -> Result<Self, SetError> {
        let (mut since, mut revision) = (None, 1);
        for directive in &file.directives {
            match directive.text.split_once(' ').map(|(word, number)| (word, number.trim().parse::<i64>())) {
                Some(("since", Ok(version))) => since = Some(Version::number(version)),
                Some(("revision", Ok(number))) => revision = number,
                _ => {
                    let (line, directive) = (directive.line, directive.text.clone());
                    return Err(SetError::Directive { file: file.up.path, line, directive, known: KNOWN });
                }
            }
        }
        forbidden::statements(&file.up)?;
        Ok(Self {
            // Other line ends are no change.
            checksum: checksum_of(&file.name, 0, &file.up.text.replace("\r\n", "\n")),
            entry: Some((file.described_as, file.checksum)),
            name: file.name,
            up: file.up,
            since,
            revision,
            is_compared: false,
            left_alone_if: None,
            hooks: Vec::new(),
        })
    }

    /// Whether the newest row of another tool's history stands for this text.
    pub(super) fn is_recorded_in(&self, rows: &BTreeMap<String, String>) -> bool {
        let Some((described_as, Some(checksum))) = &self.entry else { return false };
        rows.get(described_as).is_some_and(|recorded| checksum.matches(recorded))
    }

    /// The statement that records it in the history of another tool, where that has such rows.
    pub(super) fn row_in(&self, table: &ToolTable) -> Option<String> {
        let (described_as, checksum) = self.entry.as_ref()?;
        let checksum = checksum.as_ref().map(|checksum| checksum.recorded.as_str());
        tool::insert_repeatable(table, &self.up.path, described_as, checksum)
    }

    /// A query of one column of text. A row that it returns says why the file must not be applied to this database: what is
    /// there belongs to something newer than this program.
    #[must_use]
    pub fn left_alone_if(mut self, query: &str) -> Self {
        self.left_alone_if = Some(query.to_owned());
        self
    }

    /// Runs `hook` after the file, if the hook's plan, asked before the file is applied, has work. From then on the work is
    /// owed, whatever happens, until the hook has done it.
    #[must_use]
    pub fn then(mut self, hook: impl Hook + 'static) -> Self {
        self.hooks.push(Arc::new(hook));
        self
    }

    /// The name behind `R__`, without ending.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that holds it.
    #[must_use]
    pub fn file(&self) -> String {
        self.up.path.clone()
    }

    /// The text of the file, without a byte order mark.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.up.text
    }

    /// The same as it is shown: where the environment has put a value, its name.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.up.shown()
    }

    /// What is sent.
    pub(super) fn up(&self) -> &Script {
        &self.up
    }

    /// The same, from another version on.
    pub(super) fn since_version(self, since: Option<Version>) -> Self {
        Self { since, ..self }
    }

    /// The version from which on it is applied. None: it is applied after all versions.
    #[must_use]
    pub fn since(&self) -> Option<Version> {
        self.since
    }

    /// Whether it is applied once the versions up to `reached` are.
    pub(super) fn is_due(&self, reached: Version) -> bool {
        self.since.is_none_or(|since| since <= reached)
    }

    /// Under which its hooks' runs and progress are kept.
    pub(super) fn place(&self) -> Version {
        self.since.unwrap_or(Version::NONE)
    }

    /// The hooks behind it.
    #[must_use]
    pub fn hooks(&self) -> &[Arc<dyn Hook>] {
        &self.hooks
    }

    /// Where its hooks run.
    pub(super) fn boundary(&self) -> Boundary {
        Boundary::After(self.name.as_str().into())
    }
}

fn text_of<S: Serializer>(script: &Script, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(script.shown())
}

impl std::fmt::Debug for Repeatable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_place_is_read_from_the_top_of_the_file() {
        let file =
            Repeatable::new("R__views.sql", "-- migrate: since 3\n-- migrate: revision 2\n-- Why\nSELECT 1").unwrap();
        assert_eq!((file.name(), file.since(), file.revision), ("views", Some(3.into()), 2));
        for (name, text) in [
            ("V1__views", "-- migrate: since 3\n-- migrate: revision 2"),
            ("R__views", "-- migrate: since 3"),
            ("R__views", "-- migrate: since three\n-- migrate: revision 2"),
            ("R__views", "-- migrate: since 3\n-- migrate: revision 2\n-- migrate: no-transaction"),
            ("R__views", "-- migrate: since 3\n-- migrate: revision 2\nCOMMIT"),
        ] {
            assert!(Repeatable::new(name, text).is_err(), "{name}: {text}");
        }
    }
}
