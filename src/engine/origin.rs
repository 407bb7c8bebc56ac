//! Where a set of files comes from: the tool that they were written for, its rules, and its history.

use migrate_layout::{Late, Layout};

use super::Tool;

/// The tool that a folder was written for, its rules, and its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The folder, as it is shown to the operator.
    pub folder: Option<String>,
    /// How the folder is laid out.
    pub layout: Layout,
    /// What a file means that stands below an applied one.
    pub late: Late,
    /// Whether an entry of the tool's history that has no file is refused.
    pub refuses_entry_without_file: bool,
    /// The tool whose history is continued; none if there is nothing to continue.
    pub tool: Option<Tool>,
    /// What its history table is called, as it would be written in SQL, if not as usual.
    pub table: Option<String>,
    /// Whether the history of a tool is looked for at all.
    pub takes_over: bool,
    /// Whether what we apply is recorded there, too, so that the tool can go on after us.
    pub keep: bool,
}

impl Origin {
    /// By the layout's own rules. The tool's history is not kept in step.
    #[must_use]
    pub fn of(layout: Layout) -> Self {
        Self {
            folder: None,
            layout,
            late: layout.late(),
            refuses_entry_without_file: layout.refuses_entry_without_file(),
            tool: Tool::from_key(layout.key()),
            table: None,
            takes_over: true,
            keep: false,
        }
    }
}
