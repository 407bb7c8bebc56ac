//! One migration: a file with a version, and how it wants to be run.

use migrate_layout::{Checksum, File, Layout, Script, Sending, checksum_of};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::mode::Mode;
use super::set_error::SetError;
use super::{Version, sql};

/// The directives that a file of this program's own form can hold.
const KNOWN: &str = "no-transaction, formerly <checksum>, rewrites <table>";

/// A migration of a [`super::Set`].
#[derive(Clone, Debug)]
pub struct Migration {
    version: Version,
    name: String,
    up: Script,
    mode: Mode,
    /// Boxed, as few have one.
    down: Option<Box<(Script, Mode)>>,
    checksum: u64,
    /// Checksums of earlier texts that leave the same behind.
    formerly: Vec<u64>,
    /// Whether the checksum is over the text as it is sent.
    is_of_text: bool,
    rewrites: Vec<String>,
    entry: Entry,
    may_be_late: bool,
    is_baseline: bool,
    /// The number under which the history keeps it, if it keeps it under one.
    number: Option<i64>,
}

/// What the history of the tool says of it that a folder was written for.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    /// How its version is written there.
    pub version: String,
    /// What else it is called.
    pub described_as: String,
    /// What is kept of its text. Boxed, as most tools keep nothing.
    pub checksum: Option<Box<Checksum>>,
    /// When it was written, in milliseconds since 1970.
    pub written_at: Option<i64>,
}

impl Migration {
    /// Reads a migration from its name, `V<n>__<name>`, with or without `.sql`, and its text.
    ///
    /// # Errors
    ///
    /// [`SetError`] for a name of another form, an unknown directive, or a file without a transaction that a second
    /// run could not repeat.
    pub fn new(name: &str, sql: &str) -> Result<Self, SetError> {
        let inner = refinery::Migration::unapplied(name, sql)
            .map_err(|source| SetError::Name { name: name.to_owned(), reason: source.to_string() })?;
        Self::from_refinery(&inner)
    }

    /// Takes over a migration that refinery has read, for example from `embed_migrations!`.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn from_refinery(inner: &refinery::Migration) -> Result<Self, SetError> {
        let name = inner.to_string();
        if !name.starts_with('V') {
            return Err(SetError::Name {
                name,
                reason: "only versioned migrations, V<n>__<name>, are supported".into(),
            });
        }
        let text = inner.sql().unwrap_or_default();
        Self::from_file(File::own(inner.version(), inner.name(), &format!("{name}.sql"), text), Layout::Migrate)
    }

    /// Takes over a file of a folder.
    ///
    /// # Errors
    ///
    /// [`SetError`] for what a migration must not say, with file and line.
    pub(super) fn from_file(file: File, layout: Layout) -> Result<Self, SetError> {
        let mut in_transaction = true;
        let (mut formerly, mut rewrites) = (Vec::new(), Vec::new());
        for directive in &file.directives {
            match directive.text.split_once(' ') {
                None if directive.text == "no-transaction" => in_transaction = false,
                Some(("formerly", checksum)) if checksum.parse::<u64>().is_ok() => {
                    formerly.extend(checksum.parse::<u64>());
                }
                Some(("rewrites", table)) => rewrites.push(table.trim().to_owned()),
                _ => {
                    let (line, directive) = (directive.line, directive.text.clone());
                    return Err(SetError::Directive { file: file.up.path, line, directive, known: KNOWN });
                }
            }
        }
        let mode = |script: &Script, in_transaction: bool| match layout {
            Layout::Migrate => Mode::of_own(script, in_transaction),
            _ => Mode::of_foreign(script),
        };
        let number = file.version.as_number().filter(|_| file.version.is_number());
        // Placeholders may have other values the next time; what Flyway compares is the file itself.
        let of_file = file.checksum.as_ref().filter(|_| layout == Layout::Flyway);
        let text = of_file.map_or(&*file.up.text, |checksum| &checksum.recorded);
        let (is_of_text, checksum) = (of_file.is_none(), checksum_of(&file.name, number.unwrap_or_default(), text));
        let down = file.down.map(|down| {
            let sending = down.sending;
            mode(&down, sending == Sending::Transaction).map(|mode| Box::new((down, mode)))
        });
        Ok(Self {
            version: file.version,
            mode: mode(&file.up, in_transaction)?,
            down: down.transpose()?,
            checksum,
            formerly,
            is_of_text,
            rewrites,
            entry: Entry {
                version: file.entry,
                described_as: file.described_as,
                checksum: file.checksum.map(Box::new),
                written_at: file.written_at,
            },
            may_be_late: file.may_be_late,
            is_baseline: file.is_baseline,
            number,
            name: file.name,
            up: file.up,
        })
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The name behind the version, without ending.
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
        sql::without_mark(&self.up.text)
    }

    /// The same as it is shown: where the environment has put a value, its name.
    #[must_use]
    pub fn shown(&self) -> &str {
        sql::without_mark(self.up.shown())
    }

    /// How it is run.
    #[must_use]
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// Checksum over version, name and text, as the history records it.
    #[must_use]
    pub fn checksum(&self) -> u64 {
        self.checksum
    }

    /// Whether a history row with this checksum stands for this migration: it was applied as it is now, with other line
    /// ends, or in an earlier form that the file vouches for with `-- migrate: formerly <checksum>`.
    #[must_use]
    pub fn was_recorded_as(&self, checksum: Option<u64>) -> bool {
        checksum.is_some_and(|checksum| {
            checksum == self.checksum || self.formerly.contains(&checksum) || self.differs_in_line_ends(checksum)
        })
    }

    /// Whether this is the checksum of the same text with other line ends.
    fn differs_in_line_ends(&self, checksum: u64) -> bool {
        let is_of = |text: &str| checksum == checksum_of(&self.name, self.number.unwrap_or_default(), text);
        let unix = self.up.text.replace("\r\n", "\n");
        self.is_of_text && (is_of(&unix) || is_of(&unix.replace('\n', "\r\n")))
    }

    /// The same, where a folder has a file for it: in that file's place, and recorded as that file by its tool.
    pub(super) fn in_place_of(&self, file: File) -> Self {
        let entry = Entry {
            version: file.entry,
            described_as: file.described_as,
            checksum: file.checksum.map(Box::new),
            written_at: file.written_at,
        };
        Self { version: file.version, entry, ..self.clone() }
    }

    /// What is sent to apply it.
    pub(super) fn up(&self) -> &Script {
        &self.up
    }

    /// What is sent to take it back, and how, where there is such a thing.
    #[must_use]
    pub fn down(&self) -> Option<(&Script, &Mode)> {
        self.down.as_deref().map(|(script, mode)| (script, mode))
    }

    /// What the history of another tool says of it.
    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Whether it may be applied below a version that is applied already, whatever the layout says.
    #[must_use]
    pub fn may_be_late(&self) -> bool {
        self.may_be_late
    }

    /// Whether it stands for all versions up to its own, in a database that has none of them.
    #[must_use]
    pub fn is_baseline(&self) -> bool {
        self.is_baseline
    }

    /// The number under which the history keeps it; otherwise it keeps it by its name.
    pub(super) fn number(&self) -> Option<i64> {
        self.number
    }

    /// The tables whose rows it says it changes, with `-- migrate: rewrites <table>`.
    #[must_use]
    pub fn rewrites(&self) -> &[String] {
        &self.rewrites
    }
}

/// As JSON, its version, its name, its text, and whether it runs in a transaction.
impl Serialize for Migration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut migration = serializer.serialize_struct("Migration", 4)?;
        migration.serialize_field("version", &self.version())?;
        migration.serialize_field("name", self.name())?;
        migration.serialize_field("transaction", &(!matches!(self.mode, Mode::NoTransaction { .. })))?;
        migration.serialize_field("sql", self.shown())?;
        migration.end()
    }
}

#[cfg(test)]
#[path = "migration_tests.rs"]
mod tests;
