//! A set that nobody has chosen, and the folder of migrations beside which it is run.

use std::path::Path;

use serde_json::json;

use super::init;
use super::screen::Screen;
use super::text::YELLOW;
use crate::db::Program;
use crate::engine::{Error, Event, Version};
use crate::layout::{self, Sources};

/// What is known where the default set is taken because nothing else was asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Unchosen {
    /// Whether it is taken for that reason alone, and may be the wrong one.
    pub is_doubtful: bool,
    /// A folder of migrations in the current one.
    folder: Option<String>,
}

impl Unchosen {
    /// Looks around, if the set was not chosen and wants a database of its own.
    pub fn look(is_doubtful: bool) -> Self {
        if !is_doubtful {
            return Self::default();
        }
        let here = std::env::current_dir().unwrap_or_default();
        Self {
            is_doubtful: true,
            folder: init::usual(&here).filter(|folder| holds_migrations(folder)).map(|it| shown(&it)),
        }
    }

    /// What to do about an error, where the folder makes a difference.
    pub fn hint(&self, error: &Error, program: &Program) -> Option<String> {
        match (error, &self.folder) {
            (Error::SomebodyElses(others), Some(folder)) => Some(others.hint_beside(folder, program)),
            _ => None,
        }
    }

    /// Points the folder out before an empty database is built.
    pub fn event(&self, event: &Event, screen: &Screen) {
        if let Event::Planned { current: Version::NONE, .. } = event {
            self.point_out(true, screen);
        }
    }

    /// Points the folder out where the database is empty.
    pub fn point_out(&self, is_empty: bool, screen: &Screen) {
        let Some(folder) = self.folder.as_deref().filter(|_| is_empty) else { return };
        let up = screen.program().clone().with("--dir").with(folder).up();
        let message = format!("{folder} holds migrations that this command does not look at; {up} applies them");
        screen.aside_in(YELLOW, message.as_str());
        screen.json("notice", &json!({ "severity": "WARNING", "message": message }));
    }
}

/// Whether its own files are migrations. Folders of several sets are nobody's.
fn holds_migrations(folder: &Path) -> bool {
    let Ok(sources) = Sources::read(folder) else { return false };
    let is_one = |path: &str| match path.split_once('/') {
        None => Path::new(path).extension().is_some_and(|ending| ending == "sql"),
        Some((_, file)) => ["up.sql", "migration.sql"].contains(&file),
    };
    sources.files.iter().any(|file| is_one(&file.path)) && !layout::fits(&sources).is_empty()
}

/// A folder from the current one on, if it is in there.
pub(super) fn shown(folder: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    match folder.strip_prefix(&here) {
        Ok(inside) if inside.as_os_str().is_empty() => ".".to_owned(),
        Ok(inside) => format!("./{}", inside.display()),
        Err(_) => folder.display().to_string(),
    }
}
