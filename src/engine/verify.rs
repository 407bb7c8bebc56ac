//! Comparing what a database records with the files, and with what is really there. Nothing is written.

use std::collections::BTreeMap;

use serde::Serialize;

use super::description::{Objects, without_comment};
use super::history::{Extent, History};
use super::overloads::{self, Warning};
use super::standing::{self, Standing};
use super::{
    AdoptionError, Change, Error, Fault, HistoryError, LeftAlone, Migrator, OutOfStep, Problem, Remedy, Repeatable,
    Version, Why, adopt, invalid_index, objects, record,
};
use crate::db::{self, Connection};

/// For each object, the version that it is of, and its definition; none if it is to be gone.
type Expected<'a> = BTreeMap<&'a str, (Version, Option<&'a str>)>;

/// What was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The recorded versions with the files.
    History,
    /// The objects that the recorded versions should have left with those that are there.
    Schema,
}

/// What a comparison found.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    /// What was compared.
    pub check: Check,
    /// How many versions, or objects, were looked at.
    pub checked: usize,
    /// How many of the recorded versions an older migrator has applied.
    pub adopted: usize,
    /// How many more it has applied, which the next run takes over.
    pub to_adopt: usize,
    /// Repeatable files that are not applied, and whose objects are therefore not compared.
    pub left_alone: Vec<LeftAlone>,
    /// What is no fault, and better ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// What is not as it should be.
    #[serde(skip)]
    pub problems: Vec<Problem>,
}

impl Migrator {
    /// Compares the recorded versions with the files, and with the ledger of an older migrator where there is one.
    ///
    /// # Errors
    ///
    /// When the database cannot be asked.
    pub async fn verify_history(&self) -> Result<Verified, Error> {
        let connection = self.connector.clone().read_only().connect("migrate: verify").await?;
        let facts = self.look_at_server(&connection).await?;
        let history = self.history(&connection, Extent::Whole).await?;
        let mut judged = self.refuse_misplaced(&connection, &facts, &history, false).await;
        if judged.is_ok() {
            judged = self.judge(&connection, &history).await;
        }
        if judged.is_ok() {
            judged = self.refuse_out_of_step(&connection, &history).await;
        }
        connection.close().await;
        let mut problems: Vec<_> = history.problems(&self.set).iter().map(|problem| self.of_history(problem)).collect();
        match judged {
            // These are told one by one: below, and by the comparison of the schema.
            Ok(()) | Err(Error::Adoption(AdoptionError::Restored { .. } | AdoptionError::Problems { .. })) => {}
            Err(
                error @ (Error::Adoption(_) | Error::ForeignLedger { .. } | Error::OutOfStep(_) | Error::Misplaced(_)),
            ) => {
                let remedy = match &error {
                    Error::OutOfStep(found) => found.statement(),
                    _ => None,
                };
                problems.push(Problem {
                    remedy: remedy.map(Into::into),
                    ..Problem::new(Version::NONE, String::new(), "version", error.to_string())
                });
            }
            Err(error) => return Err(error),
        }
        if let Some(recorded) = history.ledger.ledger() {
            problems.extend(history.versions().iter().filter_map(|version| {
                let migration = self.set.migration(*version)?;
                let missing = recorded.missing(&self.set, migration);
                (!missing.is_empty()).then(|| Problem {
                    remedy: Some((record::ledger_insert(&recorded.table, &missing) + ";").into()),
                    ..Problem::new(
                        *version,
                        migration.file(),
                        "version",
                        format!("{} is not recorded in {}", migration.file(), recorded.table),
                    )
                })
            }));
        }
        Ok(Verified {
            check: Check::History,
            checked: history.applied.len(),
            adopted: history.applied.iter().filter(|row| row.adopted).count(),
            to_adopt: history.adoptable().len(),
            left_alone: Vec::new(),
            warnings: Vec::new(),
            problems,
        })
    }

    fn of_history(&self, problem: &HistoryError) -> Problem {
        let version = problem.version();
        let recorded_as = self.set.migration(version).map_or_else(|| version.label(), super::Migration::file);
        Problem::new(version, recorded_as, "version", problem.to_string())
    }

    /// Compares the objects that the recorded versions should have left with those that are there: definitions for what
    /// this program has applied, what other programs rely on for what an older one has. Invalid indexes and disabled
    /// triggers count as wrong.
    ///
    /// # Errors
    ///
    /// When the database cannot be asked.
    pub async fn verify_schema(&self) -> Result<Verified, Error> {
        let connection = self.connector.clone().read_only().connect("migrate: verify").await?;
        self.look_at_server(&connection).await?;
        let history = self.history(&connection, Extent::Whole).await?;
        // What the application goes on changing is held to what other programs rely on, whoever has made it.
        let shared = self.set.ledger().map_or(Version::NONE, |ledger| ledger.shared_until);
        let (adopted, applied): (Vec<_>, Vec<_>) =
            history.applied.iter().partition(|row| row.adopted || row.version <= shared);
        let applied: Vec<_> = applied.iter().map(|row| row.version).collect();
        let adopted: Vec<_> = adopted
            .iter()
            .map(|row| row.version)
            .chain(history.adoptable().iter().map(|adopted| adopted.version))
            .collect();
        let found = objects::objects(&connection, &self.set).await?;
        let mut expected = self.set.description().after(&applied);
        let (made, left_alone, mut problems) = self.compare_repeatables(&history, &mut expected, &found);
        problems.extend(self.compare(&expected, &found));
        if let Some(OutOfStep::Behind { there, .. }) = self.out_of_step(&connection, &history).await? {
            problems.extend(there.into_iter().map(|(object, file)| {
                let what = "is there, and the version that makes it is not recorded".to_owned();
                Problem::new(history.current(), file, &object, what)
            }));
        }
        let recorded: Vec<_> = applied.iter().chain(&adopted).copied().collect();
        let (older, demanded) = adopt::problems(&connection, &self.set, recorded).await?;
        problems.extend(older.into_iter().filter(|problem| adopted.contains(&problem.version)));
        if self.set.description().is_empty() {
            problems.extend(self.broken_indexes(&connection, &applied).await?);
        }
        let checked = made + expected.len() + demanded.iter().filter(|version| adopted.contains(version)).count();
        problems.extend(self.stray_invalid_indexes(&connection, &problems).await?);
        problems.extend(overloads::problems(&connection, &self.set).await?);
        match db::check_history(&connection).await {
            Ok(()) => {}
            Err(db::Error::AlteredHistory { object, remedy }) => problems.push(Problem {
                remedy: remedy.map(|remedy| format!("{remedy};").into()),
                ..Problem::new(
                    Version::NONE,
                    String::new(),
                    &object,
                    "is nothing that this program has put there".to_owned(),
                )
            }),
            Err(error) => return Err(error.into()),
        }
        let warnings = overloads::everybody_may_create(&connection, &self.set).await?.into_iter().collect();
        connection.close().await;
        Ok(Verified {
            check: Check::Schema,
            checked,
            adopted: adopted.len(),
            to_adopt: history.adoptable().len(),
            left_alone,
            warnings,
            problems,
        })
    }

    /// Compares what the repeatable files have made: how many objects that is, the files that are not applied, and what is
    /// wrong. It stands in for what the version that a file begins with has made, which is `expected` no longer.
    fn compare_repeatables(
        &self,
        history: &History,
        expected: &mut Expected<'_>,
        found: &Objects,
    ) -> (usize, Vec<LeftAlone>, Vec<Problem>) {
        let (mut made, mut left_alone, mut problems) = (0, Vec::new(), Vec::new());
        for (repeatable, standing) in self.set.repeatables().iter().zip(&history.repeatables) {
            match &standing.made {
                Some(made) => expected.retain(|object, _| !made.contains_key(*object)),
                None => expected.retain(|_, (version, _)| Some(*version) != repeatable.since()),
            }
            if let Some(reason) = &standing.left_alone {
                left_alone.push(LeftAlone { file: repeatable.file(), reason: reason.clone() });
            } else if repeatable.is_due(history.current()) {
                let (checked, wrong) = of_repeatable(repeatable, standing, found);
                made += checked;
                problems.extend(wrong);
            }
        }
        (made, left_alone, problems)
    }

    /// Compares what versions have made.
    fn compare(&self, expected: &Expected<'_>, found: &Objects) -> Vec<Problem> {
        let problem = |(object, (version, definition)): (&&str, &(Version, Option<&str>))| {
            let fault = match (definition, found.get(*object)) {
                (Some(definition), Some(found)) if without_comment(definition) == without_comment(found) => {
                    return None;
                }
                (None, None) => return None,
                (Some(_), None) => Fault::Changed(Change::Missing),
                (None, Some(_)) => Fault::StillThere,
                (Some(_), Some(found)) if found.contains(" INVALID") => Fault::Interrupted,
                (Some(_), Some(found)) if found.contains(" DISABLED") => Fault::Changed(Change::Disabled),
                (Some(_), Some(_)) => Fault::NotAsMade,
            };
            Some(Problem {
                expected: definition.map(str::to_owned),
                found: found.get(*object).cloned(),
                remedy: remedy(object, &fault).map(Into::into),
                ..Problem::new(*version, self.file(*version), object, fault)
            })
        };
        expected.iter().filter_map(problem).collect()
    }

    fn file(&self, version: Version) -> String {
        self.set.migration(version).map(super::Migration::file).unwrap_or_default()
    }

    /// The concurrent indexes of a set without a description.
    async fn broken_indexes(&self, connection: &Connection, applied: &[Version]) -> Result<Vec<Problem>, Error> {
        let mut problems = Vec::new();
        for migration in self.set.migrations().iter().filter(|m| applied.contains(&m.version())) {
            for index in migration.mode().indexes() {
                let found = invalid_index::look_up(connection, index).await?;
                if matches!(found, invalid_index::Found::ValidIndex | invalid_index::Found::Nothing) {
                    continue;
                }
                let object = format!("index {} on {}", index.name, index.table);
                problems.push(Problem {
                    remedy: remedy(&object, &Fault::Interrupted).map(Into::into),
                    ..Problem::new(migration.version(), migration.file(), &object, found.to_string())
                });
            }
        }
        Ok(problems)
    }

    /// Invalid indexes that no version accounts for: on the tables that this set changes; for a folder, of which nobody knows
    /// what it changes, on those that its files speak of.
    async fn stray_invalid_indexes(&self, connection: &Connection, known: &[Problem]) -> Result<Vec<Problem>, Error> {
        const STRAY: &str = include_str!("stray_indexes.sql");
        let is_folder = self.set.origin().is_some() && self.set.description().is_empty();
        let tables = (!is_folder).then(|| self.set.changed_tables_in_sql());
        let is_spoken_of = |table: &str| {
            let table = table.to_lowercase();
            self.set.migrations().iter().any(|migration| migration.sql().to_lowercase().contains(&table))
        };
        let what = if is_folder { "is invalid: no query uses it" } else { "is invalid, and no version has made it" };
        let mut problems = Vec::new();
        for row in connection.query(STRAY, &[&tables]).await? {
            let (object, table, remedy): (String, String, String) =
                (row.get("object"), row.get("table"), row.get("remedy"));
            if known.iter().any(|problem| problem.object == object) || is_folder && !is_spoken_of(&table) {
                continue;
            }
            let problem = Problem::new(Version::NONE, String::new(), &object, what.to_owned());
            problems.push(Problem { remedy: Some(remedy.into()), ..problem });
        }
        Ok(problems)
    }
}

/// How many objects a repeatable file has made, and which of them are not as it made them.
fn of_repeatable(repeatable: &Repeatable, standing: &Standing, found: &Objects) -> (usize, Vec<Problem>) {
    let problem = |object: &str, what: Fault| Problem {
        remedy: Some(Remedy::Up),
        ..Problem::new(repeatable.place(), repeatable.file(), object, what)
    };
    let Some(made) = &standing.made else {
        return (0, vec![problem(&repeatable.file(), "has not been applied to this database".to_owned().into())]);
    };
    let mut problems: Vec<Problem> = made
        .iter()
        .filter_map(|(object, definition)| {
            let change = standing::change(definition, found.get(object))?;
            let (expected, found) = (Some(definition.clone()), found.get(object).cloned());
            Some(Problem { expected, found, ..problem(object, change.into()) })
        })
        .collect();
    if standing.due == Some(Why::FileChanged) {
        problems.push(problem(&repeatable.file(), "has changed since it was applied".to_owned().into()));
    }
    (made.len(), problems)
}

/// The statement that puts an object right, where one does.
fn remedy(object: &str, fault: &Fault) -> Option<String> {
    let (kind, rest) = object.split_once(' ')?;
    let (name, table) = rest.split_once(" on ").unwrap_or((rest, ""));
    match kind {
        "index" if *fault == Fault::Interrupted => Some(format!("REINDEX INDEX CONCURRENTLY {name};")),
        "trigger" if *fault == Fault::Changed(Change::Disabled) => {
            Some(format!("ALTER TABLE {table} ENABLE TRIGGER {name};"))
        }
        _ => None,
    }
}
