//! What can be wrong with a set.

use migrate_layout::LayoutError;

use super::Version;

/// Something is wrong with a set itself; no database was asked.
#[derive(Clone, thiserror::Error)]
pub enum SetError {
    /// The set's name becomes part of a table's name.
    #[error("a set's name consists of lower-case letters, digits and '-', at most 40 of them: {name:?}")]
    SetName {
        /// The name given.
        name: String,
    },
    /// A migration's name has another form.
    #[error("migration {name:?}: {reason}")]
    Name {
        /// The name given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A folder cannot be read, or one of its files.
    #[error(transparent)]
    Folder(#[from] LayoutError),
    /// Two migrations have the same version.
    #[error("version {version} is repeated: {first} and {second}")]
    Repeated {
        /// The version.
        version: Version,
        /// One file.
        first: String,
        /// The other.
        second: String,
    },
    /// An unknown `-- migrate:` line.
    #[error("line {line} of {file}: unknown directive {directive:?}; known: {known}")]
    Directive {
        /// The file.
        file: String,
        /// Its line, from 1.
        line: usize,
        /// What the line says.
        directive: String,
        /// What it could say.
        known: &'static str,
    },
    /// A file without a transaction holds several statements, of which a kill could leave a part, and none of them builds an index
    /// concurrently.
    #[error(
        "{file} runs without a transaction and must hold exactly one statement, or build an index concurrently between \
         others; it holds {found}{}",
        second.map(|line| format!(", the second on line {line}")).unwrap_or_default()
    )]
    NotOneStatement {
        /// The file.
        file: String,
        /// How many were found.
        found: usize,
        /// The line on which the second begins.
        second: Option<usize>,
    },
    /// A file without a transaction could not be run again after a kill.
    #[error(
        "line {line} of {file}: a migration that runs without a transaction must be safe to run twice: \
         CREATE INDEX CONCURRENTLY IF NOT EXISTS <name>, DROP INDEX CONCURRENTLY IF EXISTS <name>, ADD COLUMN IF NOT EXISTS"
    )]
    NotRepeatable {
        /// The file.
        file: String,
        /// The line, from 1, on which its statement begins.
        line: usize,
    },
    /// A file begins or ends a transaction; its record would not share its fate.
    #[error(
        "line {line} of {file}: a migration must not say {statement}, because the run itself begins and ends the \
         transaction in which a file is recorded"
    )]
    TransactionControl {
        /// The file.
        file: String,
        /// The line, from 1, on which the statement begins.
        line: usize,
        /// The statement's first words.
        statement: String,
    },
    /// A file begins a transaction and does not end it.
    #[error("line {line} of {file}: begins a transaction that the file does not end, so that nothing of it would stay")]
    LeftOpen {
        /// The file.
        file: String,
        /// The line, from 1, on which it begins.
        line: usize,
    },
    /// A file gives up everything that its session holds, the lock of the run included.
    #[error("line {line} of {file}: a migration must not say DISCARD ALL, because the run would lose its lock")]
    DiscardAll {
        /// The file.
        file: String,
        /// The line, from 1, on which the statement begins.
        line: usize,
    },
    /// A file holds what is meant for psql, not for the server.
    #[error("line {line} of {file}: only psql understands {command}; a migration holds SQL alone")]
    PsqlCommand {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The command, cut short if it is long.
        command: String,
    },
    /// A file copies data from or to its client.
    #[error(
        "line {line} of {file}: COPY {direction} cannot be used, because a migration is SQL alone, without data beside \
         it; use {instead}"
    )]
    CopyByClient {
        /// The file.
        file: String,
        /// The line, from 1, on which the statement begins.
        line: usize,
        /// `FROM STDIN` or `TO STDOUT`.
        direction: &'static str,
        /// What does the same.
        instead: &'static str,
    },
    /// A file holds a character that cannot be sent to the server.
    #[error("line {line} of {file}: a NUL character, which PostgreSQL cannot read")]
    NulCharacter {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
    },
    /// A repeatable file does not say when it is due.
    #[error("repeatable migration {name} must begin with -- migrate: since <version> and -- migrate: revision <n>")]
    NotPlaced {
        /// The migration.
        name: String,
    },
    /// The description of the objects cannot be read.
    #[error(
        "line {line} of the description of the objects is neither V<n>, + <object> = <definition> nor - <object>: {text}"
    )]
    Description {
        /// The line, from 1.
        line: usize,
        /// What it says.
        text: String,
    },
    /// A hook, or a repeatable file, is registered at a version that does not exist.
    #[error("{hook} is registered at version {version}, which the set does not have")]
    NoBoundary {
        /// The hook or file.
        hook: String,
        /// The version, or its name.
        version: String,
    },
}
