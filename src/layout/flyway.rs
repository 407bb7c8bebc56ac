//! Flyway's files, in any depth: `V<version>__<name>.sql`, `B<version>__<name>.sql`, `U<version>__<name>.sql`,
//! `R__<name>.sql`, each with a `.conf` beside it where it has settings.
//!
//! A version is numbers with dots or underscores between them. Callbacks are Flyway's own and are not run.

use super::checksum::crc32_lines;
use super::flyway_conf::Conf;
use super::flyway_script::flyway_script;
use super::names::{is_sql, misnamed};
use super::reading::{file, file_name, folder, repeated};
use super::{Checksum, File, Folder, Layout, LayoutError, Options, Repeatable, Script, Source, Sources, Version};

/// The events that Flyway runs SQL at.
const CALLBACKS: [&str; 53] = [
    "afterBaseline",
    "afterBaselineError",
    "afterBaselineOperationFinish",
    "afterClean",
    "afterCleanError",
    "afterCleanOperationFinish",
    "afterConnect",
    "afterEachMigrate",
    "afterEachMigrateError",
    "afterEachMigrateStatement",
    "afterEachMigrateStatementError",
    "afterEachUndo",
    "afterEachUndoError",
    "afterEachUndoStatement",
    "afterEachUndoStatementError",
    "afterInfo",
    "afterInfoError",
    "afterInfoOperationFinish",
    "afterMigrate",
    "afterMigrateApplied",
    "afterMigrateError",
    "afterMigrateOperationFinish",
    "afterRepair",
    "afterRepairError",
    "afterRepairOperationFinish",
    "afterUndo",
    "afterUndoError",
    "afterUndoOperationFinish",
    "afterValidate",
    "afterValidateError",
    "afterValidateOperationFinish",
    "afterVersioned",
    "beforeBaseline",
    "beforeClean",
    "beforeConnect",
    "beforeCreateSchema",
    "beforeDeploy",
    "beforeEachMigrate",
    "beforeEachMigrateStatement",
    "beforeEachUndo",
    "beforeEachUndoStatement",
    "beforeInfo",
    "beforeMigrate",
    "beforeRepair",
    "beforeRepeatables",
    "beforeSnapshot",
    "beforeUndo",
    "beforeValidate",
    "afterDeploy",
    "afterDeployError",
    "afterSnapshot",
    "afterSnapshotError",
    "createSchema",
];

/// A description is cut to this many characters when it is recorded.
const LONGEST_DESCRIPTION: usize = 200;

/// What the beginning of a name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Versioned,
    Baseline,
    Undo,
    Repeatable,
    Callback,
}

struct Name<'a> {
    kind: Kind,
    version: &'a str,
    description: &'a str,
}

/// A file that undoes a version.
struct Undo {
    version: Version,
    script: Script,
}

pub(crate) fn read(sources: &Sources, options: &Options) -> Result<Folder, LayoutError> {
    let (mut files, mut undos, mut repeatables, mut left_out) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    check_confs(sources)?;
    for source in sources.files.iter().filter(|source| is_sql(&source.path)) {
        let name = parsed(&source.path)?;
        if name.kind == Kind::Callback {
            left_out.push((source.path.clone(), "it is a callback, which only Flyway runs".to_owned()));
            continue;
        }
        let conf = Conf::of(sources, &source.path)?;
        if !conf.runs {
            left_out.push((source.path.clone(), format!("{} says shouldExecute=false", Conf::path(&source.path))));
            continue;
        }
        let up = flyway_script(source, conf, options)?;
        match name.kind {
            Kind::Repeatable => repeatables.push(repeatable(source, &name, up)),
            Kind::Undo => {
                undos.push(Undo { version: Version::dotted(numbers(&source.path, name.version)?), script: up });
            }
            _ => files.push(versioned(source, &name, up)?),
        }
    }
    check_descriptions(&mut repeatables)?;
    if files.is_empty() && !repeatables.is_empty() {
        check_undos(&mut files, undos)?;
        return Ok(Folder { layout: Layout::Flyway, files, repeatables, left_out });
    }
    let mut folder = folder(sources, Layout::Flyway, files)?;
    check_undos(&mut folder.files, undos)?;
    (folder.repeatables, folder.left_out) = (repeatables, left_out);
    Ok(folder)
}

fn parsed(path: &str) -> Result<Name<'_>, LayoutError> {
    let skipped = |why: &str| {
        let forms = "V<version>__<name>.sql, R__<name>.sql, B<version>__<name>.sql and U<version>__<name>.sql";
        misnamed(path, format!("Flyway would skip it: {why}; it reads {forms}"))
    };
    let Some(stem) = file_name(path).strip_suffix(".sql") else {
        return Err(skipped("the ending is written in small letters"));
    };
    let (front, description) = stem.split_once("__").unwrap_or((stem, ""));
    if CALLBACKS.contains(&front) {
        return Ok(Name { kind: Kind::Callback, version: "", description });
    }
    let kind = match front.chars().next() {
        Some('V') => Kind::Versioned,
        Some('B') => Kind::Baseline,
        Some('U') => Kind::Undo,
        Some('R') => Kind::Repeatable,
        _ => return Err(skipped("the name begins with none of its letters")),
    };
    let version = &front[1..];
    if kind == Kind::Repeatable {
        return match version {
            "" => Ok(Name { kind, version, description }),
            _ => Err(skipped("two underscores follow the R at once")),
        };
    }
    match version.as_bytes().first() {
        Some(first) if first.is_ascii_digit() => Ok(Name { kind, version, description }),
        _ => Err(skipped("a version follows the letter")),
    }
}

/// The numbers of a version. Flyway compares them, and records the text.
fn numbers(path: &str, text: &str) -> Result<Vec<u64>, LayoutError> {
    let parts = text.split(['.', '_']);
    let numbers: Option<Vec<u64>> =
        parts.map(|part| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten()).collect();
    numbers.ok_or_else(|| {
        let form = "numbers with dots between them, and two underscores before the name, as in V1.2__add_users.sql";
        misnamed(path, format!("{text} is no version of Flyway: expected {form}"))
    })
}

fn versioned(source: &Source, name: &Name, up: Script) -> Result<File, LayoutError> {
    let entry = name.version.replace('_', ".");
    let sum = Checksum::only(crc32_lines(&source.text).to_string());
    let numbers = numbers(&source.path, name.version)?;
    // Both may have the same version: one of them is applied.
    let is_baseline = name.kind == Kind::Baseline;
    let version = if is_baseline { Version::baseline(numbers) } else { Version::dotted(numbers) };
    let mut file = file(version, name.description, &entry, up, Some(sum));
    file.described_as = recorded(name.description);
    file.is_baseline = is_baseline;
    Ok(file)
}

/// Its text after replacement counts; that before, too.
fn repeatable(source: &Source, name: &Name, up: Script) -> Repeatable {
    let (replaced, raw) = (crc32_lines(&up.text).to_string(), crc32_lines(&source.text).to_string());
    let also = if raw == replaced { Vec::new() } else { vec![raw] };
    Repeatable {
        name: name.description.to_owned(),
        up,
        described_as: recorded(name.description),
        checksum: Some(Checksum { recorded: replaced, also }),
        directives: Vec::new(),
    }
}

/// A description as Flyway records it.
fn recorded(description: &str) -> String {
    let description = description.replace('_', " ");
    if description.chars().count() <= LONGEST_DESCRIPTION {
        return description;
    }
    description.chars().take(LONGEST_DESCRIPTION - 3).chain("...".chars()).collect()
}

/// Brings repeatables into their order. The description identifies one.
fn check_descriptions(repeatables: &mut [Repeatable]) -> Result<(), LayoutError> {
    repeatables.sort_by(|a, b| (&a.described_as, &a.up.path).cmp(&(&b.described_as, &b.up.path)));
    match repeatables.windows(2).find(|two| two[0].described_as == two[1].described_as) {
        Some(two) => {
            let reason = format!("its description is that of {}, too: Flyway tells them apart by it", two[0].up.path);
            Err(misnamed(&two[1].up.path, reason))
        }
        None => Ok(()),
    }
}

/// Gives each version its undo.
fn check_undos(files: &mut [File], undos: Vec<Undo>) -> Result<(), LayoutError> {
    for Undo { version, script } in undos {
        let Some(file) = files.iter_mut().find(|file| file.version == version && !file.is_baseline) else {
            return Err(misnamed(&script.path, format!("it undoes version {version}, of which there is no V file")));
        };
        if let Some(first) = &file.down {
            return Err(repeated(&version.to_string(), &first.path, &script.path));
        }
        file.down = Some(script);
    }
    Ok(())
}

/// Settings of a file that is not there are those of one that was renamed.
fn check_confs(sources: &Sources) -> Result<(), LayoutError> {
    let lost = sources
        .files
        .iter()
        .find(|source| source.path.strip_suffix(".conf").is_some_and(|file| sources.find(file).is_none()));
    match lost {
        Some(conf) => Err(misnamed(&conf.path, "it has settings for a file that does not exist")),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "flyway_tests.rs"]
mod tests;
