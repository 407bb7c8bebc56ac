//! `migrate rollup`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::human;
use crate::cli::text::text;
use crate::cli::words::utc;
use crate::cli::{Context, Failure, Screen, Verb, exit};
use crate::db::{self, Connector, Observer};
use crate::usage::{self, Pipeline, Scheduling, Standing, Tick, WatchEvent};

/// The verb `rollup`.
pub(crate) struct Rollup;

/// Subcommands of `migrate rollup`.
#[derive(Debug, Subcommand)]
enum What {
    /// Run one tick: roll up what changed, up to five minutes before now and for at most a day.
    Tick,
    /// Run a tick at intervals until stopped, for servers without pg_cron. Ctrl-C or SIGTERM end it with exit code 0.
    #[allow(clippy::doc_markdown, reason = "shown as help")]
    Watch(Watch),
    /// Show the watermark, the queue, the last tick and its error, and what calls the tick.
    Status,
}

#[derive(Debug, Args)]
struct Watch {
    /// How often: 30s, 5m. A failed tick is retried sooner.
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

#[async_trait]
impl Verb for Rollup {
    fn command(&self) -> Command {
        let about = "Run the hourly rollup of token usage, and show its state";
        let rollup = What::augment_subcommands(Command::new("rollup")).about(about).long_about(None::<&str>);
        rollup.subcommand_required(true).arg_required_else_help(true)
    }

    fn only_shows(&self, matches: &ArgMatches) -> bool {
        matches.subcommand_name() == Some("status")
    }

    async fn run(&self, matches: &ArgMatches, cx: &Context<'_>) -> Result<u8, Failure> {
        match What::from_arg_matches(matches).map_err(|error| Failure::usage(error.to_string()))? {
            What::Tick => tick(cx).await,
            What::Watch(Watch { every }) => watch(every, cx).await,
            What::Status => status(cx).await,
        }
    }
}

async fn tick(cx: &Context<'_>) -> Result<u8, Failure> {
    let connection = cx.connector.connect("migrate: rollup tick").await?;
    let tick = usage::tick(&connection, cx.lock_wait).await?;
    let pipeline = Pipeline::read(&connection).await?;
    connection.close().await;
    cx.screen.json("tick", &tick);
    cx.screen.out(human::said_of(&tick));
    // The tick succeeded, but a rollup that loses changes is no success.
    if let Some(pipeline) = pipeline.filter(|pipeline| pipeline.fault().is_some()) {
        faulty(&pipeline, &cx.screen);
        return Ok(exit::DRIFT);
    }
    Ok(exit::OK)
}

async fn watch(every: Duration, cx: &Context<'_>) -> Result<u8, Failure> {
    let Context { connector, screen, .. } = cx;
    if let Err(error @ db::Error::SuperuserRefused(_)) = may_tick(connector).await {
        return Err(error.into());
    }
    if !screen.is_quiet() {
        let database = connector.database();
        screen.json("watching", &json!({ "database": database.to_string(), "every": every.as_secs_f64() }));
        screen.aside(text!("ticking every {} on {database}", humantime::format_duration(every)));
    }
    warn_of_fault(connector, screen).await;
    let told = Arc::clone(screen);
    let observer = Observer::new(move |event| match event {
        WatchEvent::Ticked(tick) => watched(&tick, &told),
        WatchEvent::Failed { error, again_in } => watch_failed(&error.into(), again_in, &told),
    });
    usage::watch(connector, every, cx.lock_wait, &observer).await;
    if !screen.is_quiet() {
        screen.json("watch_ended", &json!({}));
        screen.aside("stopped");
    }
    Ok(exit::OK)
}

/// A tick of a watch. One that found nothing to do is shown with --verbose only.
fn watched(tick: &Tick, screen: &Screen) {
    if !screen.is_quiet() && (tick.did_something() || screen.is_verbose()) {
        screen.json("tick", tick);
        screen.out(text!("{}  {}", utc(OffsetDateTime::now_utc()), human::said_of(tick)));
    }
}

fn watch_failed(failure: &Failure, again_in: Duration, screen: &Screen) {
    if let Ok(Value::Object(mut object)) = serde_json::to_value(failure.told(screen.program())) {
        object.remove("exit_code");
        object.insert("again_in".to_owned(), json!(again_in.as_secs_f64()));
        screen.json("tick_failed", &object);
    }
    screen.complaint(failure);
    let (now, again_in) = (utc(OffsetDateTime::now_utc()), humantime::format_duration(again_in));
    screen.status(text!("{now}  retrying in {again_in}"));
}

async fn status(cx: &Context<'_>) -> Result<u8, Failure> {
    let connection = cx.connector.clone().read_only().connect("migrate: rollup status").await?;
    let standing = Standing::read(&connection).await?;
    connection.close().await;
    let ways = standing.scheduling.ways(cx.connector.database().name(), cx.screen.command("rollup watch"));
    cx.screen.show(|| human::standing(&standing, &ways, &cx.screen), |to| to.named("rollup", &standing));
    Ok(exit::OK)
}

/// The rollup in force cannot be relied on.
fn faulty(pipeline: &Pipeline, screen: &Screen) {
    screen.json("rollup_in_force", pipeline);
    human::fault(pipeline.fault(), screen);
}

/// Warns if nothing seems to call the rollup: its tables would then stay as they are, without any error.
pub(crate) async fn tell_who_schedules(cx: &Context<'_>) {
    let look = async {
        let connection = cx.connector.clone().read_only().connect("migrate: up").await?;
        let scheduling = Scheduling::read(&connection).await;
        connection.close().await;
        scheduling
    };
    match look.await {
        Ok(Some(scheduling)) if !scheduling.is_called() && !cx.screen.is_quiet() => {
            let ways = scheduling.ways(cx.connector.database().name(), cx.screen.command("rollup watch"));
            cx.screen.json("nobody_schedules_rollup", &json!({ "ways": ways }));
            human::not_scheduled(&ways, &cx.screen);
        }
        Ok(_) => {}
        Err(error) => {
            let status = cx.screen.command("rollup status");
            tracing::warn!("could not read what calls the hourly rollup: {error}; see {status}");
        }
    }
}

/// Whether every tick of this role would be refused. Other errors may be temporary.
async fn may_tick(connector: &Connector) -> Result<(), db::Error> {
    let connection = connector.clone().read_only().connect("migrate: rollup watch").await?;
    let acting = usage::acting_role(&connection).await;
    connection.close().await;
    acting.map(drop)
}

/// Warns once if the rollup in force loses changes. If that cannot be read, the first tick reports why.
async fn warn_of_fault(connector: &Connector, screen: &Screen) {
    let look = async {
        let connection = connector.clone().read_only().connect("migrate: rollup watch").await?;
        let pipeline = Pipeline::read(&connection).await;
        connection.close().await;
        pipeline
    };
    match look.await {
        Ok(Some(pipeline)) if pipeline.fault().is_some() => faulty(&pipeline, screen),
        Ok(_) => {}
        Err(error) => tracing::debug!("could not read which rollup is in force: {error}"),
    }
}
