//! The command line: arguments in, events and results out, an exit code at the end.

pub mod exit;
mod failure;
mod hint;
mod render;
mod repair;
mod rollup;
mod secrets;
mod signal;
mod status;
mod up;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::catalog;
use crate::db::{Connector, Database, Observer};
use crate::engine::{Error, Event, Migrator};
use crate::repairs::{Repairer, Repairs};
use failure::Failure;
use render::{Renderer, Text, output};
use signal::Interrupt;

const EXIT_CODES: &str = "\
Exit codes:
    0  done, or nothing to do
    1  failed: a migration, a hook, a statement
    2  wrong usage
    3  something is pending (status --check)
    4  drift: history, schema or hourly rollup differ from what they should be
    5  a lock was not had within --lock-wait
    6  the database cannot be reached, or the connection cannot serve
    7  refused: a guard, a gate, an adoption that does not check out, a database that does not fit
    8  a repair had to leave rows
  130  interrupted by Ctrl-C, 143 by SIGTERM, after a clean rollback";

/// Brings a PostgreSQL database up to date: versioned migrations, with hooks at their version boundaries.
#[derive(Debug, Parser)]
#[command(name = "migrate", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
#[allow(clippy::doc_markdown, reason = "shown as help, where backticks are noise")]
struct Global {
    /// The database, postgres://user:password@host:port/name. Else MIGRATE_DATABASE_URL, else DATABASE_URL, which keep
    /// the password out of the process list.
    #[arg(long, global = true, value_name = "URL")]
    database_url: Option<OsString>,

    /// How results and events are written to standard output.
    #[arg(long, global = true, value_enum, default_value_t = Format::Human)]
    format: Format,

    /// How long to wait for a lock that somebody else holds, or for older transactions before which an index cannot be
    /// built or dropped: 500ms, 30s, 10m.
    #[arg(long, global = true, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    lock_wait: Duration,

    /// Which set of migrations.
    #[arg(long, global = true, value_name = "NAME", default_value = catalog::SETS[0],
          value_parser = clap::builder::PossibleValuesParser::new(catalog::SETS))]
    set: String,

    /// Say more: the SQL of a dry run, details of what goes on; twice for the driver's log.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,

    /// Say nothing but errors and results that were asked for.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines for a person.
    Human,
    /// One JSON object per line.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Apply what is pending: hooks and migrations, in order.
    Up(up::Up),
    /// Show every version and the hooks at its boundary.
    Status(status::Status),
    /// Keep the hourly rollup of token usage going, and see how it stands.
    #[command(subcommand)]
    Rollup(rollup::Rollup),
    /// Compare what is in the database with what should be there: history, schema and hourly rollup.
    Verify(verify::Verify),
    /// Correct data that is in the database already. Shows what it would do; --execute does it.
    #[command(subcommand)]
    Repair(repair::Repair),
}

impl Command {
    /// Whether nothing but what is shown comes of it: if that is lost, the command has failed.
    fn only_shows(&self) -> bool {
        match self {
            Self::Up(up) => up.only_shows(),
            Self::Status(_) | Self::Verify(_) | Self::Rollup(rollup::Rollup::Status) => true,
            Self::Rollup(_) => false,
            Self::Repair(repair) => repair.only_shows(),
        }
    }
}

/// The whole program: reads the command line, runs the command, says how it went.
#[must_use]
pub fn main() -> ExitCode {
    main_with(Repairs::new())
}

/// The whole program, with repairs of your own beside its own ones.
#[must_use]
pub fn main_with(more: Repairs) -> ExitCode {
    let repairs = catalog::repairs(catalog::PLATFORM).and(more);
    let command = Cli::command().mut_subcommand("repair", |command| repair::augment(command, &repairs));
    match command.clone().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => run(&cli, repairs),
        Err(error) => misused(error, &command),
    }
}

/// What is wrong with the command line, in one line; or the help that was asked for.
fn misused(mut error: clap::Error, command: &clap::Command) -> ExitCode {
    if error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        secrets::hide(&mut error, command);
        output::aside(render::usage_error(&error.render().to_string()));
    } else if error.use_stderr() {
        output::aside(Text::ours(error.render().ansi().to_string()));
    } else {
        output::out(Text::ours(error.render().ansi().to_string()).trim_end());
        if let Some(why) = output::lost() {
            output::aside(format!("error: the help could not be written to standard output: {why}"));
            return ExitCode::from(exit::FAILED);
        }
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::USAGE))
}

fn run(cli: &Cli, repairs: Repairs) -> ExitCode {
    set_up_tracing(&cli.global);
    let renderer = Arc::new(Renderer::new(cli.global.format == Format::Json, cli.global.quiet, cli.global.verbose));
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            renderer.failure(&Failure::new(exit::FAILED, error.to_string()));
            return ExitCode::from(exit::FAILED);
        }
    };
    let code = runtime.block_on(async {
        let interrupt = Interrupt::listen();
        let result = tokio::select! {
            result = dispatch(cli, repairs, &renderer, &interrupt) => result,
            // A server that does not answer any more does not keep anybody from leaving.
            () = interrupt.patience_is_over() => Err(Failure::from(Error::Interrupted)),
        };
        result.unwrap_or_else(|failure| {
            let failure = failure.unless_interrupted(interrupt.exit_code());
            renderer.failure(&failure);
            failure.exit
        })
    });
    let code = unless_lost(code, cli, &renderer);
    // What is still going on, such as a look-up of a host name, must not hold the exit up.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ExitCode::from(code)
}

async fn dispatch(cli: &Cli, repairs: Repairs, renderer: &Arc<Renderer>, interrupt: &Interrupt) -> Result<u8, Failure> {
    if let Command::Repair(repair::Repair::List) = &cli.command {
        renderer.repairs(&repairs);
        return Ok(exit::OK);
    }
    let database = database(&cli.global)?;
    let (notices, waits) = (Arc::clone(renderer), Arc::clone(renderer));
    let connector = Connector::new(database.clone(), interrupt.token().clone())
        .on_notice(Observer::new(move |notice| notices.event(Event::Notice(notice))))
        .on_wait(Observer::new(move |waiting| waits.event(Event::Waiting(waiting))));
    connector.wait_at_most(cli.global.lock_wait);
    let Some(set) = catalog::set(&cli.global.set) else {
        return Err(Failure::usage(format!("there is no set {:?}", cli.global.set)));
    };
    if let Command::Repair(command) = &cli.command {
        if cli.global.set != catalog::PLATFORM {
            return Err(Failure::usage(format!("set {} has no repairs", cli.global.set)));
        }
        let events = Arc::clone(renderer);
        let repairer =
            Repairer::new(repairs, database, interrupt.token().clone(), move |event| events.repair_event(event));
        repairer.wait_at_most(cli.global.lock_wait);
        return Box::pin(command.run(&repairer, renderer, cli.global.lock_wait)).await;
    }
    let events = Arc::clone(renderer);
    let migrator =
        Migrator::new(set.map_err(Error::from)?, database, interrupt.token().clone(), move |event: Event| {
            events.event(event);
        });
    migrator.wait_at_most(cli.global.lock_wait);
    match &cli.command {
        Command::Up(command) => command.run(&migrator, &connector, renderer, cli.global.lock_wait).await,
        Command::Status(command) => command.run(&migrator, renderer).await,
        Command::Rollup(command) => command.run(&connector, renderer, cli.global.lock_wait).await,
        Command::Verify(command) => command.run(&migrator, &connector, renderer, cli.global.lock_wait).await,
        Command::Repair(_) => Ok(exit::OK),
    }
}

/// The exit code, unless it says that all is well and the result is nowhere. What a command has done stays done.
fn unless_lost(code: u8, cli: &Cli, renderer: &Renderer) -> u8 {
    let Some(why) = output::lost() else { return code };
    if code == exit::OK && (cli.global.format == Format::Json || cli.command.only_shows()) {
        let failure = Failure::new(exit::FAILED, format!("the result could not be written to standard output: {why}"));
        renderer.failure(&failure);
        return failure.exit;
    }
    output::aside(format!("warning: standard output could not be written to: {why}"));
    code
}

/// The database that was asked for. There is no default: a job must not run against whatever happens to be there.
fn database(global: &Global) -> Result<Database, Failure> {
    let flag = global.database_url.clone().map(|url| ("--database-url", url));
    let given = flag.or_else(|| {
        ["MIGRATE_DATABASE_URL", "DATABASE_URL"]
            .into_iter()
            .filter_map(|name| std::env::var_os(name).map(|value| (name, value)))
            .find(|(_, value)| !value.to_string_lossy().trim().is_empty())
    });
    let Some((source, url)) = given else {
        return Err(Failure::usage("no database given")
            .hint("set DATABASE_URL or MIGRATE_DATABASE_URL, or pass --database-url"));
    };
    match url.to_str() {
        Some(url) => Database::from_url(url).map_err(|error| Failure::from(Error::from(error))),
        None => Err(Failure::usage(format!("the database URL cannot be used: what {source} holds is not UTF-8"))
            .hint("write each byte that is not ASCII as % and two hexadecimal digits")),
    }
}

fn set_up_tracing(global: &Global) {
    use tracing_subscriber::EnvFilter;
    let default = match global.verbose {
        0 => "warn",
        1 => "migrate=debug,warn",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("MIGRATE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| output::Log)
        .log_internal_errors(false)
        .with_ansi(false)
        .with_target(false)
        .init();
}
