//! `migrate up`.

use std::time::Duration;

use clap::Args;

use super::exit;
use super::failure::Failure;
use super::render::Renderer;
use crate::catalog;
use crate::db::Connector;
use crate::engine::{Migrator, UpOptions, Version};
use crate::usage::Scheduling;

/// Arguments of `migrate up`.
#[derive(Debug, Args)]
pub(super) struct Up {
    /// Apply versions up to this one, and no further.
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(i64).range(1..))]
    target: Option<Version>,

    /// Show what would be done, with the forecast of each hook, and write nothing. With -v, show the SQL too.
    #[arg(long)]
    dry_run: bool,

    /// Leave an empty database as it is, for the platform's own migrator to build. For entrypoints that run both.
    #[arg(long)]
    skip_empty: bool,

    /// Leave out this hook; the guard of the migration behind it then decides. May be given several times.
    #[arg(long, value_name = "NAME")]
    skip_hook: Vec<String>,
}

impl Up {
    /// Whether nothing but what is shown comes of it.
    pub fn only_shows(&self) -> bool {
        self.dry_run
    }

    pub async fn run(
        &self,
        migrator: &Migrator,
        connector: &Connector,
        renderer: &Renderer,
        lock_wait: Duration,
    ) -> Result<u8, Failure> {
        let (skip_hooks, skip_empty) = (self.skip_hook.clone(), self.skip_empty);
        let options = UpOptions { target: self.target, skip_hooks, lock_wait, skip_empty };
        if self.dry_run {
            renderer.preview(&migrator.preview(&options).await?);
        } else {
            migrator.up(&options).await?;
            if migrator.set().name() == catalog::PLATFORM {
                advise(connector, renderer).await;
            }
        }
        Ok(exit::OK)
    }
}

/// Says so when nobody seems to keep the rollup going, or its tables would stay as they are without any error. What
/// `up` had to do is done; that this cannot be found out is no failure.
async fn advise(connector: &Connector, renderer: &Renderer) {
    let look = async {
        let connection = connector.clone().read_only().connect("migrate: up").await?;
        let scheduling = Scheduling::read(&connection).await;
        connection.close().await;
        scheduling
    };
    match look.await {
        Ok(Some(scheduling)) if !scheduling.is_anybody_there() => {
            renderer.nobody_schedules(&scheduling.ways(connector.database().name()));
        }
        Ok(_) => {}
        Err(error) => tracing::warn!("cannot tell who calls the hourly rollup: {error}; see migrate rollup status"),
    }
}
