//! The schema of a database as text: sorted, without data, the same for the same schema whatever the server.
//!
//! A block an object: its kind and name, and a line for each thing that it has, indented by four. Code, such as the body of a
//! function, is indented by eight. So nothing that a database holds can pass for an object or a line of ours.

mod lines;
mod portable;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use self::lines::{CODE, HEADING, LINE, push};
use super::tool::{Tool, find_tool_tables};
use crate::db::{Connection, Error};

/// In the order of the text, behind the schema that holds them. What stands in no schema comes first.
const KINDS: [&str; 26] = [
    "extension",
    "foreign data wrapper",
    "foreign server",
    "cast",
    "event trigger",
    "publication",
    "schema",
    "base type",
    "collation",
    "composite type",
    "domain",
    "enum",
    "range type",
    "aggregate",
    "function",
    "procedure",
    "operator",
    "operator class",
    "text search configuration",
    "text search dictionary",
    "sequence",
    "statistics",
    "table",
    "foreign table",
    "view",
    "materialized view",
];

/// SQL: the options `o`, each with its value, unless its name says that the value is a secret.
const OPTIONS: &str = "pg_catalog.string_agg(pg_catalog.format('%I %L', o.option_name, \
    CASE WHEN o.option_name ~* '(pass|secret|token|key|credential)' OR o.option_value ~* '(://[^/]*:[^/]*@|password *=)' THEN '***' ELSE o.option_value END), \
    ', ' ORDER BY o.option_name COLLATE \"C\")";

/// The schema of a database at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its objects, in the order of the text.
    pub objects: Vec<SnapshotObject>,
}

/// One object of a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotObject {
    /// The schema that it stands in; empty for what stands in none.
    pub schema: String,
    /// What it is: `table`, `function`, `publication`.
    pub kind: String,
    /// Its name, quoted as in SQL and qualified by its schema; a routine's has the types of its arguments.
    pub name: String,
    /// Its block of the text, without a line break at the end.
    pub text: String,
}

/// The schema of the database as text.
///
/// # Errors
///
/// What the server says.
pub async fn snapshot(connection: &Connection) -> Result<String, Error> {
    Ok(Snapshot::take(connection).await?.to_string())
}

/// What identifies an object and gives its place: schema, place of its kind, kind, name.
type Id = (String, usize, String, String);

/// A line's place in its block, the line, and code below it.
type Part = (u32, String, Option<String>, Option<String>);

impl Snapshot {
    /// Looks at the database, in one read-only transaction of its own. The role needs no rights: catalogs are public.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn take(connection: &Connection) -> Result<Self, Error> {
        // Whatever the role's search path, names are written in full.
        const PIN: &str = "
            SET LOCAL search_path TO '';
            SET LOCAL jit TO off;
            SELECT pg_catalog.current_setting('server_version_num') AS version";
        let transaction = connection.begin_snapshot().await?;
        let answers = transaction.simple_query(PIN).await?;
        let version = rows(&answers).last().and_then(|row| row.get("version")?.parse::<u32>().ok()).unwrap_or_default();
        let tools = find_tool_tables(&transaction, None).await?;
        let mut left_out = BTreeSet::new();
        for found in &tools {
            left_out.insert(found.qualified.clone());
            if found.tool == Tool::Rails
                && let Some(schema) = found.qualified.strip_suffix(&found.table)
            {
                left_out.insert(format!("{schema}ar_internal_metadata"));
            }
        }
        let answers = transaction.simple_query(&queries(version / 10_000)).await?;
        transaction.rollback().await;
        let mut objects: BTreeMap<Id, Vec<Part>> = BTreeMap::new();
        for row in rows(&answers) {
            let text = |column| value(row, column).map(|text| text.map(str::to_owned));
            let (schema, kind, name) = (text("schema")?, text("kind")?, text("name")?);
            if text("table")?.is_some_and(|table| left_out.contains(&table)) {
                continue;
            }
            let kind = kind.unwrap_or_default();
            let place = KINDS.iter().position(|known| *known == kind).unwrap_or(KINDS.len());
            let part = text("part")?.and_then(|part| part.parse().ok()).unwrap_or_default();
            let id = (schema.unwrap_or_default(), place, kind, name.unwrap_or_default());
            let part = (part, text("key")?.unwrap_or_default(), text("line")?, text("code")?);
            objects.entry(id).or_default().push(part);
        }
        // A schema in which a tool keeps nothing but its history is the tool's.
        for schema in tools.into_iter().map(|found| found.schema) {
            let mut there = objects.keys().filter(|(of, ..)| *of == schema);
            if let (Some(only), None) = (there.next().cloned(), there.next())
                && schema != "public"
                && only.2 == "schema"
            {
                objects.remove(&only);
            }
        }
        Ok(Self { objects: objects.into_iter().map(object).collect() })
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, object) in self.objects.iter().enumerate() {
            let gap = if at == 0 { "" } else { "\n" };
            writeln!(f, "{gap}{}", object.text)?;
        }
        Ok(())
    }
}

/// The queries for a server of this major: all in one round trip.
fn queries(major: u32) -> String {
    const ALL: &str = concat!(
        include_str!("snapshot/database.sql"),
        include_str!("snapshot/schemas.sql"),
        include_str!("snapshot/relations.sql")
    );
    let fits = |line: &&str| match line.rsplit_once("-- since ") {
        Some((_, since)) => since.trim().parse().is_ok_and(|since: u32| since <= major),
        None => true,
    };
    ALL.lines().filter(fits).map(|line| line.replace("{options}", OPTIONS) + "\n").collect()
}

fn rows(answers: &[SimpleQueryMessage]) -> impl Iterator<Item = &SimpleQueryRow> {
    answers.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })
}

/// A value of a row. One that is not UTF-8, in a database without an encoding, is an error.
fn value<'r>(row: &'r SimpleQueryRow, column: &str) -> Result<Option<&'r str>, Error> {
    row.try_get(column).map_err(Error::from)
}

fn object(((schema, _, kind, name), mut parts): (Id, Vec<Part>)) -> SnapshotObject {
    parts.sort();
    let name = portable::names(&name);
    let mut text = String::new();
    push(&mut text, HEADING, &format!("{kind} {name}"));
    for (_, _, line, code) in parts {
        if let Some(line) = line.filter(|line| !line.is_empty()) {
            push(&mut text, LINE, &portable::names(&line));
        }
        if let Some(code) = code {
            let code = portable::names(&code);
            let code = if kind.ends_with("view") { portable::columns(&code) } else { code };
            for line in code.strip_suffix('\n').unwrap_or(&code).split('\n') {
                push(&mut text, CODE, line);
            }
        }
    }
    text.truncate(text.len() - 1);
    SnapshotObject { schema, kind, name, text }
}
