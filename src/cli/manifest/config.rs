//! What a manifest says of one set.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::error::{At, ManifestError};
use crate::engine::Tool;
use crate::layout::{Late, Layout};

/// A set that is a folder of files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SetConfig {
    /// Its name. Its history is kept under it.
    pub name: String,
    /// The folder: absolute, and there.
    pub dir: PathBuf,
    /// How the folder is laid out. None: it is recognised.
    pub layout: Option<Layout>,
    /// The built-in set that is laid over the folder.
    pub over: Option<String>,
    /// The history of another tool to continue. None: what is found.
    pub take_over: Option<TakeOver>,
    /// Whether that history is kept in step.
    pub keep: bool,
    /// The role that owns what the migrations make.
    pub owner: Option<String>,
    /// The table whose owner owns what the migrations make, and in whose schema they make it.
    pub owned_like: Option<String>,
    /// The oldest major version of PostgreSQL that the migrations run on.
    pub minimum_server: Option<i32>,
    /// The advisory lock of a run.
    pub lock_key: Option<i64>,
    /// What a file means that stands below an applied one, instead of what the layout says.
    pub late: Option<Late>,
    /// Built-in hooks at boundaries of this set.
    pub hooks: Vec<Hooked>,
    /// Files that run outside a transaction, though their tool would open one.
    pub no_transaction: Vec<String>,
    /// The file that `migrate snapshot` writes and checks: absolute.
    pub snapshot: Option<PathBuf>,
    /// What replaces `${name}`, where the layout has that.
    pub placeholders: BTreeMap<String, Placeholder>,
}

/// Which history is continued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TakeOver {
    /// None: the tables of tools are not looked at.
    Nothing,
    /// That of a tool.
    History {
        /// Whose it is. None: its columns tell.
        tool: Option<Tool>,
        /// The table, as it is written in SQL. None: what the tool calls it.
        table: Option<String>,
    },
}

/// Built-in hooks before one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hooked {
    /// The version, or the name of its file.
    pub before: String,
    /// The hooks, in their order.
    pub hooks: Vec<String>,
    /// Where that stands.
    pub at: At,
}

/// The value of a placeholder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Placeholder {
    /// This text.
    Text(String),
    /// The value of a variable of the environment.
    Variable {
        /// The variable.
        name: String,
        /// The value if it is not set.
        default: Option<String>,
        /// Where that stands.
        at: At,
    },
}

impl SetConfig {
    /// A folder that no manifest describes.
    pub fn of_folder(name: &str, dir: PathBuf) -> Self {
        Self { name: name.to_owned(), dir, ..Self::default() }
    }

    /// The values of the placeholders in this environment. Only the set that runs needs them.
    pub fn values(
        &self,
        environment: impl Fn(&str) -> Option<std::ffi::OsString>,
    ) -> Result<BTreeMap<String, String>, ManifestError> {
        let value = |(key, placeholder): (&String, &Placeholder)| {
            let value = match placeholder {
                Placeholder::Text(text) => text.clone(),
                Placeholder::Variable { name, default, at } => {
                    let missing = |why| {
                        let (at, key, variable) = (at.clone(), key.clone(), name.clone());
                        ManifestError::Variable { at, key, variable, why }
                    };
                    match (environment(name), default) {
                        (Some(value), _) => value.into_string().map_err(|_| missing("is not UTF-8"))?,
                        (None, Some(default)) => default.clone(),
                        (None, None) => return Err(missing("is not set")),
                    }
                }
            };
            Ok((key.clone(), value))
        };
        self.placeholders.iter().map(value).collect()
    }
}
