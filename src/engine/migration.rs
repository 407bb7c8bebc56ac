//! One migration: a file with a version, and how it wants to be run.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::Token;
use super::set_error::SetError;
use super::sql::Statement;
use super::{Version, forbidden, sql};

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
    rewrites: Vec<String>,
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
        let (file, text) = (format!("{name}.sql"), inner.sql().unwrap_or_default());
        let mut in_transaction = true;
        let (mut formerly, mut rewrites) = (Vec::new(), Vec::new());
        for (at, directive) in sql::directives(text) {
            match directive.split_once(' ') {
                None if directive == "no-transaction" => in_transaction = false,
                Some(("formerly", checksum)) if checksum.parse::<u64>().is_ok() => {
                    formerly.extend(checksum.parse::<u64>());
                }
                Some(("rewrites", table)) => rewrites.push(table.trim().to_owned()),
                _ => {
                    let (line, directive) = (sql::line_at(text, at), directive.to_owned());
                    return Err(SetError::Directive {
                        file,
                        line,
                        directive,
                        known: "no-transaction, formerly <checksum>, rewrites <table>",
                    });
                }
            }
        }
        let statements = forbidden::statements(&file, text)?;
        let mode = if in_transaction {
            Mode::Transaction
        } else {
            Mode::NoTransaction { index: single_statement(&file, text, &statements)? }
        };
        Ok(Self { inner, mode, formerly, rewrites })
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.inner.version().into()
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

    /// The text of the file, without a byte order mark.
    #[must_use]
    pub fn sql(&self) -> &str {
        sql::without_mark(self.inner.sql().unwrap_or_default())
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
        migration.serialize_field("transaction", &(self.mode == Mode::Transaction))?;
        migration.serialize_field("sql", self.sql())?;
        migration.end()
    }
}

/// Checks that a file is one statement which may run twice, and finds the index it builds.
fn single_statement(file: &str, text: &str, statements: &[Statement]) -> Result<Option<ConcurrentIndex>, SetError> {
    let [statement] = statements else {
        let second = statements.get(1).map(|statement| sql::line_at(text, statement.start));
        return Err(SetError::NotOneStatement { file: file.to_owned(), found: statements.len(), second });
    };
    let not_repeatable =
        || SetError::NotRepeatable { file: file.to_owned(), line: sql::line_at(text, statement.start) };
    // More words than the longest beginning has.
    let words: Vec<_> = statement.tokens().take(20).collect();
    let say = |at: usize, expected: &[&str]| {
        expected.iter().enumerate().all(|(i, word)| words.get(at + i).is_some_and(|token| token.is(word)))
    };

    if say(0, &["DROP", "INDEX"]) && !say(3, &["IF", "EXISTS"]) {
        return Err(not_repeatable());
    }
    let unique = usize::from(say(1, &["UNIQUE"]));
    if !(say(0, &["CREATE"]) && say(1 + unique, &["INDEX", "CONCURRENTLY"])) {
        return Ok(None);
    }
    let mut at = 3 + unique;
    if !say(at, &["IF", "NOT", "EXISTS"]) || !say(at + 4, &["ON"]) {
        return Err(not_repeatable());
    }
    let name = |at: usize| words.get(at).and_then(Token::name);
    let index = name(at + 3);
    at += 5 + usize::from(say(at + 5, &["ONLY"]));
    // A database may stand before the schema.
    let mut schema = None;
    let mut table = name(at);
    while words.get(at + 1).is_some_and(|token| token.text == ".") {
        at += 2;
        schema = table;
        table = name(at);
    }
    match (index, table) {
        (Some(name), Some(table)) => Ok(Some(ConcurrentIndex { name, schema, table })),
        _ => Err(not_repeatable()),
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

        let plain = |name: &str, schema: Option<&str>, table: &str| ConcurrentIndex {
            name: name.into(),
            schema: schema.map(str::to_owned),
            table: table.into(),
        };
        let statement = |rest: &str| index_of(&format!("CREATE INDEX CONCURRENTLY IF NOT EXISTS {rest} (a)"));
        assert_eq!(statement("Ä_I ON d.S.\"T\"").unwrap(), Some(plain("Ä_i", Some("s"), "T")));
        let long = "i".repeat(70);
        assert_eq!(statement(&format!("{long} ON t")).unwrap(), Some(plain(&long[..63], None, "t")));

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
        assert!(matches!(error, SetError::NotOneStatement { found: 2, second: Some(2), .. }), "{error}");
        let error = index_of("").unwrap_err();
        assert!(matches!(error, SetError::NotOneStatement { found: 0, second: None, .. }), "{error}");
        for nameless in ["ON things (a)", "U&\"a\" ON things (a)", "a things (a)"] {
            let error = index_of(&format!("CREATE INDEX CONCURRENTLY IF NOT EXISTS {nameless}")).unwrap_err();
            assert!(matches!(error, SetError::NotRepeatable { line: 2, .. }), "{error}");
        }
        let error = index_of("BEGIN").unwrap_err();
        assert!(matches!(error, SetError::TransactionControl { line: 2, .. }), "{error}");
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
        let error = Migration::new("V1__a", "--\r-- migrate: no-transactions\nSELECT 1").unwrap_err();
        let expected = "line 2 of V1__a.sql: unknown directive \"no-transactions\"; known: no-transaction, formerly <checksum>, \
             rewrites <table>";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_file_can_say_whose_rows_it_changes() {
        let text = "-- migrate: rewrites t\n-- migrate: rewrites u\nUPDATE t SET n = 1";
        assert_eq!(Migration::new("V1__a", text).unwrap().rewrites(), ["t", "u"]);
    }
}
