//! `migrate rollup`.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::exit;
use super::failure::Failure;
use super::render::Renderer;
use crate::db::{self, Connector, Observer};
use crate::usage::{self, Pipeline, Standing, WatchEvent};

/// Subcommands of `migrate rollup`.
#[derive(Debug, Subcommand)]
pub(super) enum Rollup {
    /// Run one tick: roll up what changed, up to five minutes before now and for at most a day.
    Tick,
    /// Tick again and again until told to stop, for servers without pg_cron. Ctrl-C or SIGTERM end it with exit code 0.
    #[allow(clippy::doc_markdown, reason = "shown as help")]
    Watch(Watch),
    /// Show how far the rollup has come, what waits, how the last tick went, and who calls the tick.
    Status,
}

#[derive(Debug, Args)]
pub(super) struct Watch {
    /// How often: 30s, 5m. What failed is tried again sooner.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = at_least_a_second)]
    every: Duration,
}

fn at_least_a_second(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(every) if every < Duration::from_secs(1) => Err("less than a second".to_owned()),
        Ok(every) if every > Duration::from_hours(24) => Err("more than a day".to_owned()),
        Ok(every) => Ok(every),
        Err(error) => Err(error.to_string()),
    }
}

impl Rollup {
    pub async fn run(
        &self,
        connector: &Connector,
        renderer: &Arc<Renderer>,
        lock_wait: Duration,
    ) -> Result<u8, Failure> {
        match self {
            Self::Tick => {
                let connection = connector.connect("migrate: rollup tick").await?;
                let tick = usage::tick(&connection, lock_wait).await?;
                let pipeline = Pipeline::read(&connection).await?;
                connection.close().await;
                renderer.tick(&tick);
                // The tick did what it could; that it loses changes must not pass for a success.
                if let Some(pipeline) = pipeline.filter(|pipeline| pipeline.fault().is_some()) {
                    renderer.wrong_hands(&pipeline);
                    return Ok(exit::DRIFT);
                }
            }
            Self::Watch(Watch { every }) => {
                if let Err(error @ db::Error::SuperuserRefused(_)) = may_tick(connector).await {
                    return Err(error.into());
                }
                renderer.watching(connector.database(), *every);
                warn_of_wrong_hands(connector, renderer).await;
                let told = Arc::clone(renderer);
                let observer = Observer::new(move |event| match event {
                    WatchEvent::Ticked(tick) => told.watched(&tick),
                    WatchEvent::Failed { error, again_in } => told.watch_failed(&error.into(), again_in),
                });
                usage::watch(connector, *every, lock_wait, &observer).await;
                renderer.watch_ended();
            }
            Self::Status => {
                let connection = connector.clone().read_only().connect("migrate: rollup status").await?;
                let standing = Standing::read(&connection).await?;
                connection.close().await;
                renderer.standing(&standing, &standing.scheduling.ways(connector.database().name()));
            }
        }
        Ok(exit::OK)
    }
}

/// Whether ticks of this role would be refused for good. Whatever else is in the way may pass.
async fn may_tick(connector: &Connector) -> Result<(), db::Error> {
    let connection = connector.clone().read_only().connect("migrate: rollup watch").await?;
    let acting = usage::acting_role(&connection).await;
    connection.close().await;
    acting.map(drop)
}

/// Says so, once, when what is called loses changes. That it cannot be found out is the first tick's to say.
async fn warn_of_wrong_hands(connector: &Connector, renderer: &Renderer) {
    let look = async {
        let connection = connector.clone().read_only().connect("migrate: rollup watch").await?;
        let pipeline = Pipeline::read(&connection).await;
        connection.close().await;
        pipeline
    };
    match look.await {
        Ok(Some(pipeline)) if pipeline.fault().is_some() => renderer.wrong_hands(&pipeline),
        Ok(_) => {}
        Err(error) => tracing::debug!("whose rollup is in force could not be found out: {error}"),
    }
}
