//! Comparing the ledger of an older migrator with a database: what it records, what of that is new to us, and whether it
//! is really there.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::applied::{Adopted, plain};
use super::ledger::{Expected, Part};
use super::take_over_error::TakeOverError;
use super::tool::{self, ToolTable};
use super::why::Change;
use super::{AdoptionError, Fault, Migration, Problem, Set, Version, sql};
use crate::db::{Connection, Error};

/// The ledger of an older migrator as found in a database, compared with a set.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorded {
    /// The table, qualified and quoted.
    pub table: String,
    /// What it records, and our own history does not.
    pub adopt: Vec<Adopted>,
    /// What it records and is applied once more all the same.
    pub again: Vec<(Version, String)>,
    /// Versions whose every entry is there.
    pub versions: Vec<Version>,
    /// Entries missing of versions of which others are there.
    pub partial: Vec<(Version, Vec<String>)>,
    /// Whether this session may add to it, if it has to.
    pub writable: bool,
    /// The sequence of the table that this session may not use, if it has to.
    pub closed_sequence: Option<String>,
    /// The tool's table, if it is that of a tool.
    pub tool: Option<ToolTable>,
    /// What it records and no file is for.
    pub unknown: Vec<String>,
    /// Why it cannot be continued as it is.
    pub problems: Vec<TakeOverError>,
    /// The files without a version that the tool's history records, each with the checksum of its newest row.
    pub repeatables: BTreeMap<String, String>,
}

/// What bears the ledger's name.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// A table that the older migrator of this set keeps, or kept.
    Ledger(Box<Recorded>),
    /// A table of another program.
    Foreign(String),
    /// A table that this role may not read.
    Unreadable(String),
}

impl Found {
    pub fn ledger(&self) -> Option<&Recorded> {
        match self {
            Self::Ledger(recorded) => Some(recorded),
            Self::Nothing | Self::Foreign(_) | Self::Unreadable(_) => None,
        }
    }
}

/// Looks for the ledger and compares it with the set. `applied` are the versions in our own history.
pub(super) async fn read(connection: &Connection, set: &Set, applied: &[Version]) -> Result<Found, Error> {
    const LOOK_UP: &str = "
        SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS ledger,
               pg_catalog.has_table_privilege(c.oid, 'SELECT') AS readable,
               pg_catalog.has_table_privilege(c.oid, 'INSERT') AS writable,
               (SELECT pg_catalog.count(*) = 2 FROM pg_catalog.pg_attribute a
                WHERE a.attrelid = c.oid AND NOT a.attisdropped
                  AND (a.attname = 'version' AND a.atttypid IN ('text'::regtype::oid, 'varchar'::regtype::oid)
                       OR a.attname = 'applied_at' AND a.atttypid IN ('timestamptz'::regtype::oid, 'timestamp'::regtype::oid))) AS familiar,
               p.at IS NOT NULL AS in_path
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_catalog.unnest(pg_catalog.current_schemas(false)) WITH ORDINALITY AS p (name, at) ON p.name = n.nspname
        WHERE c.relname = $1
          AND c.relkind IN ('r', 'p', 'v')
          AND (p.at IS NOT NULL OR n.nspname = 'public' AND pg_catalog.has_schema_privilege(n.oid, 'USAGE'))
        ORDER BY p.at NULLS LAST
        LIMIT 1";
    let Some(ledger) = set.ledger() else { return Ok(Found::Nothing) };
    let Some(row) = connection.query_opt(LOOK_UP, &[&ledger.table]).await? else { return Ok(Found::Nothing) };
    let (table, readable, writable, familiar): (String, bool, bool, bool) =
        (row.get("ledger"), row.get("readable"), row.get("writable"), row.get("familiar"));
    // What is not in the search path may well have nothing to do with us.
    let foreign = |table| if row.get("in_path") { Found::Foreign(table) } else { Found::Nothing };
    if !familiar {
        return Ok(foreign(table));
    }
    if !readable {
        return Ok(Found::Unreadable(table));
    }
    // Only what concerns this set: the table may hold any number of other entries.
    let known: Vec<String> =
        set.migrations().iter().flat_map(|migration| ledger.entries(migration.version(), migration.name())).collect();
    let sql = format!(
        "SELECT version::text AS entry, pg_catalog.max({}) AS at FROM {table} WHERE version::text = ANY ($1::text[]) GROUP BY version",
        plain("applied_at::timestamptz")
    );
    let rows = connection.query(&sql, &[&known]).await?;
    let entries: BTreeMap<String, OffsetDateTime> = rows
        .iter()
        .map(|row| (row.get("entry"), row.get::<_, Option<_>>("at").unwrap_or(OffsetDateTime::UNIX_EPOCH)))
        .collect();

    let mut found = Recorded {
        table,
        adopt: Vec::new(),
        again: Vec::new(),
        versions: Vec::new(),
        partial: Vec::new(),
        writable,
        closed_sequence: None,
        tool: None,
        unknown: Vec::new(),
        problems: Vec::new(),
        repeatables: BTreeMap::new(),
    };
    for migration in set.migrations() {
        let version = migration.version();
        let recorded_as = ledger.entries(version, migration.name());
        let missing: Vec<_> = recorded_as.iter().filter(|entry| !entries.contains_key(*entry)).cloned().collect();
        if missing.is_empty() {
            found.versions.push(version);
        } else if missing.len() < recorded_as.len() {
            found.partial.push((version, missing));
        }
    }
    if found.versions.is_empty() && found.partial.is_empty() {
        let any = format!("SELECT EXISTS (SELECT FROM {}) AS any", found.table);
        if connection.query_one(&any, &[]).await?.get("any") {
            return Ok(foreign(found.table));
        }
    }
    for migration in set.migrations() {
        let version = migration.version();
        if applied.contains(&version) || !found.versions.contains(&version) {
            continue;
        }
        let recorded_as = ledger.entries(version, migration.name());
        match ledger.again.get(&version) {
            Some(again) if !found.versions.contains(&again.unless) && !applied.contains(&again.unless) => {
                found.again.push((version, again.reason.clone()));
            }
            _ => {
                let at = recorded_as.iter().map(|entry| entries[entry]).max().unwrap_or(OffsetDateTime::UNIX_EPOCH);
                found.adopt.push(Adopted { version, name: migration.name().to_owned(), recorded_as, at });
            }
        }
    }
    Ok(Found::Ledger(Box::new(found)))
}

impl Recorded {
    /// Makes sure that what is to be adopted is whole and without gaps, and that its objects are there.
    pub async fn check(&self, connection: &Connection, set: &Set, applied: &[Version]) -> Result<(), super::Error> {
        if let Some(problem) = self.problems.first() {
            return Err(AdoptionError::from(problem.clone()).into());
        }
        let Some(ledger) = set.ledger() else { return self.check_kept(set, applied) };
        let table = self.table.clone();
        if let Some((version, missing)) = self.partial.iter().find(|(version, _)| !applied.contains(version)) {
            let missing = missing.clone();
            return Err(AdoptionError::Incomplete { table, version: *version, missing }.into());
        }
        // What we apply is recorded there in the same transaction. Where it is not, that table is from an earlier time.
        let forgotten = set.migrations().iter().filter(|migration| applied.contains(&migration.version()));
        let forgotten: Vec<_> = forgotten.flat_map(|migration| self.missing(set, migration)).collect();
        if !forgotten.is_empty() && !self.versions.is_empty() {
            return Err(AdoptionError::Restored { table, missing: forgotten }.into());
        }
        let Some(last) = self.adopt.last() else { return Ok(()) };
        let left_out = set.migrations().iter().find(|migration| {
            let version = migration.version();
            version < last.version
                && !applied.contains(&version)
                && !self.versions.contains(&version)
                && !set.applies_late(migration)
        });
        if let Some(migration) = left_out {
            let missing = ledger.entries(migration.version(), migration.name());
            return Err(AdoptionError::Gap { table, missing, last: last.recorded_as.clone() }.into());
        }
        let versions = applied.iter().copied().chain(self.adopt.iter().map(|adopted| adopted.version));
        let (problems, _) = problems(connection, set, versions.collect()).await?;
        let problems: Vec<_> =
            problems.into_iter().filter(|problem| self.adopt.iter().any(|a| a.version == problem.version)).collect();
        if problems.is_empty() { Ok(()) } else { Err(AdoptionError::Problems { table, problems }.into()) }
    }

    /// What we apply is recorded there in the same transaction, if it is to be kept in step.
    fn check_kept(&self, set: &Set, applied: &[Version]) -> Result<(), super::Error> {
        if !set.origin().is_some_and(|origin| origin.keep) {
            return Ok(());
        }
        let missing = applied.iter().filter_map(|version| set.migration(*version));
        let missing: Vec<&Migration> = missing.filter(|migration| !self.missing(set, migration).is_empty()).collect();
        let Some(table) = self.tool.as_ref().filter(|_| !missing.is_empty()) else { return Ok(()) };
        let statement = missing.iter().map(|migration| tool::insert(table, migration)).collect::<Vec<_>>().join("; ");
        let missing = missing.iter().map(|migration| migration.file()).collect();
        Err(AdoptionError::from(TakeOverError::NotKept { table: self.table.clone(), missing, statement }).into())
    }

    /// Why a version that is recorded is applied once more, if it is.
    pub fn applied_again(&self, version: Version) -> Option<&str> {
        self.again.iter().find(|(again, _)| *again == version).map(|(_, reason)| reason.as_str())
    }

    /// The entries of a version that are not there.
    pub fn missing(&self, set: &Set, migration: &Migration) -> Vec<String> {
        let version = migration.version();
        if self.versions.contains(&version) {
            return Vec::new();
        }
        if self.tool.is_some() {
            let is_kept = set.origin().is_some_and(|origin| origin.keep);
            return if is_kept { vec![migration.entry().version.clone()] } else { Vec::new() };
        }
        match self.partial.iter().find(|(partial, _)| *partial == version) {
            Some((_, missing)) => missing.clone(),
            None => set.ledger().map(|ledger| ledger.entries(version, migration.name())).unwrap_or_default(),
        }
    }
}

/// A table of the first version in a database that nothing accounts for: what has built it is not known.
pub(super) async fn unexplained(connection: &Connection, set: &Set) -> Result<Option<String>, Error> {
    const FIRST: &str = "SELECT n FROM pg_catalog.unnest($1::text[]) n WHERE pg_catalog.to_regclass(pg_catalog.quote_ident(n)) IS NOT NULL LIMIT 1";
    let Some(ledger) = set.ledger() else { return Ok(None) };
    Ok(connection.query_opt(FIRST, &[&ledger.first_tables()]).await?.map(|row| row.get("n")))
}

/// Where the table is that the set changes first, if not in the search path.
pub(super) async fn elsewhere(connection: &Connection, set: &Set) -> Result<Option<(String, String)>, Error> {
    const ELSEWHERE: &str = "
        SELECT n.nspname
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relname = $1
          AND c.relkind IN ('r', 'p')
          AND c.relpersistence <> 't'
          AND CASE WHEN $2::text IS NULL THEN pg_catalog.to_regclass(pg_catalog.quote_ident($1)) IS NULL
                   ELSE n.nspname = $2::text AND n.nspname <> ALL (pg_catalog.current_schemas(false)) END
        ORDER BY n.nspname
        LIMIT 1";
    let Some(table) = set.owned_like() else { return Ok(None) };
    let (schema, table) = table.split_once('.').map_or((None, table), |(schema, table)| (Some(schema), table));
    let row = connection.query_opt(ELSEWHERE, &[&table, &schema]).await?;
    Ok(row.map(|row| (table.to_owned(), row.get("nspname"))))
}

/// Something that depends on what a version drops.
pub(super) struct Dependent {
    pub version: Version,
    /// What the version drops.
    pub object: String,
    /// What depends on that.
    pub name: String,
    /// The statement that ends the dependence, where there is one.
    pub remedy: Option<String>,
}

/// What depends on something that these versions drop, and would keep them from it.
pub(super) async fn dependents(
    connection: &Connection,
    set: &Set,
    versions: &[Version],
) -> Result<Vec<Dependent>, Error> {
    let Some(ledger) = set.ledger() else { return Ok(Vec::new()) };
    let removed = ledger.removed_by(versions);
    let column = |part: fn(&Part) -> &str| removed.iter().map(|removed| part(&removed.part)).collect::<Vec<_>>();
    let params: [&(dyn ToSql + Sync); 3] =
        [&column(|part| part.kind), &column(|part| &part.table), &column(|part| &part.name)];
    let rows = connection.query(include_str!("adopt_dependents.sql"), &params).await?;
    let found = rows.iter().filter_map(|row| {
        let removed = removed.get(usize::try_from(row.get::<_, i64>("n") - 1).ok()?)?;
        let (name, remedy) = (row.get("dependent"), row.get("remedy"));
        Some(Dependent { version: removed.version, object: removed.part.named(), name, remedy })
    });
    Ok(found.collect())
}

/// What differs from what the older program's form of these versions leaves behind; and for each thing that was looked
/// up, the version that it is of.
pub(super) async fn problems(
    connection: &Connection,
    set: &Set,
    mut versions: Vec<Version>,
) -> Result<(Vec<Problem>, Vec<Version>), Error> {
    let Some(ledger) = set.ledger() else { return Ok((Vec::new(), Vec::new())) };
    versions.sort_unstable();
    let expected = ledger.expected(versions.into_iter());
    let column = |part: fn(&Part) -> &str| expected.iter().map(|expected| part(&expected.part)).collect::<Vec<_>>();
    let present: Vec<bool> = expected.iter().map(|expected| expected.present).collect();
    let rows = connection
        .query(
            include_str!("adopt_check.sql"),
            &[
                &column(|part| part.kind),
                &column(|part| &part.table),
                &column(|part| &part.name),
                &column(|part| &part.of_type),
                &present,
            ],
        )
        .await?;
    let problem = |row: &Row| {
        let expected = expected.get(usize::try_from(row.get::<_, i64>("n") - 1).ok()?)?;
        let name = set.migration(expected.version).map(|m| m.name().to_owned()).unwrap_or_default();
        let recorded_as = ledger.entries(expected.version, &name).join(", ");
        let fault = Fault::parse(row.get("fault"), row.get("found"), &expected.part.of_type);
        Some(Problem {
            elsewhere: if let Fault::Elsewhere(schema) = &fault { Some(schema.clone()) } else { None },
            remedy: remedy(set, expected, &fault, row.get("named")).map(Into::into),
            ..Problem::new(expected.version, recorded_as, &expected.part.named(), fault)
        })
    };
    let versions = expected.iter().map(|expected| expected.version).collect();
    Ok((rows.iter().filter_map(problem).collect(), versions))
}

/// The statement that puts it right, where one does.
fn remedy(set: &Set, expected: &Expected, fault: &Fault, qualified_name: Option<String>) -> Option<String> {
    match (expected.part.kind, qualified_name) {
        ("index", Some(index)) if *fault == Fault::Interrupted => Some(format!("REINDEX INDEX CONCURRENTLY {index};")),
        ("trigger", Some(table)) if *fault == Fault::Changed(Change::Disabled) => {
            Some(format!("ALTER TABLE {table} ENABLE TRIGGER {};", expected.part.name))
        }
        ("index", None) => {
            let migration = set.migration(expected.version)?;
            let builds = migration.mode().indexes().any(|index| index.name == expected.part.name);
            builds.then(|| sql::statements(migration.sql()).next())?.map(|built| format!("{};", built.on_one_line()))
        }
        _ => None,
    }
}
