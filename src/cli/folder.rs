//! A set that is a folder of files.

use std::sync::Arc;

use async_trait::async_trait;

use super::beside;
use super::failure::Failure;
use super::manifest::{Placeholder, SetConfig, TakeOver};
use super::product::{Check, Content, Context, Product, Verb};
use crate::db::{Connector, Program};
use crate::engine::{Error, Hook, Set, SetError, Tool, find_tool_tables};
use crate::layout::{self, Layout, LayoutError, Options, Sources};
use crate::repair::Repairs;

/// A folder of files, and the built-in set that is laid over it.
pub(super) struct FolderContent {
    config: SetConfig,
    over: Option<Arc<dyn Content>>,
    /// Built-in hooks at boundaries of this set.
    hooks: Vec<(String, Arc<dyn Hook>)>,
    sources: Sources,
    /// The folder, as it is shown: from the current one, if it is there.
    shown: String,
    options: Options,
    /// The layouts that the files fit; one, if it is chosen.
    fits: Vec<Layout>,
}

impl FolderContent {
    /// Reads the folder, once.
    pub fn new(product: &Product, config: &SetConfig) -> Result<Self, Failure> {
        let failed = |error: LayoutError| Failure::from(Error::from(SetError::from(error)));
        let over = config.over.as_ref().and_then(|name| product.content(name)).cloned();
        let sources = Sources::read(&config.dir).map_err(failed)?;
        let fits = match config.layout {
            Some(layout) => vec![layout],
            // What lies over a folder keeps the history that is the up and down files'.
            None if over.is_some() => vec![Layout::UpDown],
            None => layout::fits(&sources),
        };
        if fits.is_empty() {
            return Err(failed(layout::why_not(&sources)));
        }
        let placeholders = config.values(|name| std::env::var_os(name))?;
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let secrets = config.placeholders.iter().filter(|(_, value)| matches!(value, Placeholder::Variable { .. }));
        let secrets = secrets.map(|(name, _)| name.clone()).collect();
        let options = Options { placeholders, secrets, environment: environment.collect() };
        let each = config.hooks.iter().flat_map(|hooked| hooked.hooks.iter().map(|name| (&hooked.before, name)));
        let hooks = each.filter_map(|(before, name)| Some((before.clone(), product.hook(name)?))).collect();
        Ok(Self { config: config.clone(), over, hooks, shown: beside::shown(&config.dir), sources, options, fits })
    }

    /// The layout that the files fit, if that is one.
    fn layout(&self) -> Option<Layout> {
        match self.fits.as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }

    /// The set, with the files read as this layout says.
    fn set_as(&self, layout: Layout) -> Result<Set, SetError> {
        self.read_as(layout).map(|set| set.from_folder_called(&self.shown))
    }

    fn read_as(&self, layout: Layout) -> Result<Set, SetError> {
        let mut folder = layout::read(&self.sources, layout, &self.options)?;
        folder.send_alone(&self.config.no_transaction)?;
        if let Some(over) = &self.over {
            return over.set()?.over(folder);
        }
        let config = &self.config;
        let mut builder = Set::builder(&config.name).folder(folder).with_origin(|origin| {
            origin.late = config.late.unwrap_or(origin.late);
            origin.keep = config.keep;
            match &config.take_over {
                Some(TakeOver::Nothing) => origin.takes_over = false,
                Some(TakeOver::History { tool, table }) => {
                    origin.tool = tool.or(origin.tool);
                    origin.table.clone_from(table);
                }
                None => {}
            }
        });
        if let Some(owner) = &config.owner {
            builder = builder.owner(owner);
        }
        if let Some(table) = &config.owned_like {
            builder = builder.owned_like(table);
        }
        if let Some(major) = config.minimum_server {
            builder = builder.minimum_server(major);
        }
        if let Some(key) = config.lock_key {
            builder = builder.run_lock(key);
        }
        for (before, hook) in &self.hooks {
            builder = builder.before_named_shared(before, Arc::clone(hook));
        }
        builder.build()
    }

    /// Which of the layouts that the files fit is meant: the one whose tool has a history in the database; without any, the
    /// one that is this program's own.
    async fn recognised(&self, connector: &Connector) -> Result<Layout, Failure> {
        let connection = connector.clone().read_only().connect("migrate: layout").await.map_err(Error::from)?;
        let table = match &self.config.take_over {
            Some(TakeOver::History { table, .. }) => table.as_deref(),
            Some(TakeOver::Nothing) | None => None,
        };
        let tables = find_tool_tables(&connection, table).await.map_err(Error::from)?;
        connection.close().await;
        let has_history = |layout: &&Layout| {
            Tool::from_key(layout.key())
                .is_some_and(|tool| tables.iter().any(|table| table.tool == tool && table.is_visible))
        };
        let with_history: Vec<Layout> = self.fits.iter().filter(has_history).copied().collect();
        match with_history.as_slice() {
            [only] => Ok(*only),
            [] if self.fits.contains(&Layout::Migrate) => Ok(Layout::Migrate),
            _ => Err(self.ambiguous(if with_history.is_empty() { &self.fits } else { &with_history })),
        }
    }

    /// The failure with the line of `migrate.toml` that it comes from, where it does.
    fn placed(&self, error: SetError) -> Failure {
        let hooked = match &error {
            SetError::NoBoundary { version, .. } => self.config.hooks.iter().find(|hooked| hooked.before == *version),
            _ => None,
        };
        let Some(hooked) = hooked else { return Failure::from(Error::from(error)) };
        let (at, before) = (&hooked.at, &hooked.before);
        let failure = Failure::usage(format!("{at}: hooks: there is no version {before} in {}", self.shown));
        failure.hint("name a version by its number, its name, or its file")
    }

    fn ambiguous(&self, layouts: &[Layout]) -> Failure {
        let (folder, layouts) = (self.sources.folder.clone(), layouts.to_vec());
        Failure::from(Error::from(SetError::from(LayoutError::Ambiguous { folder, layouts })))
    }
}

#[async_trait]
impl Content for FolderContent {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn set(&self) -> Result<Set, SetError> {
        match self.layout() {
            Some(layout) => self.set_as(layout),
            None if self.fits.contains(&Layout::Migrate) => self.set_as(Layout::Migrate),
            None => {
                Err(LayoutError::Ambiguous { folder: self.sources.folder.clone(), layouts: self.fits.clone() }.into())
            }
        }
    }

    async fn set_for(&self, connector: &Connector) -> Result<Set, Failure> {
        let layout = match self.layout() {
            Some(layout) => layout,
            None => self.recognised(connector).await?,
        };
        self.set_as(layout).map_err(|error| self.placed(error))
    }

    fn repairs(&self) -> Repairs {
        self.over.as_ref().map(|over| over.repairs()).unwrap_or_default()
    }

    fn verbs(&self) -> Vec<Box<dyn Verb>> {
        self.over.as_ref().map(|over| over.verbs()).unwrap_or_default()
    }

    fn checks(&self) -> Vec<Box<dyn Check>> {
        self.over.as_ref().map(|over| over.checks()).unwrap_or_default()
    }

    async fn after_up(&self, cx: &Context<'_>) {
        if let Some(over) = &self.over {
            over.after_up(cx).await;
        }
    }

    fn hint(&self, error: &Error, program: &Program) -> Option<String> {
        self.over.as_ref()?.hint(error, program)
    }
}
