//! Repeatable migrations: files without a version, applied again whenever they, or something that they make, have changed.
//!
//! Versions build tables, once. What can be made anew at any time, such as functions and triggers, is better kept in one
//! file in its newest form. Another program may replace part of it, so it is not enough to know that the file was applied:
//! what it made is recorded with its definition (`migrate.repeatable`), and compared with what is there at every run.

use std::sync::Arc;

use migrate_layout::{Script, checksum_of};
use serde::{Serialize, Serializer};

use super::hook::Hook;
use super::set_error::SetError;
use super::{Boundary, Version, forbidden, sql};

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
    since: Version,
    #[serde(skip)]
    pub(super) revision: i64,
    #[serde(skip)]
    pub(super) checksum: u64,
    #[serde(skip)]
    pub(super) left_alone_if: Option<String>,
    #[serde(skip)]
    hooks: Vec<Arc<dyn Hook>>,
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
                    return Err(SetError::Directive { file, line, directive, known: "since <version>, revision <n>" });
                }
            }
        }
        let (Some(since), Some(revision)) = (since, revision) else {
            return Err(SetError::NotPlaced { name: name.to_owned() });
        };
        forbidden::statements(&up)?;
        let checksum = checksum_of(bare, 0, text);
        Ok(Self { name: bare.to_owned(), up, since, revision, checksum, left_alone_if: None, hooks: Vec::new() })
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

    /// What is sent.
    pub(super) fn up(&self) -> &Script {
        &self.up
    }

    /// The version from which on it is applied.
    #[must_use]
    pub fn since(&self) -> Version {
        self.since
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
    serializer.serialize_str(&script.text)
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
        assert_eq!((file.name(), file.since(), file.revision), ("views", 3.into(), 2));
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
