//! What is looked at after a run: the history, the schema, the objects that its versions promise, invalid indexes, the set's own
//! checks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::beside::Unchosen;
use crate::db::{self, Connector, Program};
use crate::engine::{self, Intent, Migrator, TableShape, Verified};
use crate::exit;
use crate::failure::Failure;
use crate::json::Json;
use crate::product::{Content, Context};
use crate::screen::Screen;

/// Where the checks are made.
pub(in super::super) struct Around<'a> {
    pub content: &'a dyn Content,
    pub unchosen: &'a Unchosen,
    pub connector: &'a Connector,
    pub migrator: &'a Migrator,
    pub program: &'a Program,
    pub lock_wait: Duration,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Checks {
    #[serde(rename = "checks")]
    pub made: Vec<Made>,
    pub promised: Vec<Promised>,
    pub tables: Vec<TableShape>,
}

/// One check.
#[derive(Debug, Serialize)]
pub(super) struct Made {
    pub check: String,
    pub result: Outcome,
    /// A line each.
    pub says: Vec<String>,
    /// What a program would have been told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<Value>,
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Passed,
    Differs,
    /// There was nothing to compare, which is no fault.
    NotCompared,
    NotMade,
}

/// An object that one of the versions makes or removes.
#[derive(Debug, Serialize)]
pub(super) struct Promised {
    pub object: String,
    pub version: String,
    #[serde(skip)]
    pub place: engine::Version,
    /// None: it is to be gone.
    pub expected: Option<String>,
    pub found: Option<String>,
    /// What is wrong with it.
    pub problem: Option<String>,
}

impl Outcome {
    pub fn words(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Differs => "differs",
            Self::NotCompared => "not compared",
            Self::NotMade => "not made",
        }
    }
}

impl Checks {
    /// None was made, for this reason.
    pub fn none(why: &str) -> Self {
        let made =
            Made { check: "all".to_owned(), result: Outcome::NotMade, says: vec![why.to_owned()], lines: Vec::new() };
        Self { made: vec![made], ..Self::default() }
    }

    /// Whether all were made, and none has found a difference.
    pub fn passed(&self) -> bool {
        self.made.iter().all(|made| matches!(made.result, Outcome::Passed | Outcome::NotCompared))
    }

    /// Makes them. `tables` are those that the run has made or changed.
    pub async fn make(around: &Around<'_>, intent: &Intent, tables: &[String], is_done: bool) -> Self {
        let (history, _) = of_engine("history", around.migrator.verify_history().await);
        let (schema, problems) = of_engine("schema", around.migrator.verify_schema().await);
        let mut checks = Self { made: vec![history, schema], ..Self::default() };
        if let Err(error) = checks.look(around, intent, tables, &problems).await {
            checks.made.push(not_made("objects", &Failure::from(error)));
        }
        for check in around.content.checks() {
            let name = check.command().get_name().to_owned();
            checks.made.push(if is_done {
                own(around, &name, check.as_ref()).await
            } else {
                let says = vec!["the run has failed".to_owned()];
                Made { check: name, result: Outcome::NotMade, says, lines: Vec::new() }
            });
        }
        checks
    }

    /// Looks at the objects themselves.
    async fn look(
        &mut self,
        around: &Around<'_>,
        intent: &Intent,
        tables: &[String],
        problems: &[engine::Problem],
    ) -> Result<(), db::Error> {
        let connection = around.connector.clone().read_only().connect("migrate: evidence").await?;
        let invalid = engine::invalid_indexes(&connection).await?;
        self.tables = engine::describe(&connection, tables).await?;
        let set = around.migrator.set();
        let expected = set.description().after(&intent.versions);
        let found =
            if expected.is_empty() { engine::Objects::new() } else { engine::objects(&connection, set).await? };
        connection.close().await;
        self.promised.extend(expected.into_iter().map(|(object, (version, definition))| Promised {
            object: object.to_owned(),
            version: version.label(),
            place: version,
            expected: definition.map(str::to_owned),
            found: found.get(object).cloned(),
            problem: problems.iter().find(|problem| problem.object == object).map(ToString::to_string),
        }));
        self.promised.sort_by_key(|promised| promised.place);
        let says = if invalid.is_empty() { vec!["there is none in this database".to_owned()] } else { invalid.clone() };
        let result = if invalid.is_empty() { Outcome::Passed } else { Outcome::Differs };
        self.made.push(Made { check: "invalid indexes".to_owned(), result, says, lines: Vec::new() });
        Ok(())
    }
}

fn of_engine(name: &str, verified: Result<Verified, engine::Error>) -> (Made, Vec<engine::Problem>) {
    let found = match verified {
        Ok(found) => found,
        Err(error) => return (not_made(name, &Failure::from(error)), Vec::new()),
    };
    let what = match found.check {
        engine::Check::History => "version",
        engine::Check::Schema => "object",
    };
    let compared = crate::words::count(found.checked, what);
    let mut says: Vec<String> = found.problems.iter().map(ToString::to_string).collect();
    match found.check {
        _ if !says.is_empty() => {}
        engine::Check::Schema if found.checked == 0 => {
            says.push("nothing to compare: the files do not say what they make, beyond their SQL".to_owned());
        }
        engine::Check::History => says.push(format!("{compared} recorded, as they were applied")),
        engine::Check::Schema => says.push(format!("{compared} compared, as they should be")),
    }
    says.extend(found.warnings.iter().map(|warning| warning.what.clone()));
    let result = if found.problems.is_empty() { Outcome::Passed } else { Outcome::Differs };
    let lines = vec![
        json!({ "compared": found.checked, "problems": found.problems.iter().filter_map(|problem| serde_json::to_value(problem).ok()).collect::<Vec<_>>() }),
    ];
    (Made { check: name.to_owned(), result, says, lines }, found.problems)
}

fn not_made(name: &str, failure: &Failure) -> Made {
    Made { check: name.to_owned(), result: Outcome::NotMade, says: vec![failure.message.clone()], lines: Vec::new() }
}

/// A check of the set itself. What it would show is kept.
async fn own(around: &Around<'_>, name: &str, check: &dyn crate::product::Check) -> Made {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeper = Arc::clone(&kept);
    let keep = move |line: &str| keeper.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned());
    let json = Json::kept_by(around.content.name(), Arc::new(keep));
    let cx = Context {
        unchosen: around.unchosen,
        connector: around.connector,
        migrator: around.migrator,
        screen: Arc::new(Screen::kept(around.program.clone(), json)),
        lock_wait: around.lock_wait,
        witnesses: &[],
    };
    let code = match check.run(None, &cx).await {
        Ok(code) => code,
        Err(failure) => return not_made(name, &failure),
    };
    let lines: Vec<String> = std::mem::take(&mut kept.lock().unwrap_or_else(PoisonError::into_inner));
    let lines: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    Made {
        check: name.to_owned(),
        result: match code {
            exit::OK if lines.last().is_some_and(compares_nothing) => Outcome::NotCompared,
            exit::OK => Outcome::Passed,
            _ => Outcome::Differs,
        },
        says: lines.last().map(fields).into_iter().flatten().collect(),
        lines,
    }
}

/// Whether a check tells that it had nothing to compare.
fn compares_nothing(result: &Value) -> bool {
    let event = result["event"].as_str().unwrap_or_default();
    event.ends_with("_not_compared") || event.starts_with("no_")
}

/// What an object says, in a line: the last one of a check is its result.
fn fields(object: &Value) -> Option<String> {
    let fields = object.as_object()?.iter().filter(|(name, value)| {
        !["event", "set", "time"].contains(&name.as_str())
            && !value.is_null()
            && !value.is_boolean()
            && !value.is_object()
            && !value.is_array()
    });
    let said: Vec<String> = fields
        .map(|(name, value)| {
            format!("{} {}", name.replace('_', " "), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        })
        .collect();
    Some(said.join(", ")).filter(|said| !said.is_empty())
}
