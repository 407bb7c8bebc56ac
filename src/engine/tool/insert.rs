//! Recording a version in a tool's history, as the tool itself would have recorded it.

use super::quote::{number, optional, text};
use super::tables::{Tool, ToolTable};
use crate::{Migration, sql};

/// How long the transaction has run by now, in nanoseconds.
const NANOSECONDS: &str =
    "(extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.now()) * 1000000000)::pg_catalog.int8";

/// The same in milliseconds.
const MILLISECONDS: &str =
    "(extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.now()) * 1000)::pg_catalog.int4";

/// refinery writes the time as text, RFC 3339 in UTC.
const RFC_3339: &str =
    r#"pg_catalog.to_char(pg_catalog.clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#;

/// Why a tool's history cannot be kept in step, if it cannot.
#[must_use]
pub fn cannot_keep(tool: Tool) -> Option<&'static str> {
    match tool {
        Tool::Rails => Some("the migrations of Rails are not SQL"),
        Tool::Ecto => Some("the migrations of Ecto are not SQL"),
        _ => None,
    }
}

/// The rights on a tool's history that recording a version there needs, besides reading it.
#[must_use]
pub fn rights(tool: Tool) -> &'static [&'static str] {
    match tool {
        Tool::GolangMigrate => &["INSERT", "DELETE"],
        Tool::Sqlx | Tool::Refinery | Tool::Atlas => &["INSERT", "UPDATE"],
        _ => &["INSERT"],
    }
}

/// The statement that records a migration as applied, to be sent in the transaction that applies it. A version that is there
/// already stays there once.
#[must_use]
pub fn insert(table: &ToolTable, migration: &Migration) -> String {
    let (entry, into) = (migration.entry(), &table.qualified);
    let version = number(&entry.version);
    let key = text(&entry.version);
    let described_as = text(&entry.described_as);
    let checksum = entry.checksum.as_ref().map_or("", |checksum| checksum.recorded.as_str());
    match table.tool {
        Tool::Sqlx => format!(
            "INSERT INTO {into} (version, description, success, checksum, execution_time) \
             VALUES ({version}, {described_as}, true, pg_catalog.decode({}, 'hex'), {NANOSECONDS}) \
             ON CONFLICT (version) DO UPDATE SET description = excluded.description, installed_on = excluded.installed_on, \
             success = true, checksum = excluded.checksum, execution_time = excluded.execution_time",
            text(checksum)
        ),
        Tool::GolangMigrate => {
            format!("DELETE FROM {into}; INSERT INTO {into} (version, dirty) VALUES ({version}, false)")
        }
        Tool::Dbmate | Tool::UpDown | Tool::Diesel | Tool::Rails => unless_there(into, "version", &key, "", ""),
        Tool::Ecto => unless_there(into, "version", &version, "", ""),
        Tool::Goose => format!(
            "INSERT INTO {into} (version_id, is_applied) SELECT {version}, true WHERE NOT coalesce(\
             (SELECT is_applied FROM {into} WHERE version_id = {version} ORDER BY id DESC LIMIT 1), false)"
        ),
        Tool::Refinery => {
            let wide = entry.checksum.as_ref().and_then(|checksum| checksum.also.first()).filter(|_| table.is_wide());
            format!(
                "INSERT INTO {into} (version, name, applied_on, checksum) VALUES ({version}, {described_as}, {RFC_3339}, {}) \
                 ON CONFLICT (version) DO UPDATE SET name = excluded.name, applied_on = excluded.applied_on, \
                 checksum = excluded.checksum",
                text(wide.map_or(checksum, String::as_str))
            )
        }
        Tool::Flyway => {
            let kind = if migration.is_baseline() { "SQL_BASELINE" } else { "SQL" };
            let event = Event { version: Some(&entry.version), kind, script: &migration.file() };
            let recorded = entry.checksum.as_ref().map(|checksum| checksum.recorded.as_str());
            flyway(table, &event, &entry.described_as, recorded)
        }
        Tool::Prisma => format!(
            "INSERT INTO {into} (id, checksum, finished_at, migration_name, started_at, applied_steps_count) \
             SELECT pg_catalog.gen_random_uuid()::text, {}, pg_catalog.clock_timestamp(), {key}, pg_catalog.now(), 1 \
             WHERE NOT EXISTS (SELECT FROM {into} WHERE migration_name = {key} AND finished_at IS NOT NULL \
             AND rolled_back_at IS NULL)",
            text(checksum)
        ),
        Tool::Drizzle => {
            let written_at = entry.written_at.unwrap_or_default().to_string();
            unless_there(into, "created_at", &written_at, ", hash", &format!(", {}", text(checksum)))
        }
        Tool::DrizzleFolders => {
            let written_at = entry.written_at.unwrap_or_default();
            // A form of the table that only some of its first releases made; without the number they would rewrite the row.
            let (more, one) = if table.has("version") { (", version", ", 1") } else { ("", "") };
            let values = format!(", {}, {written_at}{one}", text(checksum));
            unless_there(into, "name", &key, &format!(", hash, created_at{more}"), &values)
        }
        Tool::Supabase => supabase(table, migration),
        Tool::Atlas => atlas(table, migration),
    }
}

/// Inserts a row, unless there is one whose `column` has this value.
fn unless_there(into: &str, column: &str, value: &str, more: &str, values: &str) -> String {
    format!(
        "INSERT INTO {into} ({column}{more}) SELECT {value}{values} WHERE NOT EXISTS (SELECT FROM {into} WHERE {column} = {value})"
    )
}

/// Records that a repeatable file was applied. Flyway has such files, and its history gets a row for each time; for any other
/// tool there is nothing to record.
#[must_use]
pub fn insert_repeatable(
    table: &ToolTable,
    script: &str,
    described_as: &str,
    checksum: Option<&str>,
) -> Option<String> {
    let event = Event { version: None, kind: "SQL", script };
    (table.tool == Tool::Flyway).then(|| flyway(table, &event, described_as, checksum))
}

/// What happened, for Flyway's history.
pub(super) struct Event<'a> {
    /// None for a repeatable file.
    pub version: Option<&'a str>,
    /// Its type.
    pub kind: &'a str,
    /// The file, relative to the folder.
    pub script: &'a str,
}

/// A row of Flyway's history, unless its newest row of the version says the same already.
pub(super) fn flyway(table: &ToolTable, event: &Event<'_>, described_as: &str, checksum: Option<&str>) -> String {
    let into = &table.qualified;
    let (version, checksum) = (optional(event.version), checksum.map_or_else(|| "NULL".to_owned(), number));
    let kind = text(event.kind);
    // Flyway shortens what its columns cannot hold, a description at its end, a path at its beginning.
    let description = text(&shortened(described_as, 200));
    let script: String = event.script.chars().rev().collect();
    let script: String = shortened(&script, 1000).chars().rev().collect();
    let unless = match event.version {
        Some(_) => format!(
            " WHERE NOT EXISTS (SELECT FROM (SELECT type, success, checksum FROM {into} WHERE version = {version} \
             ORDER BY installed_rank DESC LIMIT 1) newest WHERE type = {kind} AND success AND checksum IS NOT DISTINCT FROM {checksum})"
        ),
        None => String::new(),
    };
    format!(
        "INSERT INTO {into} (installed_rank, version, description, type, script, checksum, installed_by, execution_time, success) \
         SELECT (SELECT coalesce(pg_catalog.max(installed_rank), 0) + 1 FROM {into}), {version}, {description}, {kind}, {}, \
         {checksum}, current_user, {MILLISECONDS}, true{unless}",
        text(&script)
    )
}

/// At most this many characters; dots stand for the rest.
fn shortened(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    text.chars().take(longest - 3).chain("...".chars()).collect()
}

/// Supabase keeps the statements, too, where its table is new enough.
fn supabase(table: &ToolTable, migration: &Migration) -> String {
    let (into, entry, sql) = (&table.qualified, migration.entry(), migration.sql());
    let (mut columns, mut values) = (vec![""], vec![String::new()]);
    if table.has("name") {
        columns.push("name");
        values.push(text(&entry.described_as));
    }
    if table.has("statements") {
        let statements: Vec<_> = statements(sql).into_iter().map(text).collect();
        columns.push("statements");
        values.push(format!("ARRAY[{}]::pg_catalog.text[]", statements.join(", ")));
    }
    unless_there(into, "version", &text(&entry.version), &columns.join(", "), &values.join(", "))
}

/// The statements of a file as Supabase keeps them: each with the comments before it, and those at the end by themselves.
fn statements(sql: &str) -> Vec<&str> {
    let between = |c: char| c == ';' || c.is_whitespace();
    let mut from = 0;
    let mut found = Vec::new();
    for statement in sql::statements(sql) {
        found.push(sql[from..statement.end()].trim_matches(between));
        from = statement.end();
    }
    found.push(sql[from..].trim_matches(between));
    found.retain(|statement| !statement.is_empty());
    found
}

/// Atlas counts the statements, and its hash covers all files up to this one.
fn atlas(table: &ToolTable, migration: &Migration) -> String {
    let (into, entry) = (&table.qualified, migration.entry());
    let statements = sql::statements(migration.sql()).count();
    let checksum = entry.checksum.as_ref().map_or("", |checksum| checksum.recorded.as_str());
    let mut columns = vec!["version, description, type, applied, total, executed_at, execution_time, hash"];
    let mut values = vec![format!(
        "{}, {}, 2, {statements}, {statements}, pg_catalog.now(), {NANOSECONDS}, {}",
        text(&entry.version),
        text(&entry.described_as),
        text(checksum)
    )];
    for (column, value) in [("error", "''"), ("error_stmt", "''"), ("operator_version", "'migrate'")] {
        if table.has(column) {
            columns.push(column);
            values.push(value.to_owned());
        }
    }
    let (columns, values) = (columns.join(", "), values.join(", "));
    format!(
        "INSERT INTO {into} ({columns}) VALUES ({values}) ON CONFLICT (version) DO UPDATE SET applied = excluded.applied, \
         total = excluded.total, hash = excluded.hash"
    )
}
