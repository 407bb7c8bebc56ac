//! Reads `[set.<name>]`.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::config::{Hooked, Placeholder, SetConfig, TakeOver};
use super::document::{Document, Entry, ordered};
use super::error::ManifestError;
use super::known::Known;
use crate::engine::Tool;
use crate::layout::{Late, Layout};

/// The keys of a set.
const KEYS: [&str; 14] = [
    "dir",
    "layout",
    "over",
    "take-over",
    "keep",
    "owner",
    "owned-like",
    "minimum-server",
    "lock-key",
    "late",
    "hooks",
    "no-transaction",
    "snapshot",
    "placeholders",
];

/// The oldest server that this program connects to.
const OLDEST_SERVER: i64 = 13;

/// Reads one set. `folder` holds the manifest; what is relative is relative to it.
pub(super) fn read(
    document: &Document<'_>,
    set: &Entry<'_>,
    folder: &Path,
    known: &Known<'_>,
) -> Result<SetConfig, ManifestError> {
    check_name(document, set)?;
    let table = document.table(set, "a table: [set.<name>] with dir")?;
    let place = format!("in [set.{}]", set.key);
    let mut config = SetConfig { name: set.key.to_owned(), ..SetConfig::default() };
    let (mut owner, mut has_dir, mut kept) = (None, false, None);
    for entry in document.entries(table, &place, &KEYS)? {
        let entry = &entry;
        match entry.key {
            "dir" => {
                config.dir = dir(document, entry, folder)?;
                has_dir = true;
            }
            "layout" => config.layout = Some(document.one_of(entry, "layout", layouts())?),
            "over" => config.over = Some(document.one_of(entry, "built-in set", own(&known.sets))?),
            "take-over" => config.take_over = Some(take_over(document, entry)?),
            "keep" => {
                config.keep = document.truth(entry)?;
                kept = config.keep.then_some(*entry);
            }
            "owner" | "owned-like" => {
                if let Some(other) = owner.replace(entry.key) {
                    let reason = format!("{} says again who owns what is made, after {other}", entry.key);
                    return Err(document.refused(entry, reason, "keep one of the two"));
                }
                let text = Some(document.text(entry)?);
                *(if entry.key == "owner" { &mut config.owner } else { &mut config.owned_like }) = text;
            }
            "minimum-server" => config.minimum_server = Some(minimum_server(document, entry)?),
            "lock-key" => config.lock_key = Some(document.number(entry)?),
            "late" => {
                let late = [("apply".to_owned(), Late::Apply), ("refuse".to_owned(), Late::Refuse)];
                config.late = Some(document.one_of(entry, "choice", late)?);
            }
            "hooks" => config.hooks = hooks(document, entry, known)?,
            "no-transaction" => config.no_transaction = document.texts(entry)?,
            "snapshot" => config.snapshot = Some(folder.join(document.text(entry)?)),
            _ => {
                let table = document.table(entry, "a table: name = \"text\"")?;
                let each = ordered(table).into_iter();
                let read = |entry: Entry<'_>| Ok((entry.key.to_owned(), placeholder(document, &entry)?));
                config.placeholders = each.map(read).collect::<Result<_, _>>()?;
            }
        }
    }
    if !has_dir {
        let hint = "add dir = \"…\", the folder of its files, relative to this file";
        return Err(document.refused(set, format!("set {} has no dir", set.key), hint));
    }
    if let Some(entry) = kept.filter(|_| config.take_over == Some(TakeOver::Nothing)) {
        let reason = "keep = true needs a history to keep, and take-over = false names none".to_owned();
        return Err(document.refused(&entry, reason, "leave out one of the two"));
    }
    if config.over.is_none() && known.sets.contains(&config.name) {
        let reason = format!("the program has a set {} of its own", set.key);
        let hint = format!("to lay it over this folder, add over = \"{}\"; else choose another name", set.key);
        return Err(document.refused(set, reason, hint));
    }
    Ok(config)
}

/// The engine has the same rule, but no line to name.
fn check_name(document: &Document<'_>, set: &Entry<'_>) -> Result<(), ManifestError> {
    if is_name(set.key) {
        return Ok(());
    }
    let hint = "a set's name consists of lower-case letters, digits and '-', at most 40 of them";
    Err(document.refused(set, format!("{:?} cannot be the name of a set", set.key), hint))
}

/// Whether a set can be called this.
pub(crate) fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=40).contains(&name.len()) && name.chars().all(allowed)
}

fn layouts() -> impl Iterator<Item = (String, Layout)> {
    Layout::ALL.into_iter().map(|layout| (layout.key().to_owned(), layout))
}

fn own(names: &[String]) -> impl Iterator<Item = (String, String)> {
    names.iter().map(|name| (name.clone(), name.clone()))
}

/// The tools whose migrations are plain SQL.
fn tools() -> impl Iterator<Item = (String, Tool)> {
    let tools = Tool::ALL.into_iter().filter(|tool| Layout::from_key(tool.key()).is_some());
    tools.map(|tool| (tool.key().to_owned(), tool))
}

fn dir(document: &Document<'_>, entry: &Entry<'_>, folder: &Path) -> Result<PathBuf, ManifestError> {
    let dir = document.text(entry)?;
    let path = folder.join(&dir);
    if path.is_dir() {
        return Ok(path);
    }
    let what = if path.exists() { "is not a folder" } else { "does not exist" };
    let hint = "a dir is relative to the folder of this file";
    Err(document.refused(entry, format!("dir = {dir:?}: {} {what}", path.display()), hint))
}

fn take_over(document: &Document<'_>, entry: &Entry<'_>) -> Result<TakeOver, ManifestError> {
    if entry.value.is_str() {
        return Ok(TakeOver::History { tool: Some(document.one_of(entry, "tool", tools())?), table: None });
    }
    if entry.value.as_bool() == Some(false) {
        return Ok(TakeOver::Nothing);
    }
    let named = document.table(entry, "a tool in quotes, { tool = \"…\", table = \"…\" }, or false")?;
    let (mut tool, mut table) = (None, None);
    for entry in document.entries(named, "in take-over", &["tool", "table"])? {
        match entry.key {
            "tool" => tool = Some(document.one_of(&entry, "tool", tools())?),
            _ => table = Some(document.text(&entry)?),
        }
    }
    if tool.is_none() && table.is_none() {
        let hint = "name the tool, the table, or both; without the key, what is found is taken over";
        return Err(document.refused(entry, "take-over names nothing".to_owned(), hint));
    }
    Ok(TakeOver::History { tool, table })
}

fn minimum_server(document: &Document<'_>, entry: &Entry<'_>) -> Result<i32, ManifestError> {
    let number = document.number(entry)?;
    match i32::try_from(number) {
        Ok(major) if (OLDEST_SERVER..100).contains(&number) => Ok(major),
        _ => {
            let hint = format!("it is a major version of PostgreSQL, {OLDEST_SERVER} or later");
            Err(document.refused(entry, format!("minimum-server = {number} is no version"), hint))
        }
    }
}

fn hooks(document: &Document<'_>, entry: &Entry<'_>, known: &Known<'_>) -> Result<Vec<Hooked>, ManifestError> {
    let table: &DeTable<'_> = document.table(entry, "a table: \"103\" = [\"name of a hook\"]")?;
    let (names, mut hooked) = ((known.hooks)(), Vec::new());
    for boundary in ordered(table) {
        let hooks = document.texts(&boundary)?;
        if let Some(unknown) = hooks.iter().find(|hook| !names.contains(hook)) {
            return Err(document.unknown(&boundary, unknown.clone(), "built-in hook", names));
        }
        hooked.push(Hooked { before: boundary.key.to_owned(), hooks, at: document.at(&boundary) });
    }
    Ok(hooked)
}

fn placeholder(document: &Document<'_>, entry: &Entry<'_>) -> Result<Placeholder, ManifestError> {
    if let Some(text) = entry.value.as_str() {
        return Ok(Placeholder::Text(text.to_owned()));
    }
    let table = document.table(entry, "text in quotes, or { env = \"NAME\", default = \"…\" }")?;
    let (mut name, mut default) = (None, None);
    for part in document.entries(table, &format!("in placeholder {}", entry.key), &["env", "default"])? {
        match part.key {
            "env" => name = Some(document.text(&part)?),
            _ => default = Some(part.value.as_str().ok_or_else(|| document.wrong(&part, "text in quotes"))?.to_owned()),
        }
    }
    let Some(name) = name else {
        let hint = "add env = \"NAME\", the variable, or write the text itself in quotes";
        return Err(document.refused(entry, format!("placeholder {} has no value", entry.key), hint));
    };
    if name.contains(['=', '\0']) {
        let hint = "env is the name of a variable; a fixed text stands in quotes without braces";
        return Err(document.refused(entry, format!("no variable can be called {name:?}"), hint));
    }
    Ok(Placeholder::Variable { name, default, at: document.at(entry) })
}
