//! What can be wrong with a folder.

use super::Layout;

/// Something is wrong with a folder or one of its files; no database was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A file or folder cannot be read.
    #[error("{path} cannot be read: {reason}")]
    Unreadable {
        /// The file or folder.
        path: String,
        /// Why, in the system's words.
        reason: String,
    },
    /// The folder holds no migration.
    #[error("{folder} holds no migration")]
    Empty {
        /// The folder.
        folder: String,
    },
    /// A link leads out of the folder.
    #[error("{path} is a link to {target}, outside the folder")]
    Outside {
        /// The link.
        path: String,
        /// Where it leads.
        target: String,
    },
    /// The folder fits several layouts whose rules differ.
    #[error("{folder} fits {}", layouts.iter().map(|layout| layout.key()).collect::<Vec<_>>().join(" and "))]
    Ambiguous {
        /// The folder.
        folder: String,
        /// What it fits.
        layouts: Vec<Layout>,
    },
    /// The folder fits no layout.
    #[error("{folder} fits no layout that is known: {path} {reason}")]
    Unknown {
        /// The folder.
        folder: String,
        /// A file that does not fit.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A file has a name that the layout does not have.
    #[error("{path}: {reason}")]
    Name {
        /// The file.
        path: String,
        /// What is wrong, and the form it should have.
        reason: String,
    },
    /// Two files have the same version.
    #[error("version {version} is repeated: {first} and {second}")]
    Repeated {
        /// The version.
        version: String,
        /// One file.
        first: String,
        /// The other.
        second: String,
    },
    /// Something in a file is wrong.
    #[error("line {line} of {path}: {reason}")]
    Content {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A file is empty, or holds nothing but comments where the tool refuses that.
    #[error("{path} is empty")]
    EmptyFile {
        /// The file.
        path: String,
    },
    /// A journal and the folder disagree.
    #[error("{journal}: {reason}")]
    Journal {
        /// The journal.
        journal: String,
        /// What is wrong.
        reason: String,
    },
}

impl LayoutError {
    /// Something in a file is wrong.
    pub(crate) fn content(path: &str, line: usize, reason: impl Into<String>) -> Self {
        Self::Content { path: path.to_owned(), line, reason: reason.into() }
    }
}
