//! One migration: a file with a version, and how it wants to be run.

use super::set::SetError;
use super::{Version, sql};

/// How a migration's statements are sent to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All of them and the history row in one transaction.
    Transaction,
    /// `-- migrate: no-transaction`: the file's only statement by itself, then the history row. A kill in between runs
    /// the statement again, so it must bear that.
    NoTransaction {
        /// The index that the statement builds, if that is what it does.
        index: Option<ConcurrentIndex>,
    },
}

/// An index that `CREATE INDEX CONCURRENTLY` builds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConcurrentIndex {
    /// The index, as the server knows it.
    pub name: String,
    /// The schema of the table, if the file names one; otherwise the search path decides.
    pub schema: Option<String>,
    /// The table, as the server knows it.
    pub table: String,
}

/// A migration of a [`super::Set`].
#[derive(Clone, Debug)]
pub struct Migration {
    inner: refinery::Migration,
    mode: Mode,
    /// Checksums of earlier texts that leave the same behind.
    formerly: Vec<u64>,
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
        Self::from_refinery(inner)
    }

    /// Takes over a migration that refinery has read, for example from `embed_migrations!`.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn from_refinery(inner: refinery::Migration) -> Result<Self, SetError> {
        let name = inner.to_string();
        if !name.starts_with('V') {
            return Err(SetError::Name {
                name,
                reason: "only versioned migrations, V<n>__<name>, are supported".into(),
            });
        }
        let text = inner.sql().unwrap_or_default();
        let mut mode = Mode::Transaction;
        let mut formerly = Vec::new();
        for directive in sql::directives(text) {
            match directive.split_once(' ') {
                None if directive == "no-transaction" => {
                    mode = Mode::NoTransaction { index: single_statement(&name, text)? };
                }
                Some(("formerly", checksum)) if checksum.parse::<u64>().is_ok() => {
                    formerly.extend(checksum.parse::<u64>());
                }
                _ => return Err(SetError::Directive { name, directive: directive.to_owned() }),
            }
        }
        if mode == Mode::Transaction {
            refuse_transaction_control(&name, text)?;
        }
        Ok(Self { inner, mode, formerly })
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.inner.version()
    }

    /// The name behind the version, without ending.
    #[must_use]
    pub fn name(&self) -> &str {
        self.inner.name()
    }

    /// The file that holds it.
    #[must_use]
    pub fn file(&self) -> String {
        format!("{}.sql", self.inner)
    }

    /// The text of the file.
    #[must_use]
    pub fn sql(&self) -> &str {
        self.inner.sql().unwrap_or_default()
    }

    /// How it is run.
    #[must_use]
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// Checksum over version, name and text, as the history records it.
    #[must_use]
    pub fn checksum(&self) -> u64 {
        self.inner.checksum()
    }

    /// Whether a history row with this checksum stands for this migration: it was applied as it is now, or in an earlier
    /// form that the file vouches for with `-- migrate: formerly <checksum>`.
    #[must_use]
    pub fn was_recorded_as(&self, checksum: Option<u64>) -> bool {
        checksum.is_some_and(|checksum| checksum == self.checksum() || self.formerly.contains(&checksum))
    }

    /// As refinery wants it.
    pub(super) fn inner(&self) -> &refinery::Migration {
        &self.inner
    }
}

/// A file that ended its transaction would not commit together with its record.
pub(super) fn refuse_transaction_control(name: &str, text: &str) -> Result<(), SetError> {
    const CONTROL: [&str; 6] = ["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT"];
    for statement in sql::statements(text) {
        let first = sql::words(&statement).into_iter().next().unwrap_or_default().to_uppercase();
        if CONTROL.contains(&first.as_str()) {
            return Err(SetError::TransactionControl { name: name.to_owned(), statement: first });
        }
    }
    Ok(())
}

/// Checks that a file is one statement which may run twice, and finds the index it builds.
fn single_statement(name: &str, text: &str) -> Result<Option<ConcurrentIndex>, SetError> {
    let statements = sql::statements(text);
    let [statement] = statements.as_slice() else {
        return Err(SetError::NotOneStatement { name: name.to_owned(), found: statements.len() });
    };
    let words = sql::words(statement);
    let keyword = |at: usize, expected: &str| words.get(at).is_some_and(|word| word.eq_ignore_ascii_case(expected));

    let mut at = 1;
    if keyword(0, "DROP") && keyword(1, "INDEX") && !(keyword(3, "IF") && keyword(4, "EXISTS")) {
        return Err(SetError::NotRepeatable { name: name.to_owned() });
    }
    if !keyword(0, "CREATE") {
        return Ok(None);
    }
    at += usize::from(keyword(at, "UNIQUE"));
    if !(keyword(at, "INDEX") && keyword(at + 1, "CONCURRENTLY")) {
        return Ok(None);
    }
    at += 2;
    if !(keyword(at, "IF") && keyword(at + 1, "NOT") && keyword(at + 2, "EXISTS")) {
        return Err(SetError::NotRepeatable { name: name.to_owned() });
    }
    let index = words.get(at + 3).map(|word| sql::fold(word));
    at += 5 + usize::from(keyword(at + 5, "ONLY"));
    let first = words.get(at).map(|word| sql::fold(word));
    let second = keyword(at + 1, ".").then(|| words.get(at + 2).map(|word| sql::fold(word))).flatten();
    let (schema, table) = if second.is_some() { (first, second) } else { (None, first) };
    match (index, table) {
        (Some(index), Some(table)) => Ok(Some(ConcurrentIndex { name: index, schema, table })),
        _ => Err(SetError::NotRepeatable { name: name.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index_of(sql: &str) -> Result<Option<ConcurrentIndex>, SetError> {
        let migration = Migration::new("V1__index.sql", &format!("-- migrate: no-transaction\n{sql}"))?;
        match migration.mode {
            Mode::NoTransaction { index } => Ok(index),
            Mode::Transaction => panic!("{sql}: the directive was not seen"),
        }
    }

    #[test]
    fn the_index_is_read_from_the_statement() {
        let plain = index_of("CREATE INDEX CONCURRENTLY IF NOT EXISTS Idx_A ON things (a);").unwrap().unwrap();
        assert_eq!(plain, ConcurrentIndex { name: "idx_a".into(), schema: None, table: "things".into() });

        let quoted = index_of(
            "create unique index concurrently /* x */ if not exists \"Idx A\" -- y\n on only app.\"Things\" (a)",
        );
        let quoted = quoted.unwrap().unwrap();
        assert_eq!(
            quoted,
            ConcurrentIndex { name: "Idx A".into(), schema: Some("app".into()), table: "Things".into() }
        );

        assert_eq!(index_of("VACUUM things").unwrap(), None);
    }

    #[test]
    fn a_file_without_transaction_must_bear_a_second_run() {
        let error = index_of("CREATE INDEX CONCURRENTLY idx_a ON things (a)").unwrap_err();
        assert!(matches!(error, SetError::NotRepeatable { .. }), "{error}");
        let error = index_of("DROP INDEX CONCURRENTLY idx_a").unwrap_err();
        assert!(matches!(error, SetError::NotRepeatable { .. }), "{error}");
        assert_eq!(index_of("DROP INDEX CONCURRENTLY IF EXISTS idx_a").unwrap(), None);
        let error = index_of("VACUUM a; VACUUM b;").unwrap_err();
        assert!(matches!(error, SetError::NotOneStatement { found: 2, .. }), "{error}");
    }

    #[test]
    fn a_file_must_not_end_its_own_transaction() {
        let error = Migration::new("V1__a", "CREATE TABLE a (n int); /* now */ commit;").unwrap_err();
        assert!(matches!(error, SetError::TransactionControl { .. }), "{error}");
        Migration::new("V1__a", "DO $$ BEGIN PERFORM 1; END $$;").unwrap();
    }

    #[test]
    fn a_file_can_vouch_for_its_earlier_form() {
        let earlier = Migration::new("V1__a", "SELECT 1").unwrap().checksum();
        let now = Migration::new("V1__a", &format!("-- migrate: formerly {earlier}\nSELECT 1 WHERE true")).unwrap();
        assert!(now.was_recorded_as(Some(earlier)) && now.was_recorded_as(Some(now.checksum())));
        assert!(!now.was_recorded_as(Some(1)) && !now.was_recorded_as(None));
        let error = Migration::new("V1__a", "-- migrate: formerly yesterday\nSELECT 1").unwrap_err();
        assert!(matches!(error, SetError::Directive { .. }), "{error}");
    }

    #[test]
    fn a_misspelt_directive_is_an_error() {
        let error = Migration::new("V1__a", "-- migrate: no-transactions\nSELECT 1").unwrap_err();
        assert!(matches!(error, SetError::Directive { .. }), "{error}");
    }
}
