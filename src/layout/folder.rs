//! A folder that has been read: what its files are, and how each is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::checksum::Checksum;
use super::hidden::Hidden;
use super::{Layout, LayoutError, Version, sql};

/// A folder, read as its layout says.
#[derive(Clone, Debug)]
pub struct Folder {
    /// The layout.
    pub layout: Layout,
    /// The versions, in their order.
    pub files: Vec<File>,
    /// What is applied again whenever it changes, in its order.
    pub repeatables: Vec<Repeatable>,
    /// SQL files that belong to no migration, each with the reason. The tool would skip them, too.
    pub left_out: Vec<(String, String)>,
}

/// One version of a folder.
#[derive(Clone, Debug)]
pub struct File {
    /// Its version.
    pub version: Version,
    /// What it does: the part of its name behind the version.
    pub name: String,
    /// What is sent to apply it.
    pub up: Script,
    /// What is sent to take it back, where the folder has that.
    pub down: Option<Script>,
    /// What the tool's history calls it: a number, a text version, the name of a folder.
    pub entry: String,
    /// What the tool's history calls the rest: description, file name, tag. Empty where it records no such thing.
    pub described_as: String,
    /// What the tool's history keeps of its text.
    pub checksum: Option<Checksum>,
    /// When it was written, in milliseconds since 1970, where a journal says so.
    pub written_at: Option<i64>,
    /// The directives of this program that it holds (`-- migrate: …`); only a folder that we own has them.
    pub directives: Vec<Directive>,
    /// It may be applied below a version that is applied already, whatever the layout says.
    pub may_be_late: bool,
    /// It stands for all versions up to its own, in a database that has none of them.
    pub is_baseline: bool,
}

/// A line `-- migrate: …` of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// What follows the colon.
    pub text: String,
    /// Its line, from 1.
    pub line: usize,
}

/// A file that is applied again whenever it changes.
#[derive(Clone, Debug)]
pub struct Repeatable {
    /// Its name.
    pub name: String,
    /// What is sent.
    pub up: Script,
    /// What the tool's history calls it.
    pub described_as: String,
    /// What the tool's history keeps of its text.
    pub checksum: Option<Checksum>,
    /// The directives of this program that it holds.
    pub directives: Vec<Directive>,
}

/// SQL of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The file, relative to the folder, with `/` between its parts.
    pub path: String,
    /// The SQL, as it is sent.
    pub text: Arc<str>,
    /// The line of the file, from 1, on which the text begins.
    pub line: usize,
    /// How it is sent.
    pub sending: Sending,
    /// What the environment has put into it.
    pub hidden: Option<Box<Hidden>>,
}

impl Folder {
    /// Sends these files statement by statement and outside a transaction, though their tool would open one.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Name`] for a file that is none of the folder's versions.
    pub fn send_alone(&mut self, paths: &[String]) -> Result<(), LayoutError> {
        for path in paths {
            let Some(file) = self.files.iter_mut().find(|file| file.up.path == *path) else {
                let reason = "is to run outside a transaction, and is no version of this folder".to_owned();
                return Err(LayoutError::Name { path: path.clone(), reason });
            };
            file.up.sending = Sending::Statements;
        }
        Ok(())
    }
}

impl Script {
    /// A file of this program's own form, sent as it is.
    #[must_use]
    pub fn own(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.into(), line: 1, sending: Sending::Transaction, hidden: None }
    }

    /// The SQL, as it is shown: where the environment has put a value, its name.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.hidden.as_ref().map_or(&self.text, |hidden| &hidden.shown)
    }

    /// The line of the file, from 1, that a byte of the text is in.
    #[must_use]
    pub fn line_at(&self, byte: usize) -> usize {
        self.line - 1 + sql::line_at(&self.text, byte)
    }
}

impl File {
    /// A file of this program's own form.
    #[must_use]
    pub fn own(number: i64, name: &str, path: &str, text: &str) -> Self {
        Self {
            version: Version::number(number),
            name: name.to_owned(),
            up: Script::own(path, text),
            down: None,
            entry: number.to_string(),
            described_as: name.to_owned(),
            checksum: None,
            written_at: None,
            directives: directives(text),
            may_be_late: false,
            is_baseline: false,
        }
    }
}

/// The directives in the comments that open a file of this program's own form.
#[must_use]
pub fn directives(text: &str) -> Vec<Directive> {
    // Counted on from one to the next: there may be many.
    let (mut from, mut before) = (0, 0);
    let directive = |(at, said): (usize, &str)| {
        before += sql::line_at(&text[from..], at - from) - 1;
        from = at;
        Directive { text: said.to_owned(), line: before + 1 }
    };
    sql::directives(text).map(directive).collect()
}

/// How a script is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// In one transaction with its record.
    Transaction,
    /// Statement by statement, outside a transaction; the record follows.
    Statements,
    /// As one message and without a transaction around it, as its tool sends it: it may begin and end one itself.
    Whole,
}

/// What a layout needs to know besides the files.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Values for `${name}`, where the layout replaces that.
    pub placeholders: BTreeMap<String, String>,
    /// Those of them whose values come from the environment, and are never shown.
    pub secrets: BTreeSet<String>,
    /// The environment, for a layout whose files ask for it. Empty: nothing is set.
    pub environment: BTreeMap<String, String>,
}
