//! The right files in the wrong place: under the name of another set, in another schema, or with the history of a tool that
//! another set continues. By themselves they would be run again, or not at all.

use super::adopt::Found;
use super::hint_text::{listed, search_path};
use super::history::{self, History};
use super::record::{file_history_table, history_table};
use super::{Error, Migration, Migrator, Plan, Set};
use crate::db::{self, Connection, ServerFacts};

/// A set is not where its history says. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misplaced {
    /// Another set has applied these files.
    #[error("set {set} has never been applied here, and set {other} has applied the same files: {}", listed(files))]
    Renamed {
        /// The set.
        set: String,
        /// The set whose history has these files.
        other: String,
        /// The files that both have.
        files: Vec<String>,
        /// The statements that give that history to this set.
        rename: String,
    },
    /// Another set continues the history of the tool.
    #[error("set {other} continues {table}, so what that records would count as applied for set {set}, too")]
    Shared {
        /// The set.
        set: String,
        /// The set that continues it.
        other: String,
        /// The history of the tool.
        table: String,
    },
    /// The files were applied in another schema.
    #[error("set {set} was applied in schema {recorded}, and the search path begins with {present} now")]
    Schema {
        /// The set.
        set: String,
        /// Where it was applied.
        recorded: String,
        /// Where it would be applied now.
        present: String,
        /// The statement that records the present schema instead.
        moved: String,
    },
}

impl Misplaced {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Renamed { set, other, rename, .. } => format!(
                "nothing was written; to continue that history, run the set as {other} (--set {other}, where migrate.toml names \
                 it; --config FILE finds that). If {other} is called {set} from now on, run: {rename}"
            ),
            Self::Shared { set, table, .. } => format!(
                "nothing was written; a history is continued by one set: write take-over = false into [set.{set}], or give it a \
                 table of its own, take-over = {{ table = \"...\" }}, and rename {table} if it is not the other one's"
            ),
            Self::Schema { recorded, present, moved, .. } => format!(
                "nothing was written; for schema {recorded}, add to the URL: {}. A set has one history: to apply the files \
                 to {present}, too, give that schema a set of its own in migrate.toml. If {recorded} is called {present} now, \
                 run: {moved}",
                search_path(recorded)
            ),
        }
    }
}

impl From<Misplaced> for Error {
    fn from(misplaced: Misplaced) -> Self {
        Self::Misplaced(Box::new(misplaced))
    }
}

/// The history of another set in the same schema.
struct Other {
    name: String,
    /// The tables of it.
    tables: Vec<String>,
    rows: Vec<(String, String)>,
    /// The histories of tools that it continues.
    continues: Vec<String>,
}

impl Migrator {
    /// What is recorded says where, and which history it continues.
    pub(super) async fn say_where(
        &self,
        connection: &Connection,
        plan: &Plan,
        facts: &ServerFacts,
    ) -> Result<(), Error> {
        let is_kept = self.set.origin().is_some_and(|origin| origin.keep);
        let table = plan.tool.as_ref().map(|table| table.qualified.as_str()).or(plan.ledger.as_deref());
        let continues = table.filter(|_| is_kept || plan.adopted() > 0);
        Ok(history::says(connection, facts.schema.as_deref(), continues).await?)
    }

    /// Refuses a set that is not where its history says. With a baseline, the operator has said what is applied.
    pub(super) async fn refuse_misplaced(
        &self,
        connection: &Connection,
        facts: &ServerFacts,
        history: &History,
        has_baseline: bool,
    ) -> Result<(), Error> {
        let set = &self.set;
        let Some(origin) = set.origin() else { return Ok(()) };
        if let (Some(present), None) = (&facts.schema, set.owned_like())
            && !history.applied_in.contains(present)
            && let Some(recorded) = history.applied_in.first()
        {
            let tables = history
                .tables
                .iter()
                .map(|table| format!("UPDATE {table} SET in_schema = ARRAY[{}]", literal(present)));
            return Err(Misplaced::Schema {
                set: set.name().to_owned(),
                recorded: recorded.clone(),
                present: present.clone(),
                moved: tables.collect::<Vec<_>>().join("; ") + ";",
            }
            .into());
        }
        let is_new = history.applied.is_empty() && !has_baseline;
        let table = match &history.ledger {
            Found::Ledger(recorded)
                if !recorded.adopt.is_empty()
                    || !recorded.problems.is_empty()
                    || origin.keep && !history.has_all(set) =>
            {
                Some(&recorded.table).filter(|table| !history.continues.contains(*table))
            }
            _ => None,
        };
        if !is_new && table.is_none() {
            return Ok(());
        }
        let others = others(connection, set, facts.schema.as_deref()).await?;
        if let Some((other, files)) = others.iter().filter(|_| is_new).find_map(|other| Some((other, other.same(set)?)))
        {
            let (set, rename) = (set.name().to_owned(), other.rename(set, history));
            return Err(Misplaced::Renamed { set, other: other.name.clone(), files, rename }.into());
        }
        let Some(table) = table else { return Ok(()) };
        match others.into_iter().find(|other| other.continues.contains(table)) {
            Some(other) => {
                let (set, table) = (set.name().to_owned(), table.clone());
                Err(Misplaced::Shared { set, other: other.name, table }.into())
            }
            None => Ok(()),
        }
    }
}

impl Other {
    /// The files of the set that it records, if they are most of what one of both has: some tools begin every folder with the
    /// same file.
    fn same(&self, set: &Set) -> Option<Vec<String>> {
        let is_recorded = |migration: &&Migration| {
            let (version, checksum) = (recorded_as(migration), migration.checksum().to_string());
            self.rows.iter().any(|row| row.0 == version && row.1 == checksum)
        };
        let files: Vec<String> = set.migrations().iter().filter(is_recorded).map(Migration::file).collect();
        (files.len() * 2 > self.rows.len().min(set.migrations().len())).then_some(files)
    }

    /// The statements that give its history to this set.
    fn rename(&self, set: &Set, history: &History) -> String {
        let (from, to) = (&self.name, set.name());
        // A run that applied nothing has left empty tables.
        let mut statements: Vec<String> = history.tables.iter().map(|table| format!("DROP TABLE {table}")).collect();
        for (old, new) in [("migrate.history_", history_table(set)), ("migrate.file_history_", file_history_table(set))]
        {
            let old = format!("{old}{}", from.replace('-', "_"));
            if self.tables.contains(&old) {
                let bare = new.trim_start_matches("migrate.");
                statements.push(format!("ALTER TABLE {old} RENAME TO {bare}"));
            }
        }
        let rest = ["hook_run", "hook_state", "repeatable"];
        statements.extend(rest.map(|table| {
            format!("UPDATE migrate.{table} SET set_name = {} WHERE set_name = {}", literal(to), literal(from))
        }));
        format!("BEGIN; {}; COMMIT;", statements.join("; "))
    }
}

/// How our history calls a migration.
fn recorded_as(migration: &Migration) -> String {
    migration.number().map_or_else(|| migration.version().to_string(), |number| number.to_string())
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The histories of other sets that were applied in this schema, or nobody knows where.
async fn others(connection: &Connection, set: &Set, schema: Option<&str>) -> Result<Vec<Other>, db::Error> {
    const TABLES: &str = include_str!("misplaced.sql");
    // So far, only the tables of this set are known to be harmless to read.
    db::refuse_superuser(connection, &[], &[], db::Purpose::Look).await?;
    let own = [history_table(set), file_history_table(set)];
    let mut others: Vec<Other> = Vec::new();
    for table in connection.query(TABLES, &[&own.as_slice()]).await? {
        let (table, name): (String, String) = (table.get("table"), table.get("set"));
        let sql = format!(
            "SELECT version::text AS version, checksum,
                    nullif(pg_catalog.to_jsonb(h) ->> 'continues'::text, '') AS continues
             FROM {table} h
             WHERE coalesce(
                 nullif(pg_catalog.to_jsonb(h) -> 'in_schema'::text, 'null'::jsonb) @> pg_catalog.to_jsonb($1::text), true)
             LIMIT 10000"
        );
        let rows = connection.query(&sql, &[&schema]).await?;
        let at = others.iter().position(|other| other.name == name).unwrap_or_else(|| {
            others.push(Other { name, tables: Vec::new(), rows: Vec::new(), continues: Vec::new() });
            others.len() - 1
        });
        let Some(other) = others.get_mut(at) else { continue };
        other.tables.push(table);
        other.continues.extend(rows.iter().filter_map(|row| row.get("continues")));
        other.rows.extend(rows.iter().map(|row| (row.get("version"), row.get("checksum"))));
    }
    Ok(others)
}
