//! The files of a new migration, in the style of those that are there.

use super::names::{self, is_sql, tool};
use super::{Layout, LayoutError, Sources};

/// A migration that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// What it does, in words.
    pub name: &'a str,
    /// With a way back, also where the others have none.
    pub down: bool,
    /// It holds what PostgreSQL refuses inside a transaction.
    pub no_transaction: bool,
    /// The time in UTC: year, month, day, hour, minute and second in 14 digits.
    pub now: &'a str,
}

/// A name longer than this many bytes does not fit into every history.
const LONGEST: usize = 150;

/// What several statements in one message are, though nothing is put around them.
const ONE_STATEMENT: &str = "-- One statement only: several in one message share a transaction.\n";

/// The files of a new migration, as (path, text), the path relative to the folder. Its number continues those that are
/// there, with zeros in front or as a time, and its name is the words of `what` with `_` between them.
///
/// # Errors
///
/// [`LayoutError`] for a name that cannot be one, and for what the layout does not have.
pub fn new_files(sources: &Sources, layout: Layout, what: &New) -> Result<Vec<(String, String)>, LayoutError> {
    let name = joined(what.name)?;
    refuse_unknown(layout, what)?;
    let present = Present::of(sources, layout);
    let number = present.next(layout, what.now)?;
    let path = match layout {
        Layout::Refinery | Layout::Flyway => format!("{}V{number}__{name}", present.folder),
        Layout::Migrate if matches!(present.form, Form::Letter | Form::Unknown) => format!("V{number}__{name}"),
        _ => format!("{number}_{name}"),
    };
    present.refuse_out_of_order(layout, &path)?;
    Ok(texts(layout, &path, &present, what))
}

/// The words of a name with `_` between them.
fn joined(name: &str) -> Result<String, LayoutError> {
    let words: Vec<_> =
        name.split(|c: char| c.is_whitespace() || c == '_' || c == '-').filter(|word| !word.is_empty()).collect();
    let reason = match words.join("_") {
        joined if joined.is_empty() => "a migration needs a name: say what it does".to_owned(),
        joined if joined.contains(|c: char| !c.is_alphanumeric() && c != '_') => {
            "the name of a migration is made of letters and digits, with blanks, - or _ between its words".to_owned()
        }
        joined if joined.len() > LONGEST => format!("the name is longer than {LONGEST} bytes"),
        joined => return Ok(joined),
    };
    Err(names::misnamed(&format!("{name:?}"), reason))
}

/// Refuses what a layout has no place for.
fn refuse_unknown(layout: Layout, what: &New) -> Result<(), LayoutError> {
    let tool = tool(layout);
    let has_none = |reason| Err(names::misnamed(&format!("{:?}", what.name), reason));
    let one_way = [Layout::Refinery, Layout::Flyway, Layout::Supabase, Layout::Atlas, Layout::DrizzleFolders];
    let always_inside = [Layout::Refinery, Layout::Supabase, Layout::DrizzleFolders];
    if layout == Layout::Drizzle {
        return has_none(
            "Drizzle's own generator writes the journal, too: run drizzle-kit generate --custom".to_owned(),
        );
    }
    if what.down && one_way.contains(&layout) {
        return has_none(format!("{tool} has no way back: a new migration has to undo it"));
    }
    if what.no_transaction && always_inside.contains(&layout) {
        return has_none(format!("{tool} runs every file in a transaction, and has no directive against that"));
    }
    Ok(())
}

/// What is there already.
#[derive(Default)]
struct Present {
    /// The numbers of the highest version, as they are written; one, or several with dots between them.
    last: Option<Vec<String>>,
    /// The greatest name, byte by byte.
    greatest: Option<String>,
    /// The folder below in which the highest version is, with a slash at its end.
    folder: String,
    /// How the highest version is written.
    form: Form,
    /// How the files of some migration end.
    endings: Endings,
}

/// What stands beside the digits of a version.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Form {
    /// Nothing is there that tells.
    #[default]
    Unknown,
    /// A letter before them.
    Letter,
    /// Dashes between them.
    Dashes,
    Digits,
}

/// What the files of the migrations end with.
#[derive(Default)]
struct Endings {
    /// `.up.sql`
    up: bool,
    /// `.down.sql`, or what else a way back is called.
    down: bool,
}

impl Present {
    fn of(sources: &Sources, layout: Layout) -> Self {
        let mut present = Self::default();
        let in_folders = matches!(layout, Layout::Diesel | Layout::Prisma | Layout::DrizzleFolders);
        let is_deep = matches!(layout, Layout::Refinery | Layout::Flyway);
        for source in sources.files.iter().filter(|source| is_sql(&source.path)) {
            let path = source.path.as_str();
            let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
            if folder.is_empty() == in_folders && !is_deep {
                continue;
            }
            present.endings.up |= file.ends_with(".up.sql");
            present.endings.down |= file.ends_with(".down.sql") || file == "down.sql";
            present.take(layout, folder, if in_folders { folder } else { file });
        }
        present
    }

    /// Takes note of a file or folder, if its name begins with a version.
    fn take(&mut self, layout: Layout, folder: &str, name: &str) {
        if self.greatest.as_deref().is_none_or(|greatest| greatest < name) {
            self.greatest = Some(name.to_owned());
        }
        let rest = name.strip_prefix(['V', 'U', 'B']).unwrap_or(name);
        let Some(numbers) = numbers(layout, rest) else { return };
        if self.last.as_ref().is_some_and(|last| values(last) >= values(&numbers)) {
            return;
        }
        self.form = match rest {
            _ if rest.len() < name.len() => Form::Letter,
            _ if layout == Layout::Diesel && rest.contains('-') => Form::Dashes,
            // The folder that Diesel makes for itself has none.
            _ if layout == Layout::Diesel && values(&numbers) == [0] => Form::Unknown,
            _ => Form::Digits,
        };
        self.folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        self.last = Some(numbers);
    }

    /// The number that follows.
    fn next(&self, layout: Layout, now: &str) -> Result<String, LayoutError> {
        let by_time = match layout {
            Layout::Prisma | Layout::DrizzleFolders => true,
            Layout::Migrate | Layout::Refinery | Layout::Flyway | Layout::UpDown => false,
            _ => self.last.is_none(),
        };
        let Some(last) = &self.last else {
            let first = if layout == Layout::UpDown { "001" } else { "1" };
            return Ok(if by_time { self.time(layout, now) } else { first.to_owned() });
        };
        let (before, number) = (&last[..last.len() - 1], &last[last.len() - 1]);
        // What is larger is no number of a version.
        let Some(value) = number.parse().ok().filter(|value: &u64| *value < i64::MAX.unsigned_abs()) else {
            return Err(names::misnamed(&last.join("."), "no version comes after this one".to_owned()));
        };
        let width = if by_time { now.len() } else { number.len() };
        let is_time =
            width == 14 || (matches!(width, 8 | 12) && (number.starts_with("19") || number.starts_with("20")));
        if is_time && before.is_empty() {
            let now = &now[..width.min(now.len())];
            // A clock behind another one: only the order counts.
            let value = now.parse().unwrap_or(0).max(value.saturating_add(1));
            return Ok(self.time(layout, &format!("{value:0width$}")));
        }
        let next = format!("{:0width$}", value.saturating_add(1));
        Ok(before.iter().cloned().chain([next]).collect::<Vec<_>>().join("."))
    }

    /// A time as it is written here.
    fn time(&self, layout: Layout, digits: &str) -> String {
        if layout == Layout::Diesel && self.form != Form::Digits && digits.len() == 14 {
            return format!("{}-{}-{}-{}", &digits[..4], &digits[4..6], &digits[6..8], &digits[8..]);
        }
        digits.to_owned()
    }

    /// Refuses a name that comes before those that are there, in a layout that orders by names.
    fn refuse_out_of_order(&self, layout: Layout, path: &str) -> Result<(), LayoutError> {
        let by_name = [Layout::UpDown, Layout::Supabase, Layout::Atlas, Layout::Dbmate, Layout::Prisma, Layout::Diesel];
        match self.greatest.as_deref().filter(|greatest| path < *greatest) {
            Some(greatest) if by_name.contains(&layout) => {
                Err(names::misnamed(path, format!("{} orders by names: it would come before {greatest}", tool(layout))))
            }
            _ => Ok(()),
        }
    }
}

/// The numbers at the beginning of a name, as they are written.
fn numbers(layout: Layout, name: &str) -> Option<Vec<String>> {
    match layout {
        Layout::Flyway => {
            let numbers: Vec<_> = name.split_once("__")?.0.split(['.', '_']).map(str::to_owned).collect();
            numbers.iter().all(|number| number.parse::<u64>().is_ok()).then_some(numbers)
        }
        Layout::Diesel => {
            let digits = name.split('_').next()?.replace('-', "");
            digits.parse::<u64>().is_ok().then(|| vec![digits])
        }
        _ => {
            let digits = names::digits(name).0;
            digits.parse::<u64>().is_ok().then(|| vec![digits.to_owned()])
        }
    }
}

/// What numbers say, without zeros in front.
fn values(numbers: &[String]) -> Vec<u64> {
    numbers.iter().map(|number| number.parse().unwrap_or(0)).collect()
}

/// The files, by the path without its ending.
fn texts(layout: Layout, path: &str, present: &Present, what: &New) -> Vec<(String, String)> {
    let about = what.name.split_whitespace().collect::<Vec<_>>().join(" ");
    let (up, down) = (format!("-- {about}\n"), format!("-- Takes back: {about}\n"));
    let outside = |text: String| if what.no_transaction { text + ONE_STATEMENT } else { text };
    let is_first = present.last.is_none();
    let both_ways = what.down || present.endings.down;
    let file = |ending: &str, text: String| (format!("{path}{ending}"), text);
    let pair = |up_ending: &str, up: String, down_ending: &str, down: String, both: bool| {
        let down = both.then(|| file(down_ending, down));
        [file(up_ending, up)].into_iter().chain(down).collect::<Vec<_>>()
    };
    match layout {
        Layout::Migrate => {
            let directive = if what.no_transaction { "-- migrate: no-transaction\n" } else { "" };
            let ending = if present.endings.up { ".up.sql" } else { ".sql" };
            pair(ending, up + directive, ".down.sql", down + directive, both_ways)
        }
        Layout::Sqlx => {
            let directive = if what.no_transaction { "-- no-transaction\n" } else { "" };
            let text = |text: String| outside(format!("{directive}{text}"));
            let ending = if both_ways || present.endings.up { ".up.sql" } else { ".sql" };
            pair(ending, text(up), ".down.sql", text(down), both_ways)
        }
        Layout::GolangMigrate | Layout::UpDown => {
            pair(".up.sql", outside(up), ".down.sql", outside(down), both_ways || is_first)
        }
        Layout::Dbmate => {
            let option = if what.no_transaction { " transaction:false" } else { "" };
            vec![file(".sql", format!("-- migrate:up{option}\n{up}\n-- migrate:down{option}\n"))]
        }
        Layout::Goose => {
            let directive = if what.no_transaction { "-- +goose NO TRANSACTION\n" } else { "" };
            vec![file(".sql", format!("{directive}-- +goose Up\n{up}\n-- +goose Down\n"))]
        }
        Layout::Atlas => {
            let directive = if what.no_transaction { "-- atlas:txmode none\n\n" } else { "" };
            vec![file(".sql", format!("{directive}{up}-- Run atlas migrate hash when this file is finished.\n"))]
        }
        Layout::Diesel => {
            let mut files = pair("/up.sql", outside(up), "/down.sql", outside(down), both_ways || is_first);
            if what.no_transaction {
                files.push(file("/metadata.toml", "run_in_transaction = false\n".to_owned()));
            }
            files
        }
        Layout::Prisma => pair("/migration.sql", outside(up), "/down.sql", outside(down), both_ways),
        Layout::DrizzleFolders => vec![file("/migration.sql", up)],
        Layout::Flyway if what.no_transaction => {
            vec![file(".sql", up), file(".sql.conf", "executeInTransaction=false\n".to_owned())]
        }
        Layout::Refinery | Layout::Flyway | Layout::Supabase | Layout::Drizzle => vec![file(".sql", up)],
    }
}

#[cfg(test)]
#[path = "new_tests.rs"]
mod tests;
