//! What there is: files that fit a layout, and histories of other tools.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::super::exit;
use super::super::failure::Failure;
use super::super::recognise::recognise;
use crate::db::{Connector, Database};
use crate::engine::{ToolTable, find_tool_tables};
use crate::layout::{self, Layout, LayoutError, Options, Sources};

/// Where projects keep their migrations. The first that is there is taken.
pub(super) const USUAL: [&str; 7] =
    ["migrations", "db/migrations", "migrate", "sql", "supabase/migrations", "prisma/migrations", "drizzle"];

/// A folder that has been looked at.
#[derive(Debug)]
pub(super) struct Looked {
    /// Its layout.
    pub layout: Layout,
    /// How many versions it holds.
    pub versions: usize,
    /// How many files that are applied again when they change.
    pub repeatables: usize,
    /// What is wrong with it.
    pub mistake: Option<LayoutError>,
}

/// The first usual folder that is there.
pub(crate) fn usual(here: &Path) -> Option<PathBuf> {
    USUAL.iter().map(|name| here.join(name)).find(|folder| folder.is_dir())
}

/// Finds out how a folder is laid out: as it is told, as its files say, or as the history in the database says.
pub(super) fn folder(dir: &Path, shown: &str, told: Option<Layout>, tables: &[ToolTable]) -> Result<Looked, Failure> {
    let mut sources = Sources::read(dir).map_err(|error| Failure::usage(error.to_string()))?;
    let layout = if let Some(layout) = told {
        layout
    } else {
        // As the operator names it.
        shown.clone_into(&mut sources.folder);
        recognise(&sources, tables, |keys| format!("say which tool it was written for: --layout {keys}"))?
    };
    if sources.files.is_empty() {
        return Ok(Looked { layout, versions: 0, repeatables: 0, mistake: None });
    }
    Ok(match layout::read(&sources, layout, &Options::default()) {
        Ok(read) => Looked { layout, versions: read.files.len(), repeatables: read.repeatables.len(), mistake: None },
        Err(mistake) => Looked { layout, versions: 0, repeatables: 0, mistake: Some(mistake) },
    })
}

/// The histories of other tools in a database.
pub(super) fn tables(database: Database) -> Result<Vec<ToolTable>, Failure> {
    let connector = Connector::new(database, CancellationToken::new()).read_only();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(exit::FAILED, error.to_string()))?;
    let found = runtime.block_on(async {
        let connection = connector.connect("init").await?;
        let found = find_tool_tables(&connection, None).await;
        connection.close().await;
        found
    });
    runtime.shutdown_background();
    Ok(found?)
}
